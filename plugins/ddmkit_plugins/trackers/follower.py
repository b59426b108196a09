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

    What fails is warned of once, and tried again, with a receiver made anew, until the end of the run waited enough.

    Args:
        tracker: its name.
        metrics: path of `metrics.jsonl`; it need not exist yet.
        connect: makes the receiver.
        interval: seconds between two looks, or two tries.
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
        self._failure = ""
        """Of the last try; empty where it went well."""
        self._report: Report | None = None
        self._ended, self._given_up = threading.Event(), threading.Event()
        # It dies with the process, which waits for no server.
        self._thread = threading.Thread(target=self._work, name=f"tracker-{tracker}", daemon=True)
        self._thread.start()

    def end(self, report: Report) -> None:
        """Hand on what is left, and the report; what is not taken in time is warned of."""
        self._report = report
        self._ended.set()
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._given_up.set()
            self._say_what_is_missing()

    def _work(self) -> None:
        self._try(None)
        while not self._ended.wait(self._interval):
            self._try(None)
        while not (self._try(self._report) or self._given_up.wait(self._interval)):
            pass

    def _try(self, report: Report | None) -> bool:
        """Hand on what there is, and the report of a run that ended; return whether that went well."""
        try:
            self._hand_on(report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a library and a network may fail in any way
            self._complain(error)
            return False
        self._failure = ""
        return True

    def _hand_on(self, report: Report | None) -> None:
        receiver = self._receiver = self._receiver or self._connect()
        while lines := self._new_lines():
            receiver.take([json.loads(line) for line in lines])
            self._offset += sum(map(len, lines))
        if report is not None:
            receiver.end(report)

    def _new_lines(self) -> list[bytes]:
        if not self._metrics.is_file():
            return []
        with self._metrics.open("rb") as file:
            file.seek(self._offset)
            return [line for line in islice(file, _LINES) if line.endswith(b"\n")]  # and no line half written

    def _complain(self, error: BaseException) -> None:
        # What is connected to next may have lost what the last one took: it is offered everything again.
        self._receiver, self._offset = None, 0
        known, self._failure = self._failure, named(error).removesuffix(".")
        if not known:
            _log.warning("The tracker %s fails with %s. %s", self._tracker, self._failure, self._what_next())

    def _what_next(self) -> str:
        if self._ended.is_set():
            return f"The run has ended and waits for it, {self._patience:g} s at most."
        return f"The run goes on, and {self._kept}: it is sent as soon as that works, or by {self._resume}."

    def _say_what_is_missing(self) -> None:
        failing = f", and fails with {self._failure}" if self._failure else ""
        waited = f"within the {self._patience:g} s that the end of a run waits"
        said = "The tracker %s had not taken everything %s%s; %s: send it by %s."
        _log.warning(said, self._tracker, waited, failing, self._kept, self._resume)

    @property
    def _kept(self) -> str:
        return f"{self._metrics} keeps what is missing"

    @property
    def _resume(self) -> str:
        return f"ddmkit train --resume {self._metrics.parent}"
