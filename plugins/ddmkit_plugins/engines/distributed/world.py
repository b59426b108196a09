"""The processes that work together, seen from one of them."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from torch import distributed
from torch.distributed import PrefixStore, distributed_c10d  # type: ignore[attr-defined]  # torch leaves it so

from ddmkit import DdmkitError, DeviceError, processors
from ddmkit.errors import LostProcessError
from ddmkit_plugins.engines.distributed.failures import Failures, speaks_of_another
from ddmkit_plugins.engines.distributed.launch import PATIENCE, START

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from torch.distributed import Store  # type: ignore[attr-defined]  # as above

    from ddmkit_plugins.engines.distributed.launch import Child, Place

_GRACE = 10.0
"""Seconds in which a process that fails has said so."""
_STUCK = 60
"""Seconds at work after which a process is ended that waits on its GPU for one that is gone."""
_LETTING_GO = 0.2
"""Seconds; a thousand times what it takes."""


class Order(NamedTuple):
    """What the first process tells the others to do."""

    session: int
    """Which session is meant."""
    verb: str
    """A method of its share."""
    arguments: tuple[Any, ...]
    dropped: list[int]
    """Sessions that nobody will ask for any more."""


class World:
    """Processes that work together; the first one tells the others what to do.

    Args:
        place: of this process.
        device: where it works.
        store: shared by all.
        children: the processes that this one began.
        spare_logs: folder for their logs that goes once all went well; None for one that stays.
        joined: whether a launcher began all of them.

    Raises:
        DeviceError: a process did not come, or they work on different kinds of devices.
        DdmkitError: what another process could not go on with meanwhile.
        RuntimeError: torch's, where it cannot connect for reasons of its own.
    """

    def __init__(  # noqa: PLR0913 - each is another thing
        self,
        place: Place,
        device: torch.device,
        store: Store,
        *,
        children: list[Child] | None = None,
        spare_logs: Path | None = None,
        joined: bool = False,
    ) -> None:
        self.joined = joined
        self.place, self.device = place, device
        self.rank, self.size = place.rank, place.size
        self._children, self._spare_logs = children or [], spare_logs
        connection: Store = store.clone()  # type: ignore[attr-defined]  # not in torch's stubs
        self._failures = Failures(place, connection, self._children)
        self._broken = False
        self._ended, self._aborted, self._at_work = threading.Event(), threading.Event(), threading.Event()
        if self.rank > 0:
            self._at_work.set()  # all its life
        try:
            self._come_together(store)
        except BaseException as error:
            self._failures.leave_word(error)
            self._failures.end_all()
            raise
        if self._children or self.speaks_nccl:
            threading.Thread(target=self._watch, daemon=True, name="ddmkit-watch").start()
        if self.rank == 0:
            atexit.register(self.end)

    def _come_together(self, store: Store) -> None:
        """Meet all other processes, unless one of them fails or does not come."""
        # DeepSpeed asks the environment for these; NCCL is not to end a process that has something to say.
        os.environ.update(LOCAL_RANK=str(self.device.index or 0), DS_ACCELERATOR=self.device.type)
        os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        store.set(f"seat/{self.rank}", _seat(self.device))
        store.set(f"cores/{self.rank}", _cores())
        found: list[BaseException] = []

        def connect() -> None:
            try:
                self._connect(store)
            except BaseException as error:  # noqa: BLE001 - it is raised below
                found.append(error)

        # Torch waits for a process to connect, whatever became of it: a thread may be left waiting.
        connecting = threading.Thread(target=connect, daemon=True)
        connecting.start()
        deadline = time.monotonic() + START
        while connecting.is_alive():
            connecting.join(0.02)
            if (failed := self._failures.why_not_begun()) is not None:
                raise failed
            if time.monotonic() > deadline:
                msg = f"Not all {self.size} processes came within {START:.0f} seconds: see what the others say."
                raise DeviceError(msg)
        if found:
            lost = self._failures.why(_GRACE) if speaks_of_another(found[0]) else None
            raise lost or found[0]
        if self.joined and self.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, processors.cores() // self._beside))  # of which each would take all

    def _connect(self, store: Store) -> None:
        seats = [store.get(f"seat/{rank}").decode() for rank in range(self.size)]
        kinds = [seat.split()[0] for seat in seats]
        if other := next((rank for rank, kind in enumerate(kinds) if kind != kinds[0]), None):
            msg = (
                f"Process 0 works on {kinds[0]} and process {other} on {kinds[other]}: type -o engine.device=cpu for "
                "all of them, or let each have a GPU."
            )
            raise DeviceError(msg)
        self.sharing = seats.count(seats[self.rank])
        """How many processes work on this one's device."""
        self._beside = [store.get(f"cores/{rank}").decode() for rank in range(self.size)].count(_cores())
        """How many processes have this one's cores."""
        self.speaks_nccl = self.device.type == "cuda" and len(set(seats)) == self.size
        """Whether each process has a GPU of its own: NCCL refuses to serve two on one."""
        backend = "nccl" if self.speaks_nccl else "gloo"
        distributed.init_process_group(
            backend, store=PrefixStore("ddmkit", store), rank=self.rank, world_size=self.size, timeout=PATIENCE
        )
        self.control = _group("gloo")
        """For orders, data and whatever else lies in the memory of the host."""
        self.onward, self.backward = _group(backend), _group(backend)
        """For what stages exchange: states onward, gradients backward."""

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
        self._at_work.set()
        try:
            yield
        except BaseException as error:
            self._broken = True
            if isinstance(error, Exception) and not isinstance(error, DdmkitError):
                followed = self._aborted.is_set() or speaks_of_another(error)
                lost = self._failures.why(_GRACE if followed else 0.5)
                if lost is None and followed:
                    lost = LostProcessError(
                        f"A process of the {self.size} that work together has ended: {str(error).splitlines()[0]}"
                    )
                if lost is not None:
                    raise lost from error
            self.fail(error)
            raise
        finally:
            self._at_work.clear()

    def fail(self, error: BaseException) -> None:
        """Leave word for the other processes why this one ends."""
        self._failures.leave_word(error, followed=self._aborted.is_set())

    def end(self) -> None:
        """Let the other processes end, or end them where one of them is missing."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._broken or self._aborted.is_set():
            self._failures.end_all()
            if not self._abort():
                _end_at_once(1)
            return
        with suppress(RuntimeError):
            self._broadcast(None)
        # A thread of torch's lets go of what was sent, and aborts if Python, which it needs for that, is gone.
        time.sleep(_LETTING_GO)
        if self._spare_logs is not None:
            shutil.rmtree(self._spare_logs, ignore_errors=True)
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
                if self.speaks_nccl:  # of which all processes take leave together
                    distributed.destroy_process_group()
                else:
                    distributed.recv(torch.empty(1), src=0, group=self.control)
        _end_at_once(status)

    def _watch(self) -> None:
        """Look after the others, so that nobody waits for one that is gone."""
        gone = self._failures.one_has_ended if self._children else self._failures.one_has_failed
        while not gone():
            if self._ended.wait(0.2):
                return
        if self._ended.wait(1):  # in which the others may leave word too
            return
        self._failures.end_all()
        if not self.speaks_nccl:
            return  # here whoever waits is told
        self._abort()
        stuck = 0
        while stuck < _STUCK:
            if self._ended.wait(1) or self._broken:
                return
            stuck = stuck + 1 if self._at_work.is_set() else 0
        why = self._failures.why(0) or "Another process has ended."
        sys.stderr.write(f"error: {why} Type --resume with the run's folder to go on.\n")
        _end_at_once(1)

    def _abort(self) -> bool:
        """Wait no longer on the GPU for others; return whether that is so."""
        if not self.speaks_nccl or self._aborted.is_set():
            return True
        self._aborted.set()

        def abort() -> None:
            with suppress(RuntimeError, ValueError, AssertionError):
                distributed_c10d._abort_process_group()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no public name

        # NCCL may wait there for those that are gone.
        aborting = threading.Thread(target=abort, daemon=True)
        aborting.start()
        aborting.join(_GRACE)
        return not aborting.is_alive()


def _seat(device: torch.device) -> str:
    """Return a name of a device that is the same in all processes that work on it, and in no other."""
    name = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else ""
    return f"{device.type} {socket.gethostname()} {name}"


def _cores() -> str:
    """Return a name of the cores that this process may use."""
    return f"{socket.gethostname()} {processors.numbers()}"


def _end_at_once(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _group(backend: str) -> distributed.ProcessGroup:
    """Return a group of all processes of its own."""
    group = distributed.new_group(backend=backend, timeout=PATIENCE)
    assert isinstance(group, distributed.ProcessGroup)  # noqa: S101 - of which every process is a member
    return group
