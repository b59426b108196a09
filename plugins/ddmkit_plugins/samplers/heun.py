"""Heun's method: Karras et al. (2022), algorithms 1 and 2, https://arxiv.org/abs/2206.00364."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit_plugins.samplers.times import GridSampler, Stride, noise_over_signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ddmkit import Denoise, Draw

_MOST = sqrt(2) - 1
"""Of gamma: never more new noise than there is already (the paper, appendix E)."""


class Heun(GridSampler):
    """Second order: two evaluations a step, one in the last. With s_churn, old noise is partly replaced by new."""

    name: ClassVar[str] = "heun"
    order: ClassVar[int] = 2
    s_churn: float = Field(
        default=0.0, ge=0, description="New noise, shared out among all steps: 0 is none (algorithm 1)."
    )
    s_tmin: float = Field(default=0.0, ge=0, description="Least noise over signal at which there is new noise.")
    s_tmax: float | None = Field(
        default=None, ge=0, description="Most noise over signal at which there is new noise; null for no such limit."
    )
    s_noise: float = Field(default=1.0, gt=0, description="Deviation of the new noise.")

    @model_validator(mode="after")
    def _limits_leave_room(self) -> Self:
        if self.s_tmax is not None and self.s_tmin > self.s_tmax:
            msg = (
                f"s_tmin {self.s_tmin} is above s_tmax {self.s_tmax}, so that there would be no new noise; "
                f"type -o sampler.s_tmin={self.s_tmax} -o sampler.s_tmax={self.s_tmin}"
            )
            raise ValueError(msg)
        return self

    @property
    @override
    def evaluations(self) -> int:
        return 2 * self.steps - 1

    @override
    def walk(
        self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw, strides: Iterable[Stride]
    ) -> Tensor:
        """Take the given strides by algorithm 2, in which t is sigma and x is x_t / sqrt(alpha-bar); its d is eps.

        Times with new noise are whole ones, as all are that a network has learned.
        """
        x, levels = noise, alphas_bar.tolist()
        sigmas = [noise_over_signal(level) for level in levels]
        for number, (t, t_next) in enumerate(strides):
            t_hat = self._raised(t, sigmas)
            if t_hat > t:
                fresh = sqrt(sigmas[t_hat] ** 2 - sigmas[t] ** 2) * self.s_noise
                x = sqrt(levels[t_hat] / levels[t]) * x + sqrt(levels[t_hat]) * fresh * draw(number)
            x0 = denoise(x, t_hat)
            if t_next == 0:
                x = x0  # where Euler's step ends
                continue
            eps = (x - sqrt(levels[t_hat]) * x0) / sqrt(1 - levels[t_hat])
            step = sqrt(levels[t_next]) * (sigmas[t_next] - sigmas[t_hat])
            kept = sqrt(levels[t_next] / levels[t_hat]) * x
            ahead = kept + step * eps
            eps_ahead = (ahead - sqrt(levels[t_next]) * denoise(ahead, t_next)) / sqrt(1 - levels[t_next])
            x = kept + step * (eps + eps_ahead) / 2
        return x

    def _raised(self, t: int, sigmas: Sequence[float]) -> int:
        """Return the time whose noise is nearest to (1 + gamma) times that of t."""
        if self.s_churn == 0 or not self.s_tmin <= sigmas[t] <= (inf if self.s_tmax is None else self.s_tmax):
            return t
        wished = sigmas[t] * (1 + min(self.s_churn / self.steps, _MOST))
        return min(range(t, len(sigmas)), key=lambda later: abs(sigmas[later] - wished))
