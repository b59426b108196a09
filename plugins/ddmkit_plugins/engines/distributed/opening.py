"""How a process comes by its share of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit import ConfigurationError
from ddmkit.memory import memory_guard
from ddmkit_plugins.engines.distributed.share import SMALLER_NETWORK

if TYPE_CHECKING:
    from ddmkit_plugins.engines.distributed.share import Opening, Share
    from ddmkit_plugins.engines.distributed.world import World


def opened(world: World, opening: Opening) -> Share:
    """Return the share of this process.

    Raises:
        ConfigurationError: ZeRO over processes that share a GPU.
        OutOfMemoryError: the device cannot hold it.
    """
    if world.device.type == "cuda" and not world.speaks_nccl and opening.settings.zero:
        msg = (
            f"engine.zero={opening.settings.zero} needs a GPU of its own for each process, which NCCL serves: type "
            "-o engine.zero=0, or -o engine.device=cuda with as many GPUs as processes."
        )
        raise ConfigurationError(msg)
    with memory_guard(world.device, SMALLER_NETWORK):
        return _opened(world, opening)


def _opened(world: World, opening: Opening) -> Share:
    if len(opening.layers) == 1:
        from ddmkit_plugins.engines.distributed.replicas import Replica

        return Replica(world, opening)
    from ddmkit_plugins.engines.distributed.pipeline import Staged

    return Staged(world, opening)
