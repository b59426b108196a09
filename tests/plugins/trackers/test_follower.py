"""Lines are handed on once and in order, whatever the receiver does, and nobody waits for it."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from typing_extensions import override

from ddmkit.events import Report
from ddmkit_plugins.trackers.follower import Follower, Receiver, Record

COMPLETED = Report("completed", 3)


class Box:
    """Keeps what it takes."""

    def __init__(self, taken: list[object], fails: Callable[[], bool] = lambda: False) -> None:
        self._taken = taken
        self._fails = fails
        self.took = threading.Event()

    def take(self, records: list[Record]) -> None:
        if self._fails():
            msg = "no answer\nfrom the server."
            raise ConnectionError(msg)
        self._taken += [record["step"] for record in records]
        self.took.set()

    def end(self, report: Report) -> None:
        self._taken.append(report.status)


class Stuck(Box):
    """Takes for ever, until it is let go."""

    def __init__(self) -> None:
        super().__init__([])
        self.let_go = threading.Event()

    @override
    def take(self, records: list[Record]) -> None:
        self.let_go.wait()
        super().take(records)


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def add(metrics: Path, *steps: int, end: str = "\n") -> None:
    with metrics.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"step": step}) + end for step in steps)


def follow(metrics: Path, connect: Callable[[], Receiver], interval: float = 0.01, patience: float = 30) -> Follower:
    return Follower("box", metrics, connect, interval, patience)


def test_lines_are_handed_on_as_they_come_and_the_end_after_them(metrics: Path) -> None:
    taken: list[object] = []
    box = Box(taken)
    follower = follow(metrics, lambda: box)
    add(metrics, *range(250))
    assert box.took.wait(30)
    add(metrics, 250)
    follower.end(COMPLETED)
    assert taken == [*range(251), "completed"]


def test_a_line_half_written_waits_for_its_other_half(metrics: Path) -> None:
    taken: list[object] = []
    box = Box(taken)
    add(metrics, 1)
    add(metrics, 2, end="")
    follower = follow(metrics, lambda: box)
    assert box.took.wait(30)
    assert taken == [1]
    add(metrics, end="")
    with metrics.open("a", encoding="utf-8") as file:
        file.write("\n")
    follower.end(COMPLETED)
    assert taken == [1, 2, "completed"]


def test_what_fails_is_warned_of_once_and_tried_again_with_a_new_connection(
    metrics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[object] = []
    connections, tries = count(), count()
    box = Box(taken, fails=lambda: next(tries) < 3)

    def connect() -> Receiver:
        if next(connections) < 2:
            msg = "no route"
            raise OSError(msg)
        return box

    add(metrics, 1, 2)
    with caplog.at_level(logging.WARNING):
        follower = follow(metrics, connect)
        assert box.took.wait(30)
        follower.end(COMPLETED)
    assert taken == [1, 2, "completed"]
    assert next(connections) == 2 + 1 + 3
    (record,) = caplog.records
    assert "The tracker box fails with OSError: no route. The run goes on" in record.getMessage()
    assert f"ddmkit train --resume {metrics.parent}." in record.getMessage()


def test_what_a_connection_has_lost_is_offered_to_the_next(metrics: Path) -> None:
    lost: list[object] = []
    kept: list[object] = []
    broken = threading.Event()
    first, second = Box(lost, fails=broken.is_set), Box(kept)
    boxes = iter((first, second))
    add(metrics, 1, 2)
    follower = follow(metrics, lambda: next(boxes))
    assert first.took.wait(30)
    broken.set()
    add(metrics, 3)
    assert second.took.wait(30)
    follower.end(COMPLETED)
    assert (lost, kept) == ([1, 2], [1, 2, 3, "completed"])


class FailingAtTheEnd(Box):
    """Fails so many times when it is told of the end."""

    def __init__(self, taken: list[object], times: float) -> None:
        super().__init__(taken)
        self._times = times
        self.tries = 0

    @override
    def end(self, report: Report) -> None:
        self.tries += 1
        if self.tries <= self._times:
            msg = "no room"
            raise OSError(msg)
        super().end(report)


def test_the_end_of_a_run_tries_again_what_fails_until_it_works(
    metrics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[object] = []
    box = FailingAtTheEnd(taken, times=3)
    with caplog.at_level(logging.WARNING):
        follow(metrics, lambda: box).end(COMPLETED)
    assert taken == ["completed"]
    assert box.tries == 3 + 1
    (record,) = caplog.records
    expected = "The tracker box fails with OSError: no room. The run has ended and waits for it, 30 s at most."
    assert record.getMessage() == expected


def test_what_is_not_sent_once_patience_is_spent_is_said_with_what_sends_it(
    metrics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box = FailingAtTheEnd([], times=math.inf)
    with caplog.at_level(logging.WARNING):
        follow(metrics, lambda: box, patience=1).end(COMPLETED)
    assert box.tries > 1
    assert caplog.records[-1].getMessage() == (
        "The tracker box had not taken everything within the 1 s that the end of a run waits, and fails with OSError: "
        f"no room; {metrics} keeps what is missing: send it by ddmkit train --resume "
        f"{metrics.parent}."
    )


def test_what_failed_all_along_is_said_once_while_the_run_goes_on_and_once_at_its_end(
    metrics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failed = threading.Event()

    def fails() -> bool:
        failed.set()
        return True

    add(metrics, 1)
    with caplog.at_level(logging.WARNING):
        follower = follow(metrics, lambda: Box([], fails), patience=0.05)
        assert failed.wait(30)
        for _ in range(3000):  # of 10 ms
            if caplog.records:
                break
            time.sleep(0.01)
        follower.end(COMPLETED)
    first, last = [record.getMessage() for record in caplog.records]
    assert "fails with ConnectionError: no answer from the server. The run goes on" in first
    assert "had not taken everything within the 0.05 s that the end of a run waits, and fails with Connection" in last


def test_a_library_that_ends_the_program_is_no_silent_loss(metrics: Path, caplog: pytest.LogCaptureFixture) -> None:
    tried = threading.Event()

    def connect() -> Receiver:
        tried.set()
        raise SystemExit(2)

    with caplog.at_level(logging.WARNING):
        follower = follow(metrics, connect, patience=0.05)
        assert tried.wait(30)
        follower.end(COMPLETED)
    assert "and fails with SystemExit: 2; " in caplog.text


def test_the_end_of_a_run_waits_for_no_receiver_longer_than_it_has_patience(
    metrics: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(metrics, 1)
    stuck = Stuck()
    with caplog.at_level(logging.WARNING):
        follow(metrics, lambda: stuck, patience=0.05).end(COMPLETED)
    (record,) = caplog.records
    assert "The tracker box had not taken everything within the 0.05 s that the end" in record.getMessage()
    stuck.let_go.set()


def test_a_run_without_metrics_still_ends(metrics: Path) -> None:
    taken: list[object] = []
    follow(metrics, lambda: Box(taken)).end(COMPLETED)
    assert taken == ["completed"]
