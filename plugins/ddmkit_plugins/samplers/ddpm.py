"""Ancestral sampling: Ho, Jain & Abbeel (2020), algorithm 2, https://arxiv.org/abs/2006.11239."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from ddmkit_plugins.samplers.times import GridSampler, Stride

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ddmkit import Denoise, Draw


class Ddpm(GridSampler):
    """Each step draws from the posterior of the forward process; good with many steps, poor with few."""

    name: ClassVar[str] = "ddpm"
    variance: Literal["posterior", "forward"] = Field(
        default="posterior",
        description="A step's variance: beta-tilde, right for a known x_0 (posterior), or beta, for a Gaussian one "
        "of unit variance (forward).",
    )

    @override
    def walk(
        self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw, strides: Iterable[Stride]
    ) -> Tensor:
        """Take the given strides by eqs. 6 and 7, where alpha is the signal kept over a whole stride.

        The step to t = 0 adds no noise, as in algorithm 2.
        """
        x, levels = noise, alphas_bar.tolist()
        for number, (t, t_next) in enumerate(strides):
            here, there = levels[t], levels[t_next]
            alpha = here / there
            beta = 1 - alpha
            shrink = (1 - there) / (1 - here)
            x = sqrt(there) * beta / (1 - here) * denoise(x, t) + sqrt(alpha) * shrink * x
            if t_next > 0:
                x = x + sqrt(beta * shrink if self.variance == "posterior" else beta) * draw(number)
        return x
