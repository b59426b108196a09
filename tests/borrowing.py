"""Fresh environments that cost little: they see the libraries of the one that the tests run in."""

from __future__ import annotations

import sys
import venv
from pathlib import Path


def borrowing_environment(folder: Path) -> Path:
    """Make an environment without pip of its own that sees all that is installed here, and return its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    here = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    return folder / "bin" / "python"
