"""What there is to calculate with."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many processors this process may use."""
    return len(numbers())


def numbers() -> list[int]:
    """Return which processors this process may use, in ascending order."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return list(range(os.cpu_count() or 1))
