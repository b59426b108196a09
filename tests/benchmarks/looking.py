"""Run ddmkit within this process, and look at what an experiment wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from benchmarks import machine

from ddmkit_cli.app import app


def ddmkit(*arguments: str | Path) -> None:
    """Run a command, which is to succeed."""
    app([str(argument) for argument in arguments], standalone_mode=False)


def written(folder: Path, name: str) -> dict[str, Any]:
    """Return an experiment's JSON, which holds no NaN, and see that table and figure are there."""
    stem = f"{name}-{machine.slug()}"
    text = (folder / f"{stem}.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    assert "The paper's numbers" in (folder / f"{stem}.md").read_text("utf-8")
    assert matplotlib.image.imread(folder / f"{stem}.png").std() > 0
    assert found["machine"]["torch"]
    assert found["definition"]["dice"]
    return found
