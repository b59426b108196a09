"""What became of the other processes: those that fail leave word, and those that are killed leave a status."""

from __future__ import annotations

import json
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ddmkit import DdmkitError, DeviceError, errors
from ddmkit.errors import LostProcessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed import Store  # type: ignore[attr-defined]  # torch leaves it so

    from ddmkit_plugins.engines.distributed.launch import Child, Place

_BROKEN = ("connection", "peer", "socket", "gloo", "nccl", "store", "timed out")
"""Words in what torch says where another process is gone."""
_FAILED, _FOLLOWED = "failed", "followed"
"""Whether a process failed by itself, or seems to have because another one did."""


class Failures:
    """The failures of the processes that work together, as one of them sees them.

    Args:
        place: of this process.
        store: shared by all; of a connection of its own, since others wait on theirs.
        children: the processes that this one began.
    """

    def __init__(self, place: Place, store: Store, children: Sequence[Child]) -> None:
        self._rank, self._size, self._store, self._children = place.rank, place.size, store, children
        self._lost: tuple[int, int] | None = None
        self._ended_here = False
        """Whether the others were ended by this process, so that how they end says nothing."""

    def leave_word(self, error: BaseException, *, followed: bool = False) -> None:
        """Tell the other processes why this one ends: by itself, or because it `followed` another one."""
        kind = type(error).__name__ if isinstance(error, DdmkitError) else LostProcessError.__name__
        message = str(error) if isinstance(error, DdmkitError) else f"{type(error).__name__}: {error}"
        # Where it seems to be another one that failed, that one's word counts for more.
        followed = not isinstance(error, DdmkitError) and (followed or speaks_of_another(error))
        with suppress(RuntimeError):
            self._store.set(f"{_FOLLOWED if followed else _FAILED}/{self._rank}", json.dumps([kind, message]))

    def why(self, seconds: float) -> DdmkitError | None:
        """Return why another process failed, if that is known within some seconds."""
        deadline = time.monotonic() + seconds
        while True:
            if (word := self._word(_FAILED)) is not None:
                return word
            if (lost := self._killed()) is not None:
                return self._mourned(*lost)
            if time.monotonic() > deadline:
                return self._word(_FOLLOWED)
            time.sleep(0.05)

    def why_not_begun(self) -> DdmkitError | None:
        """Return why another process will not come, if that is so."""
        if (word := self._word(_FAILED) or self._word(_FOLLOWED)) is not None:
            return word
        if not self._children and self.one_has_failed():
            return DeviceError("The process at whose store all meet is gone: see what the others say.")
        for rank, child in enumerate(self._children, start=1):
            if child.process.poll() is not None:
                said = child.log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
                last = said[-1].rstrip(".")
                return DeviceError(f"Process {rank} of {self._size} did not start: {last}.{self._log(rank)}")
        return None

    def one_has_ended(self) -> bool:
        """Tell whether one of the processes that this one began has ended, however."""
        return any(child.process.poll() is not None for child in self._children)

    def one_has_failed(self) -> bool:
        """Tell whether any other process left word of a failure, or took the store along."""
        others = [rank for rank in range(self._size) if rank != self._rank]
        try:
            return any(self._store.check([f"{word}/{rank}"]) for rank in others for word in (_FAILED, _FOLLOWED))
        except RuntimeError:
            return True

    def end_all(self) -> None:
        """End the processes that this one began, after a look at who ended before."""
        self._lost, self._ended_here = self._killed(), True
        for child in self._children:
            child.process.kill()

    def _word(self, which: str) -> DdmkitError | None:
        """Return what another process left word of."""
        with suppress(RuntimeError):
            for rank in range(self._size):
                if rank != self._rank and self._store.check([f"{which}/{rank}"]):
                    kind, message = json.loads(self._store.get(f"{which}/{rank}"))
                    return self._failed(rank, kind, message)
        return None

    def _failed(self, rank: int, kind: str, message: str) -> DdmkitError:
        if kind == LostProcessError.__name__:
            return LostProcessError(f"Process {rank} of {self._size} failed: {message}.{self._log(rank)}")
        error: DdmkitError = getattr(errors, kind, DeviceError)(message)
        return error

    def _killed(self) -> tuple[int, int] | None:
        """Return rank and status of a process that ended, but for those that only ended because of another."""
        if self._ended_here:
            return self._lost
        for rank, child in enumerate(self._children, start=1):
            status = child.process.poll()
            if status is not None and status not in {0, 1}:
                return rank, status
        return None

    def _mourned(self, rank: int, status: int) -> LostProcessError:
        how = f"ended with status {status}"
        if status < 0:
            how = f"was killed by signal {-status} ({signal.Signals(-status).name})"
            if status == -signal.SIGKILL:
                how += ", as a system does that runs out of memory"
        return LostProcessError(f"Process {rank} of {self._size} {how}.{self._log(rank)}")

    def _log(self, rank: int) -> str:
        return f" Its log is {self._children[rank - 1].log}." if 0 < rank <= len(self._children) else ""


def speaks_of_another(error: BaseException) -> bool:
    """Tell whether torch speaks of another process that is gone."""
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _BROKEN)
