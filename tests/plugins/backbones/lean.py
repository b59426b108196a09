"""What the tests of the lean ways share: small networks, awake, and slabs forced thin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from ddmkit.randomness import normal
from ddmkit_plugins.backbones import slabs
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat

if TYPE_CHECKING:
    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

    Size: TypeAlias = tuple[int, int, int]

TIMES = torch.tensor([3.0, 700.0])
WAYS = ["slabs", "recompute"]
_SMALL: dict[str, Any] = {"width": 6, "multipliers": (1, 2, 3), "blocks": 1}
BACKBONES: list[UNet3dSettings] = [
    UNet3dAverage(**_SMALL),
    UNet3dConcat(**_SMALL, groups=3),
    UNet3dAverage(**_SMALL, normalization="channel"),
    UNet3dConcat(**_SMALL, normalization="channel"),
]
each_backbone = pytest.mark.parametrize(
    "backbone", BACKBONES, ids=[f"{backbone.name}-{backbone.normalization}" for backbone in BACKBONES]
)
each_way = pytest.mark.parametrize("way", WAYS)
each_arithmetic = pytest.mark.parametrize(
    ("dtype", "slab_bytes"),
    [(torch.float32, 3000), (torch.float64, 1)],
    ids=["float32 by slabs", "float64 by planes"],
)


def awake(backbone: UNet3dSettings, dtype: torch.dtype = torch.float32, in_channels: int = 4) -> nn.Module:
    """Return a network whose every weight has a value, those that begin at zero too."""
    network = backbone.build(in_channels, 2).to(dtype)
    with torch.no_grad():
        for number, weight in enumerate(network.parameters()):
            weight.add_(0.05 * normal(tuple(weight.shape), 0, "awake", number))
    return network


def volumes(size: Size, members: int = 2, dtype: torch.dtype = torch.float32, channels: int = 4) -> Tensor:
    return normal((members, channels, *size), 0, "volumes").to(dtype)


def thin(monkeypatch: pytest.MonkeyPatch, slab_bytes: int) -> None:
    """Make slabs as thin as that many bytes; 1 means one plane."""
    monkeypatch.setitem(slabs.SLAB_BYTES, "cpu", slab_bytes)


def error(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, as a share of the largest value there should be."""
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())
