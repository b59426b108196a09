"""What plugins import is what docs/plugins/versions.md promises to keep."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from string import Template

import pytest

from tests.pages import DOCS, blocks

ROOT = DOCS.parent
PAGE = (DOCS / "plugins" / "versions.md").read_text(encoding="utf-8")


def listed(heading: str) -> set[str]:
    """Return the modules that the page lists under a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`(ddmkit(?:\.[a-z_]+)*)`", section))


PUBLIC = listed("What the interface is")
OURS_ALONE = listed("What first-party plugins use beside it")


def imports(code: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of everything of ddmkit's that a piece of Python imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "ddmkit")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ddmkit":
            module = node.module or ""
            for alias in node.names:
                is_module = (ROOT / "core" / Path(*module.split(".")) / f"{alias.name}.py").is_file()
                yield (f"{module}.{alias.name}", "") if is_module else (module, alias.name)


def templates() -> dict[str, str]:
    words = {"module": "ddmkit_x", "cls": "X", "package": "x", "usage": "", "interface": 1, "kind": "task", "name": "x"}
    paths = sorted((ROOT / "cli/ddmkit_cli/templates").glob("*.py.template"))
    return {path.name: Template(path.read_text(encoding="utf-8")).substitute(words) for path in paths}


def examples() -> dict[str, str]:
    paths = sorted((ROOT / "examples").rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def pages() -> dict[str, str]:
    names = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    found = {name: [block.code for block in blocks(name) if block.language == "python"] for name in names}
    return {
        f"{name} {number}": code for name, codes in found.items() for number, code in enumerate(codes) if is_whole(code)
    }


def is_whole(code: str) -> bool:
    """Tell whether a block is Python by itself, and not a part of a class."""
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


OUTSIDE = {**templates(), **examples(), **pages()}


@cache
def offered(module: str) -> frozenset[str]:
    """Return the names that a public module offers: those that it lists, or none of its own making is private."""
    return frozenset(vars(import_module(module)).get("__all__", ()))


def refuse_private(code: str, modules: set[str]) -> None:
    strangers = [f"{module}: {name}" for module, name in imports(code) if module not in modules]
    assert strangers == []
    unlisted = [
        f"{module}: {name}"
        for module, name in imports(code)
        if module in PUBLIC and name and name not in offered(module)
    ]
    assert unlisted == []


@pytest.mark.parametrize("source", OUTSIDE)
def test_what_we_show_to_authors_of_plugins_imports_what_is_promised(source: str) -> None:
    refuse_private(OUTSIDE[source], PUBLIC)


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.stem)
def test_first_party_plugins_import_what_is_promised_or_is_said_to_be_ours_alone(path: Path) -> None:
    refuse_private(path.read_text(encoding="utf-8"), PUBLIC | OURS_ALONE)


def test_what_is_said_to_be_ours_alone_is_used() -> None:
    codes = [path.read_text(encoding="utf-8") for path in (ROOT / "plugins").rglob("*.py")]
    used = {module for code in codes for module, _ in imports(code)}
    assert used - PUBLIC == OURS_ALONE


@pytest.mark.parametrize("module", sorted(PUBLIC))
def test_every_name_that_is_promised_is_there(module: str) -> None:
    assert offered(module)
    for name in offered(module):
        assert hasattr(import_module(module), name)


def test_an_unknown_name_is_no_attribute_of_the_package() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Trianing' from 'ddmkit'"):
        exec("from ddmkit import Trianing", {})  # noqa: S102 - what an author may mistype


def test_names_that_take_longer_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import sys, ddmkit; print('ddmkit.configuration' in sys.modules); ddmkit.Training; ddmkit.learning_rate;"
        "print('ddmkit.configuration' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False"]
