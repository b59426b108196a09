"""Processes that build one store at once, and processes that are killed while they build; run as a program.

python -m tests.core.racing together CASES STORE    four processes; prints what each has built and read
python -m tests.core.racing killed CASES STORES     leaves a store of each process that was killed
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from tests.core.conftest import TREE, Box, Folders, Foreground, Geometric, Height, Still, Straight, Tiny

from ddmkit import Component, Registry, hookimpl
from ddmkit.assembly import assemble
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.store import Opened
    from ddmkit.stored_case import StoredCase

KILLS = 6
"""That meet a process in the middle of building a store."""
LOOK = os.WEXITED | os.WNOHANG | os.WNOWAIT
"""Whether a process has ended, which is left for others to see."""


class _Parts:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Foreground, Folders, Tiny, Geometric, Straight, Box, Height, Still]


def open_all(cases: Path, store: Path) -> Opened:
    """Open all cases in a store."""
    configuration = assemble(Registry(_Parts()), base=[TREE])
    return Store(configuration, store).open_all(configuration.dataset.cases(cases))


def digest(cases: list[StoredCase]) -> str:
    """Return a sum over all that is read of cases."""
    found = hashlib.sha256()
    for case in cases:
        example = case.read(case.whole())
        assert example.labels is not None
        found.update(case.name.encode() + example.images.numpy().tobytes() + example.labels.numpy().tobytes())
    return found.hexdigest()


def together(cases: Path, store: Path) -> None:
    """Print a line of JSON for each of four processes."""
    ready, go = os.pipe()

    def work() -> None:
        os.close(go)
        os.read(ready, 1)  # nothing, as soon as the parent closes its end
        opened = open_all(cases, store)
        line = {"built": opened.built, "read": digest(opened.cases)}
        os.write(sys.stdout.fileno(), f"{json.dumps(line)}\n".encode())

    children = [_fork(work) for _ in range(4)]
    os.close(go)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def killed(cases: Path, stores: Path) -> None:
    """Leave stores behind whose makers were killed: one between writing a file and renaming it, others anywhere."""
    draw, number = random.Random(0), 0  # noqa: S311 - nothing secret
    while number < KILLS:
        store = stores / f"random-{number}"
        child = _fork(partial(open_all, cases, store))
        files = draw.randrange(10)
        while len(list(store.glob("[!.]*.h5"))) < files and not os.waitid(os.P_PID, child, LOOK):
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert status == 0 or os.WIFSIGNALED(status)
        number += os.WIFSIGNALED(status)  # else it was quicker
    with mock.patch("ddmkit.files._flush", _die):
        child = _fork(partial(open_all, cases, stores / "renaming"))
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _die(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fork(work: Callable[[], object]) -> int:
    """Return the number of a process that does some work; this one must have no threads yet."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    chosen, *places = sys.argv[1:]
    {"together": together, "killed": killed}[chosen](*map(Path, places))
