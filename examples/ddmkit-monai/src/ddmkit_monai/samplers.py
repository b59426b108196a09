"""MONAI's schedulers as samplers over any ddmkit schedule; MONAI is only imported once one samples."""

from __future__ import annotations

from abc import abstractmethod
from math import sqrt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from ddmkit import ConfigurationError, Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddmkit import Denoise, Draw


class MonaiSampler(Sampler):
    """Walks evenly from T to 0 with one of MONAI's schedulers, whose time i is the i-th time visited, from below."""

    @override
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        times = visited(self.steps, len(alphas_bar) - 1)
        return self.walk(denoise, noise, alphas_bar[times], draw, times)

    @abstractmethod
    def walk(self, denoise: Denoise, noise: Tensor, levels: Tensor, draw: Draw, times: Sequence[int]) -> Tensor:
        """Walk down from the last of the given times to 0.

        Args:
            denoise: as for `sample`.
            noise: as for `sample`.
            levels: alpha-bar of each time, shape (steps,), float64.
            draw: as for `sample`.
            times: rising to T.
        """


class MonaiDdim(MonaiSampler):
    """MONAI's DDIMScheduler without fresh noise: the sample is a function of x_T.

    Song, Meng & Ermon (2021), eq. 12 with sigma = 0, https://arxiv.org/abs/2010.02502.
    """

    name: ClassVar[str] = "monai-ddim"

    @override
    def walk(self, denoise: Denoise, noise: Tensor, levels: Tensor, draw: Draw, times: Sequence[int]) -> Tensor:
        from ddmkit_monai.schedulers import ddim

        scheduler, x = ddim(levels), noise
        for index in reversed(range(len(times))):
            x, _ = scheduler.step(denoise(x, times[index]), index, x)
        return x


class MonaiDdpm(MonaiSampler):
    """MONAI's DDPMScheduler: each step draws from the posterior of the forward process.

    Ho, Jain & Abbeel (2020), algorithm 2 with eqs. 6 and 7, https://arxiv.org/abs/2006.11239.
    """

    name: ClassVar[str] = "monai-ddpm"
    variance: Literal["fixed_small", "fixed_large"] = Field(
        default="fixed_small",
        description="A step's variance: beta-tilde, right for a known x_0 (fixed_small), or beta (fixed_large).",
    )

    @override
    def walk(self, denoise: Denoise, noise: Tensor, levels: Tensor, draw: Draw, times: Sequence[int]) -> Tensor:
        from ddmkit_monai.schedulers import ddpm, posterior

        scheduler, x = ddpm(levels, self.variance), noise
        for number, index in enumerate(reversed(range(len(times)))):
            mean, deviation = posterior(scheduler, index, denoise(x, times[index]), x)
            x = mean + deviation * draw(number) if index else mean
        return x


class MonaiPndm(MonaiSampler):
    """MONAI's PNDMScheduler by its linear multi-step method (Liu et al. 2022), whose first step is corrected once."""

    name: ClassVar[str] = "monai-pndm"
    order: ClassVar[int] = 2

    @property
    @override
    def evaluations(self) -> int:
        return self.steps + (self.steps > 1)

    @override
    def walk(self, denoise: Denoise, noise: Tensor, levels: Tensor, draw: Draw, times: Sequence[int]) -> Tensor:
        from ddmkit_monai.schedulers import pndm

        scheduler, x = pndm(levels), noise
        down = list(reversed(range(len(times))))
        for index in (*down[:2], *down[1:]):  # the second call corrects the first step, and stays where that led to
            level = float(levels[index])
            eps = (x - sqrt(level) * denoise(x, times[index])) / sqrt(1 - level)
            x, _ = scheduler.step(eps, index, x)
        return x


def visited(steps: int, timesteps: int) -> list[int]:
    """Return the times at which the network is asked, rising evenly to T; t = 0, where a walk ends, is not among them.

    Raises:
        ConfigurationError: there are more steps than times.
    """
    if steps > timesteps:
        msg = (
            f"{steps} sampling steps were asked for, but the schedule has {timesteps} timesteps and a step needs one "
            f"of its own; type -o sampler.steps={timesteps} or fewer."
        )
        raise ConfigurationError(msg)
    return [timesteps * number // steps for number in range(1, steps + 1)]
