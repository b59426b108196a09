"""MONAI's network, for volumes of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit_monai.backbone import MonaiUNet

_LEAST = 2
"""Voxels along each axis at the coarsest level: group normalization needs more than one to learn from."""


class PaddedUNet(nn.Module):
    """Pads behind each axis by what lies at the end, so that every level can be halved, and cuts that off again."""

    def __init__(self, settings: MonaiUNet, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.factor = 2 ** (len(settings.channels) - 1)
        self.unet = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            num_res_blocks=settings.blocks,
            channels=settings.channels,
            attention_levels=settings.attention_levels,
            norm_num_groups=settings.groups,
            num_head_channels=settings.head_channels,
        )

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map (N, in_channels, X, Y, Z) and times (N,) to (N, out_channels, X, Y, Z)."""
        shape = x.shape[2:]
        answer: Tensor = self.unet(functional.pad(x, padding(shape, self.factor), mode="replicate"), t)
        return answer[..., : shape[0], : shape[1], : shape[2]]


def padding(shape: Sequence[int], factor: int) -> list[int]:
    """Return what to add before and behind each axis, the last one first, as `torch.nn.functional.pad` takes it."""
    return [amount for side in reversed(shape) for amount in (0, max(-side % factor, _LEAST * factor - side))]
