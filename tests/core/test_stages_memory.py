"""What stages take of memory, counted by hand, and the cuts that make it least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.core.chains import Chain, knotted, mixing
from torch import nn
from typing_extensions import override

from ddmkit.footprint import Work, footprint
from ddmkit.stages import Stage, State, balanced, cut, layers_of
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_network import UNet3d

CPU, META = torch.device("cpu"), torch.device("meta")
VOLUME = 4 * 1000
"""Bytes of a channel of 1000 voxels."""
NUMBER = 4


def taken(layers: range, *, training: bool, held: int = 1, precision: torch.dtype = torch.float32) -> int:
    """Return what some layers take of a network that makes 2, then 3, then 5 channels of 1."""
    work = Work((1, 1, 10, 10, 10), precision, training)
    return Stage(mixing(1, 2, 3, 5), layers, held=held).footprint(work, CPU).peak


@pytest.mark.parametrize(
    ("layers", "channels"),
    [
        (range(1), 2),  # the inputs never count
        (range(1, 2), 2 + 3),  # what came in, and what goes out
        (range(2, 3), 3 + 5),
        (range(1, 3), 2 + 3 + 5),
    ],
)
def test_a_stage_is_evaluated_with_what_comes_in_and_what_goes_out(layers: range, channels: int) -> None:
    # All micro-batches but one are somewhere else: nothing is kept for a way back.
    assert taken(layers, training=False, held=3) == channels * VOLUME


@pytest.mark.parametrize("held", [1, 2, 3])
@pytest.mark.parametrize(
    ("layers", "kept", "gradients", "weights"),
    [
        (range(1), 2, 2, 2 * 1),  # nobody asks for a gradient in the inputs
        (range(1, 2), 2 + 3, 2 + 3, 3 * 2),
    ],
)
def test_a_stage_learns_with_what_each_micro_batch_keeps_and_the_gradients_of_one(
    layers: range, kept: int, gradients: int, weights: int, held: int
) -> None:
    # Beside volumes there are the gradient in the weights, the number at the end of each micro-batch, and its gradient.
    expected = held * (kept * VOLUME + NUMBER) + NUMBER + gradients * VOLUME + weights * NUMBER
    assert taken(layers, training=True, held=held) == expected


def test_the_last_stage_takes_what_its_layers_take_alone_and_what_comes_in() -> None:
    alone = footprint(mixing(3, 5), Work((1, 3, 10, 10, 10), torch.float32, training=True), CPU).peak
    assert taken(range(2, 3), training=True) == alone + 3 * VOLUME
    more = taken(range(2, 3), training=True, held=2) - taken(range(2, 3), training=True)
    assert more == (3 + 5) * VOLUME + NUMBER


def test_the_weights_of_a_stage_do_not_count() -> None:
    network = Chain(1, [Scale(), Scale()])
    for layers in layers_of((1,), 2):
        peak = Stage(network, layers).footprint(Work((1, 1, 10, 10, 10), torch.float32, training=False), CPU).peak
        assert peak == (1 + layers.start) * VOLUME


class Scale(nn.Module):
    """A layer of many weights, of which it looks at one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10**6))

    @override
    def forward(self, state: State) -> State:
        return (state[0] * self.weight[0],)


def test_a_state_in_bfloat16_is_half_as_large() -> None:
    assert taken(range(1, 2), training=False, precision=torch.bfloat16) == (2 + 3) * VOLUME // 2


def test_a_stage_of_all_layers_takes_what_the_network_takes() -> None:
    for training in (False, True):
        work = Work((1, 3, 10, 10, 10), torch.float32, training)
        stage, whole = Stage(knotted().float(), range(4)).footprint(work, CPU), footprint(knotted().float(), work, CPU)
        assert stage.peak == pytest.approx(whole.peak, rel=0.001)  # a few numbers are forgotten at other moments
        assert stage.operations == whole.operations


def test_counting_leaves_a_stage_as_it_is() -> None:
    network = mixing(1, 2, 3).eval()
    Stage(network, range(1, 2)).footprint(Work((1, 1, 4, 4, 4), torch.bfloat16, training=True), CPU)
    assert all(weight.grad is None and weight.dtype == torch.float32 for weight in network.parameters())
    assert not network.layers[1].training


def test_checkpointing_keeps_only_what_each_layer_is_given() -> None:
    network = small_unet()
    work = Work((1, 4, 32, 32, 32), torch.float32, training=True)
    layers = range(network.depth())
    kept, again = (Stage(network, layers, checkpointing=choice).footprint(work, CPU) for choice in (False, True))
    assert again.peak < 0.5 * kept.peak
    assert again.operations > kept.operations


