"""When an ensemble has enough members: once more of them no longer change its labels."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

STEADY = 3
"""As many additions in a row have to leave the labels as they are: one may do so by chance."""


class Settling:
    """Watches the labels of a growing ensemble.

    Args:
        tolerance: the change that counts as none, from 0 to 1.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._labels: Tensor | None = None
        self._changes: deque[float] = deque(maxlen=STEADY)

    def settled(self, labels: Tensor) -> bool:
        """Take in the labels with one more member, (X, Y, Z), and tell whether no more are needed."""
        if self._labels is not None:
            self._changes.append(change(self._labels, labels))
        self._labels = labels
        return len(self._changes) == STEADY and max(self._changes) <= self._tolerance


def change(before: Tensor, after: Tensor) -> float:
    """Return how much labels have changed: 1 - Dice of the class that changed most; 0 where there are none."""
    import numpy as np  # a configuration, which needs `STEADY`, imports nothing heavy

    from ddmkit.measures import dice

    one, other = before.numpy(), after.numpy()
    changes = (1 - dice(one == index, other == index) for index in np.union1d(one, other) if index > 0)
    return max(changes, default=0.0)
