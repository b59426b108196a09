"""How a process comes by its share of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddmkit_plugins.engines.distributed.crew import Crew
    from ddmkit_plugins.engines.distributed.share import Opening, Share


def opened(crew: Crew, opening: Opening) -> Share:
    """Return the share of this process."""
    if len(opening.layers) == 1:
        from ddmkit_plugins.engines.distributed.replicas import Replica

        return Replica(crew, opening)
    from ddmkit_plugins.engines.distributed.pipeline import Staged

    return Staged(crew, opening)
