"""The one crew of this program: begun or joined when it is first needed, and kept until the program ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from ddmkit import ConfigurationError, DeviceError
from ddmkit_plugins.engines.distributed.crew import Crew
from ddmkit_plugins.engines.distributed.launch import Place, begin, device_of, launched, meet, meeting_of, shares_device
from ddmkit_plugins.engines.distributed.worker import work

if TYPE_CHECKING:
    from pathlib import Path

    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch leaves it so

    from ddmkit_plugins.engines.deepspeed import DeepSpeed
    from ddmkit_plugins.engines.distributed.launch import Child

_DEFAULT_PROCESSES = 2
"""On a CPU."""
_crews: list[Crew] = []
"""None, or the one there is: torch knows one group of processes a program."""


def size_of(settings: DeepSpeed) -> int:
    """Return how many processes there are, or will be.

    Raises:
        ConfigurationError: it is no multiple of the stages, or a launcher started another number.
        DeviceError: there are fewer devices.
    """
    place = launched(os.environ)
    asked = settings.devices
    if place is not None:
        if asked not in {None, place.size}:
            msg = (
                f"The launcher started {place.size} processes, and engine.devices={asked}: leave engine.devices out, "
                "or start as many."
            )
            raise ConfigurationError(msg)
        size = place.size
    else:
        size = asked_for(settings)
        _refuse_more_than_there_are(settings, size)
    if size % settings.stages:
        fitting = ", ".join(str(stages) for stages in range(1, size + 1) if size % stages == 0)
        msg = f"{size} processes are no multiple of engine.stages={settings.stages}: type one of {fitting} for it."
        raise ConfigurationError(msg)
    return size


def asked_for(settings: DeepSpeed) -> int:
    """Return how many processes would be begun, whether or not there are as many devices."""
    if settings.devices is not None:
        return settings.devices
    here = torch.cuda.device_count() if settings.device in {"auto", "cuda"} else 0
    return here or _DEFAULT_PROCESSES


def _refuse_more_than_there_are(settings: DeepSpeed, size: int) -> None:
    there = torch.cuda.device_count()
    if settings.chosen() == "cuda" and size > there:
        msg = (
            f"engine.devices={size} asks for more than the {there} CUDA devices that this machine shows: type "
            f"-o engine.devices={there}, or -o engine.device=cuda:0, which all processes then share."
        )
        raise DeviceError(msg)


def serve(settings: DeepSpeed) -> None:
    """Work along until the first process has done, and end, if this is another one of a launcher's."""
    place = launched(os.environ)
    if place is None:
        return
    settings.require_deepspeed()
    size_of(settings)
    crew = _joined(settings, place)
    if place.rank > 0:
        work(crew)


def gathered(settings: DeepSpeed, logs: Path | None) -> Crew:
    """Return the crew, which is begun if there is none.

    Raises:
        ConfigurationError: there is one of another size, or on other devices.
        DeviceError: it cannot be begun.
    """
    size, place = size_of(settings), launched(os.environ)
    if not _crews:
        if place is not None:
            return _joined(settings, place)
        store, children = begin(size, settings.port, settings.chosen(), logs)
        _crews.append(_crew(settings, Place(0, size, 0, size), store, children=children))
    crew = _crews[0]
    if crew.size != size or crew.device.type != torch.device(settings.chosen()).type:
        msg = (
            f"This program works with {crew.size} processes on {crew.device.type} already, and cannot with {size} on "
            f"{settings.chosen()} too: start another one."
        )
        raise ConfigurationError(msg)
    return crew


def _joined(settings: DeepSpeed, place: Place) -> Crew:
    if not _crews:
        _crews.append(_crew(settings, place, meet(meeting_of(os.environ), place), joined=True))
    return _crews[0]


def _crew(
    settings: DeepSpeed, place: Place, store: TCPStore, *, children: list[Child] | None = None, joined: bool = False
) -> Crew:
    device = settings.chosen()
    return Crew(
        place,
        device_of(device, place),
        store,
        shares=shares_device(device, place),
        children=children,
        joined=joined,
    )
