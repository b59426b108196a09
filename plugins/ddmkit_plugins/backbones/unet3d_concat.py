"""What Bieder et al. (2023, https://arxiv.org/abs/2303.15288) start from: skip connections are concatenated."""

from __future__ import annotations

from typing import ClassVar, Literal

from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings


class UNet3dConcat(UNet3dSettings):
    """A 3D U-Net whose skip connections are concatenated with the decoder, as in Dhariwal & Nichol (2021).

    It takes more memory than `unet3d-avg` of the same width. Volumes of any size are taken; there is no attention.
    """

    name: ClassVar[str] = "unet3d-concat"
    skips: ClassVar[Literal["average", "concatenate"]] = "concatenate"
