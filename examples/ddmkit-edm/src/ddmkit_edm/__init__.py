"""Noise levels and preconditioning of Karras et al. (2022), for ddmkit: `--schedule edm --backbone edm-unet3d`."""

from __future__ import annotations

from ddmkit import Component, hookimpl
from ddmkit_edm.backbone import EdmUNet3d
from ddmkit_edm.schedule import Edm

ddmkit_interface = 1
"""Version of the plugin interface that this is made for."""


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    """Offer the schedule and the network."""
    return [Edm, EdmUNet3d]
