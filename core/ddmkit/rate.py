"""The learning rate as a function of the step: no state, so a resumed run needs none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddmkit.configuration import Training


def learning_rate(training: Training, step: int) -> float:
    """Return the learning rate of optimizer step 1 … training.steps: a linear warm-up, then kept or a cosine."""
    if step <= training.warmup:
        return training.learning_rate * step / training.warmup
    if training.decay == "constant":
        return training.learning_rate
    done = (step - training.warmup - 1) / max(training.steps - training.warmup, 1)
    return training.learning_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2
