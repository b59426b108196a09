"""One tiny run for all experiments, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import TINY, call

OPTIONS = [option for option in TINY if "dataset." not in option]
"""Of the command line's tiny run, for cases that are there."""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the cases `data/`, and two runs on them, `run/` and `coarse/`."""
    folder = tmp_path_factory.mktemp("experiments")
    _succeed(folder, "phantom", "data", "--cases", "8", "--shape", "24,24,16")
    _succeed(folder, "train", "--data", "data", "--run", "run", *OPTIONS)
    coarse = [option for option in OPTIONS if "patch." not in option]
    _succeed(folder, "train", "--data", "data", "--run", "coarse", "--patch", "half", "--encoding", "none", *coarse)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDMKIT_CACHE", str(place / "cache"))


def _succeed(folder: Path, *arguments: str) -> None:
    done = call(folder, *arguments)
    assert done.returncode == 0, done.stderr
