"""A judge for tests: what it measures anyone can work out in the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ddmkit import Figure, PairJudge


class Difference(PairJudge):
    """Mean absolute difference, and the real volume's mean."""

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return tuple(Figure(name, name, higher_is_better=False, by_case=True) for name in ("mae", "mean"))

    @override
    def definition(self) -> dict[str, str]:
        return {"mae": "mean absolute difference", "mean": "of the real volume"}

    @override
    def measure(self, real: NDArray[np.float32], generated: NDArray[np.float32]) -> tuple[float, ...]:
        return float(np.abs(real - generated).mean()), float(real.mean())
