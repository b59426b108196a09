"""DPM-Solver++(2M): Lu et al. (2022), algorithm 2, https://arxiv.org/abs/2211.01095."""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit_plugins.samplers.times import GridSampler, Stride, noise_over_signal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ddmkit import Denoise, Draw


class DpmSolver(GridSampler):
    """Second order with one evaluation a step: the estimate of the step before shows where estimates are going."""

    name: ClassVar[str] = "dpm-solver++"
    order: ClassVar[int] = 2

    @override
    def walk(
        self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw, strides: Iterable[Stride]
    ) -> Tensor:
        """Take the given strides; the first one, and one to t = 0, where lambda has no end, are of first order.

        Lambda is the logarithm of signal over noise, h its growth in a stride.
        """
        del draw
        x, levels = noise, alphas_bar.tolist()
        before: tuple[Tensor, float] | None = None
        for t, t_next in strides:
            x0 = denoise(x, t)
            if t_next == 0:
                x = x0
                continue
            h = log(noise_over_signal(levels[t]) / noise_over_signal(levels[t_next]))
            ahead = x0 if before is None else x0 + h / (2 * before[1]) * (x0 - before[0])
            kept = sqrt((1 - levels[t_next]) / (1 - levels[t]))
            x = kept * x + (sqrt(levels[t_next]) - kept * sqrt(levels[t])) * ahead
            before = x0, h
        return x
