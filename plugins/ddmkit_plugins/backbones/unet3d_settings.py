"""The options that both 3D U-Nets share; torch is only imported once a network is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import override

from ddmkit import Backbone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


class UNet3dSettings(Backbone):
    """The improved-DDPM U-Net in 3D without attention; a subclass says how skip connections are merged."""

    divisible: ClassVar[bool] = True
    skips: ClassVar[Literal["average", "concatenate"]]
    """How the decoder takes in what the encoder left."""

    width: int = Field(default=29, ge=2, description="Channels at full resolution.")
    multipliers: tuple[PositiveInt, ...] = Field(
        default=(1, 3, 4, 4, 4, 4, 4),
        min_length=1,
        description="Channels of each level as multiples of the width; each level halves the resolution of the last.",
    )
    blocks: int = Field(
        default=2, ge=1, description="Residual blocks a level of the encoder; the decoder has one more."
    )
    normalization: Literal["group", "channel"] = Field(
        default="group",
        description="group: over all voxels and a group of channels, as in the paper; channel: each voxel by the root "
        "mean square of its channels, so that a patch and a whole volume are treated alike.",
    )
    groups: int | None = Field(
        default=None, ge=1, description="Groups of the group normalization; as many as the width when not given."
    )

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if self.groups is None:
            return self
        if self.normalization != "group":
            msg = f"groups={self.groups} means nothing to normalization={self.normalization!r}; leave groups out"
            raise ValueError(msg)
        if self.width % self.groups:
            fitting = ", ".join(str(n) for n in range(1, self.width + 1) if self.width % n == 0)
            msg = f"groups={self.groups} does not divide width={self.width}; with this width groups may be {fitting}"
            raise ValueError(msg)
        return self

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        from ddmkit_plugins.backbones.unet3d_network import UNet3d

        return UNet3d(self, in_channels, out_channels)

    @override
    def import_state(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate a state dict of the official code (github.com/FlorentinBieder/PatchDDM-3D).

        The numbers of input and output channels are taken from its tensors, which are returned uncopied.

        Raises:
            CheckpointError: a tensor is missing, not expected or of another shape than these settings ask for.
        """
        from ddmkit_plugins.backbones.official_checkpoint import translate

        return translate(foreign, self)
