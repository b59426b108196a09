"""Results on stdout, progress and warnings on stderr; without a terminal, plain lines."""

from __future__ import annotations

import shlex
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rich.progress import TaskID

_PLAIN_WIDTH = 120
_PLAIN_INTERVAL = 5.0
"""Seconds between two plain lines about the same work."""

# What is printed names paths and cases, and those may look like markup or like an emoji's code.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
for _console in (out, err):
    if not _console.is_terminal:
        _console.width = _PLAIN_WIDTH


def problem(sentence: str) -> None:
    """Say what went wrong."""
    err.print(Text("error:", "red"), Text(sentence), soft_wrap=True)


def say(sentence: str) -> None:
    """Say something that is no result, on stderr."""
    err.print(sentence, soft_wrap=True)


def result(sentence: str) -> None:
    """Print a line of a result, never broken, so that a path in it can be copied."""
    out.print(sentence, soft_wrap=True)


def propose(*arguments: object) -> None:
    """Print the ddmkit command to type next, quoted for a shell."""
    result(f"Next: {command(*arguments)}")


def command(*arguments: object) -> str:
    """Return a ddmkit command as it is typed in a shell."""
    return shlex.join(["ddmkit", *map(str, arguments)])


def log_to_stderr() -> None:
    """Show the program's own warnings as lines."""
    import logging

    from rich.logging import RichHandler

    handler = RichHandler(console=err, show_time=False, show_path=False, markup=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s", force=True)


def size(count: float) -> str:
    """Return a number of bytes as people read it: "1.3 GB" (10⁹ bytes)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def duration(seconds: float) -> str:
    """Return a time as people read it: "3:07" or "2:03:07"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Bars:
    """Work in progress: bars in a terminal, now and then a line elsewhere."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        what, note = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[note]}"))
        columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
        self._progress = Progress(*columns, console=err, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._spoken: dict[str, float] = {}

    def show(self, what: str, done: int, total: int, note: str = "") -> None:
        """Say how far some work is."""
        if err.is_terminal:
            self._draw(what, done, total, note)
            return
        now = time.monotonic()
        if done == total or now - self._spoken.get(what, 0.0) >= _PLAIN_INTERVAL:
            self._spoken[what] = now
            say(f"{what} {done}/{total}" + (f"  {note}" if note else ""))

    @contextmanager
    def live(self) -> Generator[None]:
        """Keep the bars on screen for the length of a block."""
        if not err.is_terminal:
            yield
            return
        with self._progress:
            yield

    def _draw(self, what: str, done: int, total: int, note: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, note=note)
        self._progress.update(self._tasks[what], completed=done, total=total, note=note)
        if done == total:
            self._progress.remove_task(self._tasks.pop(what))


@contextmanager
def bars() -> Generator[Callable[[str, int, int], None]]:
    """Yield a function of (what, done, total) that shows progress."""
    shown = Bars()
    with shown.live():
        yield shown.show
