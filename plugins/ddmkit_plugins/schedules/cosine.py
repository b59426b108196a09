"""The cosine schedule of Nichol & Dhariwal (2021), eq. 17, https://arxiv.org/abs/2102.09672."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit import Schedule

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_BETA = 0.999
"""Without a bound the last step would take all signal, and estimates of x_0 from eps would divide by zero."""


class Cosine(Schedule):
    """The signal falls as a squared cosine: slower than the linear schedule at both ends."""

    name: ClassVar[str] = "cosine"
    offset: float = Field(
        default=0.008, ge=0, le=1, description="s, which keeps the first steps from being vanishingly small."
    )

    @override
    def alphas_bar(self) -> Tensor:
        import torch

        share = torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps
        signal = torch.cos((share + self.offset) / (1 + self.offset) * torch.pi / 2).square()
        betas = (1 - signal[1:] / signal[:-1]).clamp(max=LARGEST_BETA)
        return torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
