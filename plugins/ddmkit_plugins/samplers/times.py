"""The times a sampler visits, as explicit pairs: nothing has to guess where a step ends."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

from ddmkit import ConfigurationError

Stride: TypeAlias = tuple[int, int]
"""(t, the smaller time it leads to)."""


def even_strides(timesteps: int, steps: int) -> list[Stride]:
    """Return `steps` strides that join up, as even as whole numbers allow, from T to 0, where alpha-bar is 1.

    With T = 1000 and 20 steps: (1000, 950), (950, 900), ... (50, 0).

    Args:
        timesteps: T, 1 or greater.
        steps: from 1 to T.

    Raises:
        ConfigurationError: there are more steps than times.
    """
    if steps > timesteps:
        msg = (
            f"{steps} sampling steps were asked for, but the schedule has {timesteps} timesteps and a step needs one "
            f"of its own; type -o sampler.steps={timesteps} or fewer."
        )
        raise ConfigurationError(msg)
    times = [timesteps * left // steps for left in range(steps, -1, -1)]
    return list(pairwise(times))