@pytest.mark.parametrize("way", ["plain", "slabs", "recompute"])
@pytest.mark.parametrize("training", [False, True])
def test_a_stage_is_counted_by_each_way(way: str, *, training: bool) -> None:
    network = small_unet()
    work = Work((1, 4, 32, 32, 32), torch.bfloat16, training, way)
    stages = [Stage(network, layers).footprint(work, CPU) for layers in layers_of((6,), network.depth())]
    whole = footprint(network, work, CPU)
    operations = sum(stage.operations for stage in stages)
    # What crosses the cut is not calculated again.
    assert operations < whole.operations if (way, training) == ("recompute", False) else operations == whole.operations
    # An evaluation keeps next to nothing: what a stage is given may be more than what it saves.
    assert not training or max(stage.peak for stage in stages) < whole.peak


def small_unet() -> UNet3d:
    network = UNet3dAverage(width=8, multipliers=(1, 2), blocks=1).build(4, 1)
    assert isinstance(network, UNet3d)
    return network


def test_half_of_a_network_takes_little_more_than_half() -> None:
    with META:
        network = UNet3dAverage(width=8, multipliers=(1, 2, 3)).build(8, 1)
    assert isinstance(network, UNet3d)
    cuts = cut(network, 2, lambda _: 1, torch.float32, CPU)
    work = Work((1, 8, 128, 128, 128), torch.float32, training=True)
    whole = footprint(network, work, CPU).peak
    for layers in layers_of(cuts, network.depth()):
        assert 0.4 * whole < Stage(network, layers).footprint(work, CPU).peak < 0.6 * whole


@pytest.mark.parametrize(
    "channels",
    [
        (1, 2, 2, 3, 3, 4, 4, 5),
    ],
    ids=str,
)
def test_a_network_is_cut_where_the_largest_stage_takes_least(channels: tuple[int, ...]) -> None:
    with META:
        network = mixing(*channels)
    work = Work((1, channels[0], 128, 128, 128), torch.float32, training=True)

    def largest_of(cuts: tuple[int, ...]) -> int:
        stages = layers_of(cuts, network.depth())
        return max(Stage(network, layers).footprint(work, CPU).peak for layers in stages)

    chosen = cut(network, 3, lambda _: 1, torch.float32, CPU)
    assert largest_of(chosen) == min(map(largest_of, combinations(range(1, network.depth()), 2)))


def test_a_stage_that_holds_more_micro_batches_gets_fewer_layers() -> None:
    with META:
        network = mixing(*[4] * 13)
    (alike,), (earlier,) = (cut(network, 2, held.__getitem__, torch.float32, CPU) for held in ((1, 1), (4, 1)))
    assert earlier < alike


# Where to cut


def added(weights: Sequence[int], layers: range, stage: int) -> int:
    """A stage takes what its layers take together."""
    del stage
    return sum(weights[layer] for layer in layers)


def largest(weights: Sequence[int], layers: range, stage: int) -> int:
    """A stage takes what its largest layer takes: many cuts are as good as each other."""
    del stage
    return max(weights[layer] for layer in layers)


def later_dearer(weights: Sequence[int], layers: range, stage: int) -> int:
    """Later stages have less room."""
    return (1 + stage) * added(weights, layers, stage)


@pytest.mark.parametrize(
    "cost",
    [added, largest, later_dearer],
    ids=lambda cost: cost.__name__,
)
@given(weights=st.lists(st.integers(0, 200), min_size=4, max_size=7), stages=st.integers(1, 4))
@example(weights=[200, 1, 100, 1], stages=3)
@settings(max_examples=60, deadline=None)
def test_no_other_cut_has_a_lower_largest_peak(
    cost: Callable[[Sequence[int], range, int], int], weights: list[int], stages: int
) -> None:
    depth = len(weights)

    def largest_of(cuts: tuple[int, ...]) -> int:
        return max(cost(weights, layers, stage) for stage, layers in enumerate(layers_of(cuts, depth)))

    chosen = balanced(depth, stages, lambda layers, stage: cost(weights, layers, stage))
    every = list(combinations(range(1, depth), stages - 1))
    assert chosen in every
    assert largest_of(chosen) == min(map(largest_of, every))


def test_the_layers_of_the_stages_follow_one_another() -> None:
    assert layers_of((2, 5), 9) == [range(2), range(2, 5), range(5, 9)]
    assert layers_of((), 3) == [range(3)]
