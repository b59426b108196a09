"""The processes that work together, seen from one of them."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from torch import distributed
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch leaves it so

from ddmkit import DdmkitError, DeviceError, errors
from ddmkit.errors import LostProcessError
from ddmkit_plugins.engines.distributed.launch import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # as above

    from ddmkit_plugins.engines.distributed.launch import Child, Place

_GRACE = 10.0
"""Seconds in which a process that fails has said so."""
_STUCK = 60.0
"""Seconds after which a process is ended that waits on its GPU for one that is gone."""
_LETTING_GO = 0.2
"""Seconds; a thousand times what it takes."""
_BROKEN = ("connection", "peer", "socket", "gloo", "nccl", "store", "timed out")
"""Words in what torch says where another process is gone."""


class Order(NamedTuple):
    """What the first process tells the others to do."""

    session: int
    """Which session is meant."""
    verb: str
    """A method of its share."""
    arguments: tuple[Any, ...]
    dropped: list[int]
    """Sessions that nobody will ask for any more."""


class Crew:
    """Processes that work together; the first one tells the others what to do.

    Args:
        place: of this process.
        device: where it works.
        store: shared by all.
        shares: whether others work on the same device.
        children: the processes that this one began.
        joined: whether a launcher began all of them.
    """

    def __init__(  # noqa: PLR0913 - each is another thing
        self,
        place: Place,
        device: torch.device,
        store: TCPStore,
        *,
        shares: bool,
        children: list[Child] | None = None,
        joined: bool = False,
    ) -> None:
        self.joined = joined
        self.place, self.device = place, device
        self.rank, self.size = place.rank, place.size
        self._store, self._children = store, children or []
        self._broken = False
        self._lost: tuple[int, int] | None = None
        self._ended = threading.Event()
        self.shares_device = shares
        self.speaks_nccl = device.type == "cuda" and not shares
        # DeepSpeed asks the environment for these.
        os.environ.update(LOCAL_RANK=str(device.index or 0), DS_ACCELERATOR=device.type)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "nccl" if self.speaks_nccl else "gloo"
        distributed.init_process_group(
            backend,
            store=PrefixStore("ddmkit", store),
            rank=place.rank,
            world_size=place.size,
            timeout=PATIENCE,
        )
        self.control = _group("gloo")
        """For orders, data and whatever else lies in the memory of the host."""
        self.onward, self.back = _group(backend), _group(backend)
        """For what stages exchange: states onward, gradients back."""
        if self._children:
            threading.Thread(target=self._watch, daemon=True, name="ddmkit-watch").start()
        if self.rank == 0:
            atexit.register(self.end)

    def log_to(self, folder: Path | None) -> None:
        """Write what this process says into a folder, if a launcher began it; the display is the first one's."""
        if folder is None or not self.joined:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with (folder / f"process-{self.rank}.log").open("ab") as file:
            for number in (1, 2):
                os.dup2(file.fileno(), number)

    def tell(self, order: Order) -> None:
        """Tell all other processes what to do."""
        self._broadcast(order)

    def hear(self) -> Order | None:
        """Return what the first process tells; None for the end."""
        told: Order | None = self._broadcast(None)
        return told

    def share_out(self, thing: Any) -> Any:  # noqa: ANN401 - anything that can be pickled
        """Return what the first process gives, in every process."""
        return self._broadcast(thing)

    def _broadcast(self, thing: Any) -> Any:  # noqa: ANN401 - as above
        things = [thing]
        distributed.broadcast_object_list(things, src=0, group=self.control)
        return things[0]

    def collect(self, numbers: list[float]) -> list[list[float]]:
        """Return the numbers that each process gives, in every process."""
        mine = torch.tensor(numbers, dtype=torch.float64)
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(theirs, mine, group=self.control)
        return [given.tolist() for given in theirs]

    def give(self, thing: Any, to: int) -> None:  # noqa: ANN401 - as above
        """Hand something to another process, which takes it."""
        distributed.send_object_list([thing], dst=to, group=self.control)

    def take(self, giver: int) -> Any:  # noqa: ANN401 - as above
        """Return what another process gives."""
        things = [None]
        distributed.recv_object_list(things, src=giver, group=self.control)
        return things[0]

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Say in the first process why another one failed, if that is what went wrong.

        Raises:
            DdmkitError: what a user may put right in another process.
            LostProcessError: another process failed or is gone.
        """
        if self._broken:
            msg = "A process that worked along has ended before: begin anew, or type --resume with the run's folder."
            raise LostProcessError(msg)
        try:
            yield
        except BaseException as error:
            self._broken = True
            if isinstance(error, Exception) and not isinstance(error, DdmkitError):
                lost = self._why(_GRACE if speaks_of_another(error) else 0.5)
                if lost is None and speaks_of_another(error):
                    lost = LostProcessError(
                        f"A process of the {self.size} that work together has ended: {str(error).splitlines()[0]}"
                    )
                if lost is not None:
                    raise lost from error
            raise

    def fail(self, error: BaseException) -> None:
        """Leave word for the first process why this one ends."""
        kind = type(error).__name__ if isinstance(error, DdmkitError) else LostProcessError.__name__
        message = str(error) if isinstance(error, DdmkitError) else f"{type(error).__name__}: {error}"
        # Where it seems to be another one that failed, that one's word counts for more.
        word = "followed" if not isinstance(error, DdmkitError) and speaks_of_another(error) else "failed"
        with suppress(RuntimeError):
            self._store.set(f"{word}/{self.rank}", json.dumps([kind, message]))

    def end(self) -> None:
        """Let the other processes end, or end them where one of them is missing."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._broken:
            for child in self._children:
                child.process.kill()
        else:
            with suppress(RuntimeError):
                self._broadcast(None)
            # A thread of torch's lets go of what was sent, and aborts if Python, which it needs for that, is gone.
            time.sleep(_LETTING_GO)
        if self.speaks_nccl:
            with suppress(RuntimeError):
                distributed.destroy_process_group()

    def leave(self, status: int = 0) -> NoReturn:
        """End this process, once the first one is gone if all went well.

        Not before, or that one might find a connection closed while it ends; and at once, since torch's threads do not
        let a process end that takes itself down piece by piece.
        """
        if status == 0:
            with suppress(RuntimeError):
                distributed.recv(torch.empty(1), src=0, group=self.control)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)

    def _why(self, seconds: float) -> DdmkitError | None:
        """Return what another process left word of, or how it ended, if it does so within some seconds."""
        deadline = time.monotonic() + seconds
        while True:
            if (word := self._word("failed")) is not None:
                return word
            if (lost := self._lost or self._gone()) is not None:
                return self._mourned(*lost)
            if time.monotonic() > deadline:
                return self._word("followed")
            time.sleep(0.05)

    def _word(self, which: str) -> DdmkitError | None:
        """Return what a process left word of."""
        for rank in range(1, self.size):
            if self._store.check([f"{which}/{rank}"]):
                kind, message = json.loads(self._store.get(f"{which}/{rank}"))
                return self._failed(rank, kind, message)
        return None

    def _failed(self, rank: int, kind: str, message: str) -> DdmkitError:
        if kind == LostProcessError.__name__:
            return LostProcessError(f"Process {rank} of {self.size} failed: {message}.{self._log(rank)}")
        error: DdmkitError = getattr(errors, kind, DeviceError)(message)
        return error

    def _gone(self) -> tuple[int, int] | None:
        """Return rank and status of a process that ended, but for those that only ended because of another."""
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
        return LostProcessError(f"Process {rank} of {self.size} {how}.{self._log(rank)}")

    def _log(self, rank: int) -> str:
        return f" Its log is {self._children[rank - 1].log}." if self._children else ""

    def _watch(self) -> None:
        """End all processes once one has ended, so that none waits for it."""
        while all(child.process.poll() is None for child in self._children):
            if self._ended.wait(0.2):
                return
        if self._ended.wait(1):  # in which the others may leave word too
            return
        self._lost = self._gone()  # before it looks as if the others had ended so too
        for child in self._children:
            child.process.kill()
        if not self.speaks_nccl:
            return  # here whoever waits is told
        if not self._ended.wait(_STUCK) and not self._broken:
            sys.stderr.write(f"error: {self._why(0) or 'Another process has ended.'}\n")
            os._exit(1)


def _group(backend: str) -> distributed.ProcessGroup:
    """Return a group of all processes of its own."""
    group = distributed.new_group(backend=backend, timeout=PATIENCE)
    assert isinstance(group, distributed.ProcessGroup)  # noqa: S101 - of which every process is a member
    return group


def speaks_of_another(error: BaseException) -> bool:
    """Tell whether torch speaks of another process that is gone."""
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _BROKEN)
