"""The noise levels of Karras et al. (2022), https://arxiv.org/abs/2206.00364, as a schedule in discrete time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit import Schedule

if TYPE_CHECKING:
    from torch import Tensor


class Edm(Schedule):
    """Noise over signal, sigma, rises from sigma_min at t = 1 to sigma_max at t = T: alpha-bar = 1 / (1 + sigma^2)."""

    name: ClassVar[str] = "edm"
    sigma_min: float = Field(default=0.002, ge=1e-4, allow_inf_nan=False, description="Noise over signal at t = 1.")
    sigma_max: float = Field(default=80.0, le=1e6, allow_inf_nan=False, description="Noise over signal at t = T.")
    spacing: Literal["rho", "log"] = Field(
        default="rho",
        description="What rises evenly with t: sigma^(1/rho), as in eq. 5 of the paper (rho), or log sigma (log).",
    )
    rho: float = Field(
        default=7.0, ge=1, le=100, description="Exponent of spacing=rho: the larger, the more times have little noise."
    )

    @model_validator(mode="after")
    def _noise_grows(self) -> Self:
        if not self.sigma_min < self.sigma_max:
            msg = (
                f"sigma_min {self.sigma_min:g} is not below sigma_max {self.sigma_max:g}, but noise has to grow with "
                "t: raise schedule.sigma_max or lower schedule.sigma_min"
            )
            raise ValueError(msg)
        return self

    def sigmas(self) -> Tensor:
        """Return sigma_t for t = 1 ... T: shape (T,), float64; for T = 1 it is sigma_max alone."""
        import torch

        share = torch.linspace(0, 1, self.timesteps, dtype=torch.float64) if self.timesteps > 1 else torch.ones(1)
        low, high = self.sigma_min, self.sigma_max
        if self.spacing == "log":
            return low * torch.pow(high / low, share.double())
        first, last = (math.pow(sigma, 1 / self.rho) for sigma in (low, high))
        return (first + share.double() * (last - first)).pow(self.rho)

    @override
    def alphas_bar(self) -> Tensor:
        import torch

        return torch.cat([torch.ones(1, dtype=torch.float64), 1 / (1 + self.sigmas().square())])
