"""Packages for tests that are installed as pip leaves them: a module, and a dist-info folder with its entry point."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent


def install(folder: Path, package: str, text: str, version: str = "1.0", module: str = "", value: str = "") -> None:
    """Install a package of one module into a folder, which is then to stand on the path.

    Args:
        folder: such as one in PYTHONPATH.
        package: name of the distribution and of its entry point.
        text: of the module, indented as it comes.
        version: of the distribution.
        module: its name; by default the package's.
        value: what the entry point leads to; by default the module.
    """
    name = module or package.replace("-", "_")
    facts = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n", "utf-8")
    (facts / "entry_points.txt").write_text(f"[ddmkit]\n{package} = {value or name}\n", "utf-8")
    (folder / f"{name}.py").write_text(dedent(text), "utf-8")
