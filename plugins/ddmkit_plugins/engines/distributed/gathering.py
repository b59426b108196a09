"""The one world of this program: begun or joined when it is first needed, and kept until the program ends."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # torch leaves it so

from ddmkit import ConfigurationError, DeviceError
from ddmkit_plugins.engines.distributed.launch import Place, begin, device_of, launched, meet, meeting_of
from ddmkit_plugins.engines.distributed.worker import work
from ddmkit_plugins.engines.distributed.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit_plugins.engines.deepspeed import DeepSpeed

_DEFAULT_PROCESSES = 2
"""On a CPU."""
_worlds: list[World] = []
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
    world = _joined(settings, place)
    if place.rank > 0:
        work(world)


def gathered(settings: DeepSpeed, logs: Path | None) -> World:
    """Return the world, which is begun if there is none.

    Raises:
        ConfigurationError: there is one of another size, or on other devices.
        DeviceError: it cannot be begun.
    """
    size, place = size_of(settings), launched(os.environ)
    if not _worlds:
        if place is not None:
            return _joined(settings, place)
        begun = begin(size, settings.port, settings.chosen(), logs)
        place = Place(0, size, 0)
        _worlds.append(
            World(
                place,
                device_of(settings.chosen(), place),
                begun.store,
                children=begun.children,
                spare_logs=begun.spare_logs,
            )
        )
    world = _worlds[0]
    if world.size != size or world.device.type != torch.device(settings.chosen()).type:
        msg = (
            f"This program works with {world.size} processes on {world.device.type} already, and cannot with {size} on "
            f"{settings.chosen()} too: start another one."
        )
        raise ConfigurationError(msg)
    return world


def _joined(settings: DeepSpeed, place: Place) -> World:
    if not _worlds:
        device = device_of(settings.chosen(), place)
        store = meet(meeting_of(os.environ), place)
        # A launcher that begins all processes anew keeps its store, with what the last ones left there.
        attempt = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        _worlds.append(World(place, device, attempt, joined=True))
    return _worlds[0]
