"""The linear schedule of Ho et al. (2020), section 4, https://arxiv.org/abs/2006.11239."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit import ConfigurationError, Schedule

if TYPE_CHECKING:
    from torch import Tensor


class Linear(Schedule):
    """Beta, the share of noise that a step mixes in, rises in equal increments from the first step to the last.

    Bieder et al. (2023) use it too, but their text gives its two ends in the opposite order; a schedule that
    began with the strong noise would leave the network almost nothing to see at small t.
    """

    name: ClassVar[str] = "linear"
    beta_start: float = Field(default=1e-4, ge=1e-8, lt=1, description="Beta of the first noising step, t = 1.")
    beta_end: float = Field(default=0.02, ge=1e-8, lt=1, description="Beta of the last noising step, t = T.")

    @model_validator(mode="after")
    def _noise_grows(self) -> Self:
        if self.beta_start > self.beta_end:
            msg = (
                f"beta_start {self.beta_start} is above beta_end {self.beta_end}, but noise has to grow with t; "
                f"type -o schedule.beta_start={self.beta_end} -o schedule.beta_end={self.beta_start}"
            )
            raise ValueError(msg)
        return self

    @override
    def alphas_bar(self) -> Tensor:
        import torch

        betas = torch.linspace(self.beta_start, self.beta_end, self.timesteps, dtype=torch.float64)
        alphas_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
        if alphas_bar[-1] < torch.finfo(torch.float32).tiny:
            msg = (
                f"After {self.timesteps} steps with beta up to {self.beta_end} no signal is left that float32 could "
                "hold; lower one of them, as in -o schedule.timesteps=1000 -o schedule.beta_end=0.02."
            )
            raise ConfigurationError(msg)
        return alphas_bar
