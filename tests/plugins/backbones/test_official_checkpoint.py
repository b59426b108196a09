"""Checkpoints of the official code, by an account of their names and of their network that is independent of ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ddmkit import CheckpointError
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat

if TYPE_CHECKING:
    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

Shapes = dict[str, tuple[int, ...]]

# Of input_blocks.0 to input_blocks.20, in multiples of the width.
INPUT = [1, 1, 1, 1, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
DOWN = {3, 6, 9, 12, 15, 18}
UP = {2, 5, 8, 11, 14, 17}
# Of output_blocks.0 to output_blocks.20: with additive_skips the width of the next skip, without it the level's.
OUTPUT_ADDED = [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 1, 1, 1, 1, 1]
OUTPUT_CONCATENATED = [4] * 15 + [3] * 3 + [1] * 3


def layer(name: str, *weight: int) -> Shapes:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def block(name: str, width: int, taken: int, given: int) -> Shapes:
    shapes = layer(f"{name}.in_layers.0", taken) | layer(f"{name}.in_layers.2", given, taken, 3, 3, 3)
    shapes |= layer(f"{name}.emb_layers.1", given, 4 * width)
    shapes |= layer(f"{name}.out_layers.0", given) | layer(f"{name}.out_layers.3", given, given, 3, 3, 3)
    return shapes if taken == given else shapes | layer(f"{name}.skip_connection", given, taken, 1, 1, 1)


def official_shapes(width: int, in_channels: int, *, concatenated: bool = False) -> Shapes:
    shapes = layer("time_embed.0", 4 * width, width) | layer("time_embed.2", 4 * width, 4 * width)
    shapes |= layer("input_blocks.0.0", width, in_channels, 3, 3, 3)
    for i in range(1, 21):
        taken, given = INPUT[i - 1] * width, INPUT[i] * width
        if i in DOWN:
            shapes |= layer(f"input_blocks.{i}.0.op", given, taken, 3, 3, 3)
        else:
            shapes |= block(f"input_blocks.{i}.0", width, taken, given)
    for i in range(2):
        shapes |= block(f"middle_block.{i}", width, 4 * width, 4 * width)
    outputs = OUTPUT_CONCATENATED if concatenated else OUTPUT_ADDED
    for i in range(21):
        taken = ([4, *outputs][i] + (INPUT[20 - i] if concatenated else 0)) * width
        given = outputs[i] * width
        shapes |= block(f"output_blocks.{i}.0", width, taken, given)
        if i in UP:
            shapes |= layer(f"output_blocks.{i}.1.conv", given, given, 3, 3, 3)
    return shapes | layer("out.0", width) | layer("out.2", 1, width, 3, 3, 3)


def official_state(width: int, in_channels: int, *, concatenated: bool = False) -> dict[str, Tensor]:
    shapes = official_shapes(width, in_channels, concatenated=concatenated)
    return {
        name: torch.randn(shape, dtype=torch.float64) / math.prod(shape[1:]) ** 0.5 for name, shape in shapes.items()
    }


class Official:
    """The official network's mathematics, straight from its tensors; t counts from 0."""

    def __init__(self, state: dict[str, Tensor], groups: int, *, concatenated: bool) -> None:
        self.state = state
        self.groups = groups
        self.concatenated = concatenated

    def __call__(self, x: Tensor, t: int) -> Tensor:
        embedding = self.embedding(t)
        skips = [self.convolution("input_blocks.0.0", x)]
        for i in range(1, 21):
            if i in DOWN:
                skips.append(self.convolution(f"input_blocks.{i}.0.op", skips[-1], stride=2))
            else:
                skips.append(self.block(f"input_blocks.{i}.0", skips[-1], embedding))
        h = self.block("middle_block.1", self.block("middle_block.0", skips[-1], embedding), embedding)
        for i in range(21):
            skip = skips.pop()
            h = torch.cat([h, skip], 1) if self.concatenated else (h + skip) / 2
            h = self.block(f"output_blocks.{i}.0", h, embedding)
            if i in UP:
                h = self.convolution(f"output_blocks.{i}.1.conv", functional.interpolate(h, scale_factor=2))
        return self.convolution("out.2", functional.silu(self.normalized("out.0", h)))

    def embedding(self, t: int) -> Tensor:
        half = self.state["time_embed.0.weight"].shape[1] // 2
        angles = t * 10000 ** (-torch.arange(half) / half)
        waves = torch.cat([angles.cos(), angles.sin()])[None].double()
        return self.linear("time_embed.2", functional.silu(self.linear("time_embed.0", waves)))

    def block(self, name: str, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.convolution(f"{name}.in_layers.2", functional.silu(self.normalized(f"{name}.in_layers.0", x)))
        h = h + self.linear(f"{name}.emb_layers.1", functional.silu(embedding))[..., None, None, None]
        h = self.convolution(f"{name}.out_layers.3", functional.silu(self.normalized(f"{name}.out_layers.0", h)))
        shortcut = f"{name}.skip_connection"
        return h + (self.convolution(shortcut, x, padding=0) if f"{shortcut}.weight" in self.state else x)

    def convolution(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv3d(x, *self.parameters(name), stride=stride, padding=padding)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, *self.parameters(name))

    def normalized(self, name: str, x: Tensor) -> Tensor:
        return functional.group_norm(x, self.groups, *self.parameters(name))

    def parameters(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]


def test_the_official_412_tensors_load_into_the_default_network_without_allocating_it() -> None:
    shapes = official_shapes(29, 8)
    assert len(shapes) == 412
    foreign = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with torch.device("meta"):
        network = UNet3dAverage().build(8, 1)
    network.load_state_dict(UNet3dAverage().import_state(foreign), strict=True)


@pytest.mark.parametrize("backbone", [UNet3dAverage(width=2), UNet3dConcat(width=2)], ids=["avg", "concat"])
def test_an_imported_network_answers_as_the_official_one(backbone: UNet3dSettings) -> None:
    concatenated = isinstance(backbone, UNet3dConcat)
    foreign = official_state(2, 3, concatenated=concatenated)
    network = backbone.build(3, 1).double()
    network.load_state_dict(backbone.import_state(foreign), strict=True)
    x = torch.randn(1, 3, 64, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = Official(foreign, groups=2, concatenated=concatenated)(x, 499)
        answer = network(x, torch.tensor([500.0]))
    # Every average halves the deeper signal: only float64 tells whether the deepest blocks are the right ones.
    torch.testing.assert_close(answer, expected, atol=1e-12, rtol=1e-10)


def test_the_tensors_are_handed_over_uncopied() -> None:
    foreign = official_state(2, 3)
    assert {id(tensor) for tensor in UNet3dAverage(width=2).import_state(foreign).values()} == {
        id(tensor) for tensor in foreign.values()
    }


def test_a_prefix_that_all_names_carry_is_dropped() -> None:
    foreign = official_state(2, 3)
    wrapped = {f"module.{name}": tensor for name, tensor in foreign.items()}
    backbone = UNet3dAverage(width=2)
    assert backbone.import_state(wrapped) == backbone.import_state(foreign)


def test_a_prefix_that_one_name_lacks_is_not() -> None:
    wrapped = {f"module.{name}": tensor for name, tensor in official_state(2, 3).items()}
    wrapped["step"] = torch.ones(())
    with pytest.raises(CheckpointError, match=r"no weight 'input_blocks\.0\.0\.weight'"):
        UNet3dAverage(width=2).import_state(wrapped)


def test_a_missing_tensor_is_named_with_its_shape() -> None:
    foreign = official_state(2, 3)
    del foreign["middle_block.1.out_layers.0.bias"]
    with pytest.raises(CheckpointError, match=r"lacks 'middle_block\.1\.out_layers\.0\.bias', of shape \(8,\)"):
        UNet3dAverage(width=2).import_state(foreign)


def test_a_tensor_too_many_is_named() -> None:
    foreign = official_state(2, 3) | {"label_emb.weight": torch.zeros(4, 8)}
    with pytest.raises(CheckpointError, match=r"'label_emb\.weight', which is not expected by unet3d-avg"):
        UNet3dAverage(width=2).import_state(foreign)


def test_other_multipliers_are_told_by_the_first_tensor_of_another_shape() -> None:
    shapes = r"'input_blocks\.4\.0\.in_layers\.2\.weight' has shape \(6, 2, 3, 3, 3\) .* where \(4, 2, 3, 3, 3\)"
    with pytest.raises(CheckpointError, match=shapes) as caught:
        UNet3dAverage(width=2, multipliers=(1, 2, 4, 4, 4, 4, 4)).import_state(official_state(2, 3))
    assert "multipliers=1,2,4,4,4,4,4 and blocks=2" in str(caught.value)


def test_another_width_is_told_with_what_to_type() -> None:
    with pytest.raises(CheckpointError, match=r"width 2, but width=29 .* type -o backbone\.width=2"):
        UNet3dAverage().import_state(official_state(2, 3))


def test_concatenated_skips_are_not_taken_for_averaged_ones() -> None:
    shapes = r"'output_blocks\.0\.0\.in_layers\.0\.weight' has shape \(16,\) in the checkpoint where \(8,\)"
    with pytest.raises(CheckpointError, match=shapes):
        UNet3dAverage(width=2).import_state(official_state(2, 3, concatenated=True))


def test_channel_normalization_is_refused_with_what_to_type() -> None:
    with pytest.raises(CheckpointError, match=r"type -o backbone\.normalization=group"):
        UNet3dAverage(width=2, normalization="channel").import_state(official_state(2, 3))


@pytest.mark.parametrize(
    "foreign",
    [
        {},
        {"conv.weight": torch.zeros(1)},
        {"input_blocks.0.0.weight": torch.zeros(29, 8, 3, 3), "out.2.weight": torch.zeros(1, 29, 3, 3)},
    ],
    ids=["nothing", "another network", "a 2D network"],
)
def test_what_is_no_official_checkpoint_is_refused(foreign: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="3D convolution"):
        UNet3dAverage().import_state(foreign)
