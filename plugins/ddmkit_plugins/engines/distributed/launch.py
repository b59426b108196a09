"""How the processes of a run come to be: the first one begins the others, or a launcher begins them all."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.distributed import DistNetworkError, TCPStore  # type: ignore[attr-defined]  # torch leaves them so

from ddmkit import ConfigurationError, DeviceError
from ddmkit.processors import cores

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

PATIENCE = timedelta(days=365)
"""Of a process that waits for work: nobody knows how long the first one reads, saves or samples."""
_log = logging.getLogger(__name__)
_HERE = "127.0.0.1"
START = 300.0
"""Seconds in which a process must be there; importing torch from a slow disk can take minutes."""


class Place(NamedTuple):
    """Which of the processes this one is."""

    rank: int
    size: int
    local_rank: int
    """Its number among those of its machine."""


class Meeting(NamedTuple):
    """Where processes find each other."""

    host: str
    port: int
    hosted: bool
    """Whether the first process has to be the host, and not the launcher."""


class Child(NamedTuple):
    """A process that was begun by this one."""

    process: subprocess.Popen[bytes]
    log: Path


def launched(environment: Mapping[str, str]) -> Place | None:
    """Return which of a launcher's processes this one is; None if it was begun alone.

    torchrun and the deepspeed launcher say so by RANK and WORLD_SIZE, SLURM by names of its own.
    """
    for rank, size, local_rank in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ):
        if rank in environment and size in environment and _number(environment, size) > 1:
            local = _number(environment, local_rank) if local_rank in environment else 0
            return Place(_number(environment, rank), _number(environment, size), local)
    return None


def _number(environment: Mapping[str, str], name: str) -> int:
    """Return the number that a launcher has set.

    Raises:
        ConfigurationError: it is none.
    """
    text = environment[name]
    if not text.isdecimal():
        msg = f"{name}={text} is no number: begin the processes with a launcher that sets it, or unset it."
        raise ConfigurationError(msg)
    return int(text)


def device_of(device: str, place: Place) -> torch.device:
    """Return the device of a process: a named one, or the one of its number on its machine."""
    if device == "cuda":
        return torch.device("cuda", place.local_rank % max(1, torch.cuda.device_count()))
    return torch.device(device)


def meeting_of(environment: Mapping[str, str]) -> Meeting:
    """Return where a launcher lets its processes meet.

    Raises:
        ConfigurationError: it does not say, or no number for the port.
    """
    host = environment.get("MASTER_ADDR") or _first_host(environment.get("SLURM_STEP_NODELIST", ""))
    port = None
    if environment.get("MASTER_PORT"):
        port = _number(environment, "MASTER_PORT")
    elif "SLURM_JOB_ID" in environment:
        port = 20000 + _number(environment, "SLURM_JOB_ID") % 20000
    if host is None or port is None:
        msg = (
            "The launcher does not say where its processes meet: set MASTER_ADDR to the first machine's name and "
            "MASTER_PORT to a free port there, or leave the launcher out and type -o engine.devices=N."
        )
        raise ConfigurationError(msg)
    return Meeting(host, port, environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True")


def _first_host(nodes: str) -> str | None:
    """Return the first of SLURM's hosts, which it writes as "node[08-11,15],other"."""
    found = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodes)
    return None if found is None else found[1] + (found[2] or "")


def meet(meeting: Meeting, place: Place) -> TCPStore:
    """Return the store that all processes share, to which the first one is host.

    Raises:
        DeviceError: the port is in use, or the host is not there.
    """
    host = meeting.hosted and place.rank == 0
    with _network_errors(meeting):
        return TCPStore(
            meeting.host, meeting.port, place.size, host, wait_for_workers=False, timeout=timedelta(seconds=START)
        )


@contextmanager
def _network_errors(meeting: Meeting) -> Generator[None]:
    try:
        yield
    except DistNetworkError as error:
        where = f"port {meeting.port} of {meeting.host}"
        if "address already in use" in str(error).lower():
            msg = (
                f"The {where} is in use: type -o engine.port=0 for one that is free, or, with a launcher, another "
                "MASTER_PORT."
            )
        else:
            msg = f"The processes do not meet at {where}: {str(error).splitlines()[0]}"
        raise DeviceError(msg) from error


class Begun(NamedTuple):
    """Processes that this one began."""

    store: TCPStore
    """Shared by all."""
    children: list[Child]
    spare_logs: Path | None
    """Their logs' folder, if it is a temporary one."""


def begin(size: int, port: int, device: str, logs: Path | None) -> Begun:
    """Begin all processes but this one, which is the first, on this machine.

    Args:
        size: how many there will be.
        port: of this machine; 0 for one that is free.
        device: cpu or cuda.
        logs: folder for what the others say; None for a temporary one.

    Raises:
        DeviceError: the port is in use.
    """
    if sys.platform == "linux":  # where a machine's name need not be known to itself
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = meet(Meeting(_HERE, port, hosted=True), Place(0, size, 0))
    threads = max(1, torch.get_num_threads() // size)
    if device == "cpu":
        if size > (there := cores()):
            _log.warning(
                "%d processes share %d cores and get into each other's way; -o engine.devices=%d is as many as there "
                "are.",
                size,
                there,
                there,
            )
        torch.set_num_threads(threads)
    folder = Path(mkdtemp(prefix="ddmkit-logs-")) if logs is None else logs
    folder.mkdir(parents=True, exist_ok=True)
    children = [
        _child([str(store.port), str(rank), str(size), device, str(threads)], folder / f"process-{rank}.log")
        for rank in range(1, size)
    ]
    return Begun(store, children, folder if logs is None else None)


def _child(arguments: list[str], log: Path) -> Child:
    command = [sys.executable, "-m", "ddmkit_plugins.engines.distributed.worker", _HERE, *arguments]
    # What this process can import, a network's classes among it, the others can too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("ab") as file:
        # In a session of its own it is spared the terminal's Ctrl-C; when its stdin ends, so does it.
        process = subprocess.Popen(  # noqa: S603 - this very program
            command,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    return Child(process, log)
