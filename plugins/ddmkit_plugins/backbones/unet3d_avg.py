"""The network of Bieder et al. (2023), https://arxiv.org/abs/2303.15288: skip connections are averaged."""

from __future__ import annotations

from typing import ClassVar, Literal

from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings


class UNet3dAverage(UNet3dSettings):
    """A 3D U-Net whose skip connections are averaged with the decoder, h = (h + skip) / 2.

    Averaging instead of concatenating keeps the decoder as narrow as the encoder, so that at equal memory the whole
    network can be wider. Volumes of any size are taken; there is no attention.
    """

    name: ClassVar[str] = "unet3d-avg"
    skips: ClassVar[Literal["average", "concatenate"]] = "average"
