"""Two tiny runs for all experiments, trained once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.looking import ddmkit
from tests.cli.program import TINY

OPTIONS = [option for option in TINY if "dataset." not in option]
"""Of the command line's tiny run, for cases that are there."""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the cases `data/`, and two runs on them, `run/` and `coarse/`."""
    folder = tmp_path_factory.mktemp("experiments")
    data = folder / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDMKIT_CACHE", str(folder / "cache"))
        ddmkit("phantom", data, "--cases", "8", "--shape", "24,24,16")
        ddmkit("train", "--data", data, "--run", folder / "run", *OPTIONS)
        half = ["--patch", "half", "--encoding", "none", *(option for option in OPTIONS if "patch." not in option)]
        ddmkit("train", "--data", data, "--run", folder / "coarse", *half)
    return folder


@pytest.fixture(autouse=True)
def _alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep out of the user's cache, and leave the log of all other tests as it was."""
    monkeypatch.setenv("DDMKIT_CACHE", str(place / "cache"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
