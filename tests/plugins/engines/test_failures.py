"""What is said of processes that failed, by whoever is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]  # torch leaves it so

from ddmkit.errors import LostProcessError, OutOfMemoryError
from ddmkit_plugins.engines.distributed.failures import Failures
from ddmkit_plugins.engines.distributed.launch import Child, Place

SLEEP, FAIL = "import time; time.sleep(60)", "raise SystemExit(1)"


@pytest.fixture
def children(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[list[Child]]:
    """Return processes that run what the test says."""
    begun = []
    for number, code in enumerate(request.param, start=1):
        process = subprocess.Popen([sys.executable, "-c", code])
        begun.append(Child(process, tmp_path / f"process-{number}.log"))
        if code == FAIL:
            process.wait()
    yield begun
    for child in begun:
        child.process.kill()
        child.process.wait()


def left(store: HashStore, rank: int, error: Exception) -> None:
    Failures(Place(rank, 3, rank), store, []).leave_word(error)


@pytest.mark.parametrize("children", [(FAIL, SLEEP)], indirect=True)
def test_processes_that_were_ended_here_are_not_the_cause(children: list[Child]) -> None:
    store = HashStore()
    found = Failures(Place(0, 3, 0), store, children)
    left(store, 1, RuntimeError("NCCL error: remote process exited"))
    assert found.one_has_ended()
    found.end_all()
    children[1].process.wait()
    found.end_all()
    assert "Process 1 of 3 failed: RuntimeError: NCCL error" in str(found.why(0))


@pytest.mark.parametrize("children", [(SLEEP, SLEEP)], indirect=True)
def test_one_that_was_killed_is_named_with_its_signal_whatever_the_others_say(children: list[Child]) -> None:
    store = HashStore()
    found = Failures(Place(0, 3, 0), store, children)
    assert not found.one_has_ended()
    children[1].process.send_signal(signal.SIGKILL)
    children[1].process.wait()
    left(store, 1, RuntimeError("Connection closed by peer"))
    found.end_all()
    assert "Process 2 of 3 was killed by signal 9 (SIGKILL)" in str(found.why(0))


@pytest.mark.parametrize("children", [()], indirect=True)
def test_who_failed_by_itself_counts_for_more_than_who_followed(children: list[Child]) -> None:
    store = HashStore()
    found = Failures(Place(0, 3, 0), store, children)
    assert found.why(0) is None
    assert not found.one_has_failed()
    Failures(Place(1, 3, 1), store, []).leave_word(ValueError("no group"), followed=True)
    assert "Process 1 of 3 failed: ValueError: no group." in str(found.why(0))
    left(store, 2, OutOfMemoryError("The memory of cuda:2 does not suffice."))
    why = found.why(0)
    assert isinstance(why, OutOfMemoryError)
    assert not isinstance(why, LostProcessError)
    assert found.one_has_failed()
