"""MONAI's diffusion U-Net and schedulers, for ddmkit: `--backbone monai-unet`, `--sampler monai-ddim` and others."""

from __future__ import annotations

from ddmkit import Component, hookimpl
from ddmkit_monai.backbone import MonaiUNet
from ddmkit_monai.samplers import MonaiDdim, MonaiDdpm, MonaiPndm

ddmkit_interface = 1
"""Version of the plugin interface that this is made for."""


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    """Offer the network and the samplers."""
    return [MonaiUNet, MonaiDdim, MonaiDdpm, MonaiPndm]
