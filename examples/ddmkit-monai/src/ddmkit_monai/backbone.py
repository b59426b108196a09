"""The settings of MONAI's DiffusionModelUNet; MONAI is only imported once a network is built."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import override

from ddmkit import Backbone

if TYPE_CHECKING:
    from torch import nn


class MonaiUNet(Backbone):
    """MONAI's DiffusionModelUNet in 3D, with attention where asked for; volumes of any size are padded inside."""

    name: ClassVar[str] = "monai-unet"
    channels: tuple[PositiveInt, ...] = Field(
        default=(32, 64, 128), min_length=1, description="Channels of each level; each halves the resolution."
    )
    attention_levels: tuple[bool, ...] = Field(
        default=(False, False, True),
        min_length=1,
        description="Whether each level has attention over all its voxels, which grows with their square.",
    )
    blocks: int = Field(default=2, ge=1, description="Residual blocks a level.")
    head_channels: int = Field(
        default=32, ge=1, description="Channels of each attention head; the middle of the network has attention too."
    )
    groups: int = Field(default=32, ge=1, description="Groups of the group normalization.")

    @model_validator(mode="after")
    def _levels_are_as_many(self) -> Self:
        levels = len(self.channels)
        if levels != len(self.attention_levels):
            example = ",".join(["false"] * (levels - 1) + ["true"])
            msg = (
                f"channels names {levels} levels and attention_levels {len(self.attention_levels)}: give as many true "
                f"or false as channels, as in -o backbone.attention_levels={example}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _groups_divide_every_level(self) -> Self:
        for channels in self.channels:
            if channels % self.groups:
                fitting = [n for n in range(1, min(self.channels) + 1) if all(c % n == 0 for c in self.channels)]
                below = max(n for n in fitting if n <= self.groups)
                msg = (
                    f"groups={self.groups} does not divide channels={channels}; with these channels groups may be "
                    f"{', '.join(map(str, fitting))}, as in -o backbone.groups={below}"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _heads_divide_what_attends(self) -> Self:
        levels = [c for c, attends in zip(self.channels, self.attention_levels, strict=True) if attends]
        attending = (*levels, self.channels[-1])
        for channels in attending:
            if channels % self.head_channels:
                largest = gcd(*attending)
                msg = (
                    f"head_channels={self.head_channels} does not divide channels={channels}, where there is "
                    f"attention: choose a divisor of {largest}, such as -o backbone.head_channels={largest}"
                )
                raise ValueError(msg)
        return self

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        from ddmkit_monai.network import PaddedUNet

        return PaddedUNet(self, in_channels, out_channels)
