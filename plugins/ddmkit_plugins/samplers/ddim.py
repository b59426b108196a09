"""DDIM: Song, Meng & Ermon (2021), https://arxiv.org/abs/2010.02502."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit_plugins.samplers.times import GridSampler, Stride

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ddmkit import Denoise, Draw


class Ddim(GridSampler):
    """Few large steps; without fresh noise (eta 0) the start alone decides the sample."""

    name: ClassVar[str] = "ddim"
    eta: float = Field(
        default=0.0, ge=0, le=1, description="Share of fresh noise in a step: 0 is none (the paper), 1 is as in DDPM."
    )

    @override
    def walk(
        self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw, strides: Iterable[Stride]
    ) -> Tensor:
        """Take the given strides by eq. 12 with the sigma of eq. 16 (eta 0: eq. 5 of Bieder et al. 2023).

        Eps follows from the estimate of x_0 after clipping.
        """
        x, levels = noise, alphas_bar.tolist()
        for number, (t, t_next) in enumerate(strides):
            here, there = levels[t], levels[t_next]
            x0 = denoise(x, t)
            eps = (x - sqrt(here) * x0) / sqrt(1 - here)
            variance = self.eta**2 * (1 - there) / (1 - here) * (1 - here / there)
            x = sqrt(there) * x0 + sqrt(1 - there - variance) * eps
            if variance > 0:
                x = x + sqrt(variance) * draw(number)
        return x
