"""The times a sampler visits, as explicit pairs: nothing has to guess where a step ends."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field
from typing_extensions import override

from ddmkit import ConfigurationError, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ddmkit import Denoise, Draw

Stride: TypeAlias = tuple[int, int]
"""(t, the smaller time it leads to)."""


class GridSampler(Sampler):
    """A sampler that walks from T to 0 on a grid of its own."""

    times: Literal["uniform", "quadratic", "karras"] = Field(
        default="uniform",
        description="Where steps end: evenly in t (uniform), closer together for small t as squares are (quadratic; "
        "Song et al. 2021, appendix D.2), or by noise (karras; Karras et al. 2022, eq. 5), at the nearest whole t.",
    )
    rho: float = Field(
        default=7.0,
        ge=2,
        le=100,
        description="Exponent of times=karras: the larger, the shorter the steps at little noise; below 2 the last "
        "ones would be longer than what they have to resolve.",
    )

    @override
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        return self.walk(denoise, noise, alphas_bar, draw, self.strides(alphas_bar))

    @abstractmethod
    def walk(
        self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw, strides: Iterable[Stride]
    ) -> Tensor:
        """Take the given strides; arguments and result are those of `sample`."""

    def strides(self, alphas_bar: Tensor) -> list[Stride]:
        """Return the steps, which join up from T to 0, where alpha-bar is 1.

        With T = 1000 and 20 even steps: (1000, 950), (950, 900), ... (50, 0).

        Args:
            alphas_bar: shape (T + 1,), float64.

        Raises:
            ConfigurationError: there are more steps than times.
        """
        timesteps, steps = len(alphas_bar) - 1, self.steps
        if steps > timesteps:
            msg = (
                f"{steps} sampling steps were asked for, but the schedule has {timesteps} timesteps and a step needs "
                f"one of its own; type -o sampler.steps={timesteps} or fewer."
            )
            raise ConfigurationError(msg)
        if self.times == "uniform":
            return list(pairwise(timesteps * left // steps for left in range(steps, -1, -1)))
        if self.times == "quadratic":
            wished: Sequence[float] = [timesteps * (left / steps) ** 2 for left in range(steps, 0, -1)]
        else:
            wished = self._by_noise(alphas_bar.tolist())
        return list(pairwise([*_distinct(wished, timesteps), 0]))

    def _by_noise(self, levels: Sequence[float]) -> list[int]:
        """Return the times whose noise over signal is nearest to what eq. 5 of Karras et al. wishes."""
        spreads = [noise_over_signal(level) for level in levels]
        most, least, last = spreads[-1] ** (1 / self.rho), spreads[1] ** (1 / self.rho), max(1, self.steps - 1)
        wished = [(most + number / last * (least - most)) ** self.rho for number in range(self.steps)]
        return [min(range(1, len(spreads)), key=lambda t: abs(spreads[t] - wish)) for wish in wished]


def noise_over_signal(alpha_bar: float) -> float:
    """Return sigma = sqrt((1 - alpha-bar) / alpha-bar), in which the flow of x_t / sqrt(alpha-bar) has the slope eps.

    So say Song et al. (2021, DDIM), eq. 14; it is the sigma of Karras et al. (2022).
    """
    return sqrt((1 - alpha_bar) / alpha_bar)


def _distinct(wished: Sequence[float], timesteps: int) -> list[int]:
    """Return whole times that fall from T to 1 at least, as near to the wished ones as these leave room."""
    times = [timesteps]
    for left, wish in zip(range(len(wished) - 1, 0, -1), wished[1:], strict=True):
        times.append(min(times[-1] - 1, max(round(wish), left)))
    return times
