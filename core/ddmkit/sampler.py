"""Samplers: from noise to a sample with few calls of one `denoise` function.

A complete sampler::

    class Straight(Sampler):
        '''Even steps along the straight line from x_t to the estimate of x_0 (DDIM without noise).'''

        name: ClassVar[str] = "straight"

        def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
            levels, x = alphas_bar.tolist(), noise
            times = [(len(levels) - 1) * left // self.steps for left in range(self.steps, -1, -1)]
            for t, t_next in pairwise(times):
                x0 = denoise(x, t)
                eps = (x - sqrt(levels[t]) * x0) / sqrt(1 - levels[t])
                x = sqrt(levels[t_next]) * x0 + sqrt(1 - levels[t_next]) * eps
            return x
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from pydantic import Field

from ddmkit.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Denoise: TypeAlias = "Callable[[Tensor, int], Tensor]"
"""(x_t of shape (N, C, X, Y, Z), t from 1 to T) -> the estimate of x_0, same shape, float32."""
Draw: TypeAlias = "Callable[[int], Tensor]"
"""Step number, from 0 -> fresh standard normal noise of x_T's shape, on its device; one number, one noise."""


class Sampler(Component):
    """A way to walk from x_T to x_0."""

    kind: ClassVar[str] = "sampler"
    order: ClassVar[int] = 1
    """Of convergence: with twice the steps, the error is that power of two smaller (`ddmkit.testing` measures it)."""
    steps: int = Field(default=20, ge=1, description="Number of steps from noise to sample, at most T.")

    @property
    def evaluations(self) -> int:
        """How often `sample` calls `denoise`."""
        return self.steps

    @abstractmethod
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        """Return a sample of x_0.

        Args:
            denoise: estimates x_0 from x_t; parameterisation, clipping and condition are inside it.
            noise: x_T, shape (N, C, X, Y, Z), float32 standard normal.
            alphas_bar: shape (T + 1,), float64, on the CPU, from the schedule.
            draw: fresh noise, for samplers that need it.

        Returns:
            Shape (N, C, X, Y, Z), float32.
        """
