"""The options that both U-Nets share."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from torch import nn

from ddmkit_plugins.backbones.normalization import ChannelNorm
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat


def group_norms(backbone: UNet3dAverage) -> list[nn.GroupNorm]:
    return [module for module in backbone.build(1, 1).modules() if isinstance(module, nn.GroupNorm)]


def test_there_are_as_many_groups_as_the_width_unless_told_otherwise() -> None:
    small = UNet3dAverage(width=6, multipliers=(1, 2))
    assert {norm.num_groups for norm in group_norms(small)} == {6}
    assert {norm.num_groups for norm in group_norms(small.model_copy(update={"groups": 3}))} == {3}


def test_channel_normalization_replaces_every_group_normalization() -> None:
    backbone = UNet3dAverage(width=6, multipliers=(1, 2), normalization="channel")
    kinds = [type(module) for module in backbone.build(1, 1).modules()]
    assert nn.GroupNorm not in {base for kind in kinds for base in kind.__mro__}
    assert kinds.count(ChannelNorm) == 2 * (4 + 2 + 6) + 1


def test_groups_that_do_not_divide_the_width_are_refused_with_those_that_do() -> None:
    with pytest.raises(ValidationError, match=r"groups=5 does not divide width=12; .* 1, 2, 3, 4, 6, 12"):
        UNet3dConcat(width=12, groups=5)


def test_groups_are_refused_where_nothing_is_grouped() -> None:
    with pytest.raises(ValidationError, match="leave groups out"):
        UNet3dAverage(normalization="channel", groups=1)


@pytest.mark.parametrize(
    "mistake",
    [
        {"width": 1},
        {"multipliers": ()},
        {"multipliers": (1, 0)},
        {"multipliers": (1, 1.5)},
        {"blocks": 0},
        {"groups": 0},
        {"normalization": "batch"},
        {"dropout": 0.0},
    ],
)
def test_impossible_options_are_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UNet3dAverage(**mistake)


def test_settings_survive_a_trip_through_plain_values() -> None:
    backbone = UNet3dConcat(width=8, multipliers=(1, 2), groups=4)
    tree = backbone.tree()
    assert tree.pop("name") == "unet3d-concat"
    assert UNet3dConcat(**tree) == backbone
