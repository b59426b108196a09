"""A process that works along: `python -m …worker HOST PORT RANK SIZE DEVICE THREADS`, as `launch` begins it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, NoReturn

import torch

from ddmkit import DdmkitError
from ddmkit_plugins.engines.distributed.failures import speaks_of_another
from ddmkit_plugins.engines.distributed.launch import Meeting, Place, device_of, meet
from ddmkit_plugins.engines.distributed.world import World

if TYPE_CHECKING:
    from ddmkit_plugins.engines.distributed.share import Share


def work(world: World) -> NoReturn:
    """Do what the first process tells until it tells the end, and end."""
    # Ctrl-C and a scheduler's warning are the first process's business, which saves before it ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    from ddmkit_plugins.engines.distributed.opening import opened

    shares: dict[int, Share] = {}
    try:
        while (order := world.hear()) is not None:
            for session in order.dropped:
                shares.pop(session).close()
            if order.verb == "open":
                world.log_to(order.arguments[0].logs)
                shares[order.session] = opened(world, *order.arguments)
            else:
                getattr(shares[order.session], order.verb)(*order.arguments)
    except BaseException as error:  # noqa: BLE001 - whatever it was, the first process has to know
        world.fail(error)
        if isinstance(error, DdmkitError):
            sys.stderr.write(f"error: {error}\n")
        elif speaks_of_another(error) and not shares:  # which have a log
            sys.stderr.write(f"Process {world.rank} ends, since another one has.\n")
        else:
            traceback.print_exc()
        world.leave(1)
    world.leave()


def _end_with_the_first() -> None:
    """End once the process that began this one is gone: whatever it was killed by, its end of the pipe closes."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main(  # noqa: PLR0913, PLR0917 - as typed
    host: str, port: str, rank: str, size: str, device: str, threads: str
) -> None:
    """Meet the process that began this one and work along."""
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    place = Place(int(rank), int(size), int(rank))
    if device == "cpu":
        torch.set_num_threads(int(threads))
    try:
        store = meet(Meeting(host, int(port), hosted=True), place)
        world = World(place, device_of(device, place), store)
    except DdmkitError as error:
        sys.exit(f"error: {error}")
    gc.freeze()  # modules stay: nobody need look for garbage among them whenever a session is closed
    work(world)


if __name__ == "__main__":
    main(*sys.argv[1:])
