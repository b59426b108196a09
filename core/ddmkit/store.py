"""The store: every case normalised once into one HDF5 file, shared by all runs with the same preprocessing."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from ddmkit.building import Recipe, alone, build, key
from ddmkit.errors import DataError
from ddmkit.processors import cores
from ddmkit.stored_case import StoredCase, read_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddmkit.configuration import Configuration
    from ddmkit.dataset import Case

_log = logging.getLogger(__name__)

_MOST_THREADS = 16
"""Each holds a case in memory while it is read: about 0.3 GB at 240×240×155 voxels."""
_NAME = 60
"""Bytes of a case's name in that of its file, which may not become too long."""


def cache_folder() -> Path:
    """Return where stores live: $DDMKIT_CACHE, or ddmkit in the user's cache folder."""
    chosen = os.environ.get("DDMKIT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddmkit"


class Opened(NamedTuple):
    """Cases as the store knows them."""

    cases: list[StoredCase]
    """Those that can be used, in the order they were asked for."""
    wrong: dict[str, str]
    """Why the others cannot be used, by name."""
    built: int
    """How many files this call made."""


class Store:
    """Cases as the network sees them, made on first use and shared by all runs with the same preprocessing.

    A file's key holds the identity of its source files and every setting, so an edited file or a changed setting
    is never served stale.

    Args:
        configuration: says which modalities, how to normalise and to pad.
        folder: where the files go; by default, the user's cache.
        references: whether a case's reference is needed; where it is not, it need not be readable.
        modalities: which images; None: all that the task learns from.
    """

    def __init__(
        self,
        configuration: Configuration,
        folder: Path | None = None,
        *,
        references: bool = True,
        modalities: tuple[str, ...] | None = None,
    ) -> None:
        self._configuration = configuration
        self._references = references
        preprocessing = configuration.preprocessing
        self._recipe = Recipe(
            modalities or configuration.task.modalities,
            preprocessing.orientation,
            preprocessing.spacing,
            preprocessing.percentiles,
        )
        self._folder = folder or cache_folder() / "store"

    def open_all(self, cases: Sequence[Case], progress: Callable[[int, int], None] = lambda *_: None) -> Opened:
        """Open many cases, building on all cores what is not there yet.

        Args:
            cases: in any order.
            progress: called with (cases done, cases there are).

        Raises:
            StorageError: the store's files cannot be written.
        """
        opened: dict[str, tuple[StoredCase, bool]] = {}
        stopped = Event()
        wrong: dict[str, str] = {}
        with ThreadPoolExecutor(min(cores(), _MOST_THREADS), thread_name_prefix="ddmkit-store") as pool:
            waiting = {pool.submit(self._open, case, stopped): case.name for case in cases}
            try:
                for done, future in enumerate(as_completed(waiting), start=1):
                    try:
                        opened[waiting[future]] = future.result()
                    except DataError as error:
                        wrong[waiting[future]] = str(error)
                    progress(done, len(cases))
            except BaseException:
                stopped.set()
                pool.shutdown(cancel_futures=True)
                raise
        there = [opened[case.name] for case in cases if case.name in opened]
        refused = {case.name: wrong[case.name] for case in cases if case.name in wrong}
        return Opened([stored for stored, _ in there], refused, sum(built for _, built in there))

    def open(self, case: Case) -> StoredCase:
        """Return a case of the store, building its file if it is not there or cannot be read.

        Raises:
            DataError: the case's files are unreadable or contradict each other.
            StorageError: the store's file cannot be written.
        """
        return self._open(case)[0]

    def _open(self, case: Case, stopped: Event | None = None) -> tuple[StoredCase, bool]:
        if case.reference is not None and not self._references:
            with suppress(DataError):  # a run may have made it with its reference, which does no harm
                if (stored := self._describe(case, self._path(case))) is not None:
                    return stored, False
            case = case._replace(reference=None)
        path = self._path(case)
        stored = self._describe(case, path)
        if stored is not None:
            return stored, False
        with alone(path, stopped):
            stored = self._describe(case, path)  # another process may have made it while we waited
            built = stored is None
            if stored is None:
                if path.exists():
                    _log.warning("The store's file of case %s is damaged: made anew.", case.name)
                build(case, self._recipe, path)
                stored = self._describe(case, path)
        assert stored is not None  # noqa: S101 - it was just written
        return stored, built

    def _describe(self, case: Case, path: Path) -> StoredCase | None:
        facts = read_facts(path)
        if facts is None:
            return None
        return StoredCase(case, self._recipe, path, facts, self._configuration.region_of(facts.brain))

    def _path(self, case: Case) -> Path:
        beginning = case.name.encode()[:_NAME].decode(errors="ignore")  # for people; the key tells cases apart
        return self._folder / f"{beginning}-{key(case, self._recipe)}.h5"
