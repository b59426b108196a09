"""Hand a run's `metrics.jsonl` on to something slow, while the run goes on."""

from __future__ import annotations

import json
import logging
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from ddmkit.errors import named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.events import Report

_log = logging.getLogger(__name__)

Record = dict[str, Any]
"""A line of `metrics.jsonl`."""
_LINES = 100
"""Handed on at once, at most."""


class Receiver(Protocol):
    """What lines are handed on to."""

    def take(self, records: list[Record]) -> None:
        """Take lines; some of them may have been taken before, by this receiver or one of an earlier process."""

    def end(self, report: Report) -> None:
        """Take what is told of a run once it has ended."""


class Follower:
    """Reads the lines as they come, in a thread of its own: no step waits, and the file keeps what is not yet taken.

    What fails is warned of once, and tried again, with a receiver made anew, as long as the run goes on.

    Args:
        tracker: its name.
        metrics: path of `metrics.jsonl`; it need not exist yet.
        connect: makes the receiver.
        interval: seconds between two looks.
        patience: seconds that the end of the run waits, at most.
    """

    def __init__(
        self, tracker: str, metrics: Path, connect: Callable[[], Receiver], interval: float = 5, patience: float = 30
    ) -> None:
        self._tracker = tracker
        self._metrics = metrics
        self._connect = connect
        self._interval = interval
        self._patience = patience
        self._receiver: Receiver | None = None
        self._offset = 0
        self._failing = False
        self._report: Report | None = None
        self._ended = threading.Event()
        # It dies with the process, which waits for no server.
        self._thread = threading.Thread(target=self._work, name=f"tracker-{tracker}", daemon=True)
        self._thread.start()

    def end(self, report: Report) -> None:
        """Hand on what is left, and the report; what is not taken in time is warned of."""
        self._report = report
        self._ended.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._warn(f"has not taken everything within {self._patience:g} s")

    def _work(self) -> None:
        while True:
            report = self._report
            try:
                self._hand_on(report)
            except Exception as error:  # noqa: BLE001 - a library and a network may fail in any way
                self._complain(error, ended=report is not None)
            if report is not None:
                return
            self._ended.wait(self._interval)

    def _hand_on(self, report: Report | None) -> None:
        receiver = self._receiver = self._receiver or self._connect()
        while lines := self._new_lines():
            receiver.take([json.loads(line) for line in lines])
            self._offset += sum(map(len, lines))
        if report is not None:
            receiver.end(report)
        self._failing = False

    def _new_lines(self) -> list[bytes]:
        if not self._metrics.is_file():
            return []
        with self._metrics.open("rb") as file:
            file.seek(self._offset)
            return [line for line in islice(file, _LINES) if line.endswith(b"\n")]  # and no line half written

    def _complain(self, error: Exception, *, ended: bool) -> None:
        self._receiver = None
        if not self._failing:
            self._warn(f"fails with {named(error)}")
        elif ended:
            self._warn("has not taken everything")
        self._failing = True

    def _warn(self, what: str) -> None:
        _log.warning(
            "The tracker %s %s. The run goes on, and %s keeps what is missing: it is sent as soon as that works, or by "
            "ddmkit train --resume %s.",
            self._tracker,
            what.removesuffix("."),
            self._metrics,
            self._metrics.parent,
        )
