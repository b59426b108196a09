"""What an evaluation takes, counted from shapes: by hand, by formula, and beside what a process really takes."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import footprint as module
from ddmkit.footprint import Footprint, Work, coarser, count, footprint, joined, stood_for, without_memory
from ddmkit_plugins.backbones import slabs
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage

if TYPE_CHECKING:
    from collections.abc import Callable

CPU, GPU, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")
HUNDRED = 400
"""Bytes of a hundred numbers in float32."""


def hundred() -> Tensor:
    return torch.empty(100, device=META)


def in_place() -> None:
    a = hundred()
    a.add_(1).mul_(2)
    torch.add(a, 1, out=a)


def views() -> Tensor:
    a = hundred()
    return a.view(10, 10).T[2:].expand(3, 8, 10)


def freed() -> None:
    a = hundred()
    b = a + 1  # two at once
    del a
    c = b + 1  # still two
    del b, c


def kept_by_a_view() -> Tensor:
    a = hundred()
    first = a[:1]
    del a
    return first + hundred().sum()  # the whole of a, a second hundred, one sum and one more number


def other_dtypes() -> None:
    a = hundred()
    a.double()
    a.bfloat16()  # by then the float64 copy is gone


def several_at_once() -> None:
    torch.var_mean(hundred().view(10, 10), dim=1)


@pytest.mark.parametrize(
    ("run", "peak"),
    [
        (in_place, HUNDRED),
        (views, HUNDRED),
        (freed, 2 * HUNDRED),
        (kept_by_a_view, 2 * HUNDRED + 4),
        (other_dtypes, 3 * HUNDRED),
        (several_at_once, HUNDRED + 80),
    ],
)
def test_the_peak_is_that_of_a_count_by_hand(run: Callable[[], object], peak: int) -> None:
    assert count(run, CPU) == Footprint(peak, 0)


def test_what_was_there_before_does_not_count() -> None:
    x = hundred()
    assert count(lambda: x.view(4, 25).add_(1), CPU, [x]).peak == 0
    assert count(lambda: x + 1, CPU, [x]).peak == HUNDRED


def test_what_is_kept_for_the_way_back_counts_until_it_was_used() -> None:
    x = hundred().requires_grad_()

    def run() -> None:
        loss: Any = x.exp().exp().exp().sum()
        loss.backward()

    # Three results and the sum wait; a gradient at a time is made of its successor, the first from an expanded number.
    assert 3 * HUNDRED + 4 < count(run, CPU, [x]).peak <= 4 * HUNDRED + 8


@pytest.mark.parametrize("fails", [False, True])
def test_tensors_without_memory_stand_for_a_device_only_while_they_are_counted(*, fails: bool) -> None:
    seen = list[object]()

    def run() -> None:
        seen.extend([stood_for(META), coarser(40)])
        if fails:
            raise ArithmeticError

    try:
        count(run, GPU)
    except ArithmeticError:
        assert fails
    assert seen == [GPU, 10]
    assert stood_for(META) == CPU
    assert stood_for(GPU) == GPU
    assert coarser(40) == 1


def test_what_is_made_of_joined_pieces_counts_as_one_of_them() -> None:
    def run() -> None:
        with joined(4):
            hundred()
        hundred()[:1].clone()

    assert count(run, CPU).peak == HUNDRED + 4

    def alone() -> None:
        with joined(4):
            hundred()

    assert count(alone, CPU).peak == HUNDRED // 4


class Two(nn.Module):
    """Two convolutions and a number of evaluations."""

    evaluations: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 3, 3, padding=1)
        self.second = nn.Conv3d(3, 5, (1, 2, 3), stride=2)
        self.register_buffer("evaluations", torch.zeros(()))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.evaluations += 1
        answer: Tensor = self.second(self.first(x))
        return answer


SHAPE = (2, 2, 5, 6, 7)
FIRST = 2 * (2 * 3 * 27) * (2 * 5 * 6 * 7)
SECOND = 2 * (3 * 5 * 6) * (2 * 3 * 3 * 3)


def test_the_operations_of_convolutions_are_those_of_the_formula() -> None:
    assert footprint(Two(), Work(SHAPE, torch.float32, training=False), CPU).operations == FIRST + SECOND


def test_a_step_costs_twice_as_much_again_but_for_the_gradient_in_the_inputs() -> None:
    assert footprint(Two(), Work(SHAPE, torch.float32, training=True), CPU).operations == 2 * FIRST + 3 * SECOND


class Timed(Two):
    """A network that looks times up in float32 and multiplies them with a weight, as autocast allows."""

    table: Tensor

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.product = product
        self.weight = nn.Parameter(torch.ones(1, 1))
        self.register_buffer("table", torch.zeros(1))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        found = torch.lerp(self.table, self.table, t.float())
        moved: Tensor = super().forward(x, t) + self.product(found[:, None], self.weight)[:, :, None, None, None]
        return moved


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": nn.functional.linear,
    "matmul": lambda t, weight: t @ weight,
    "einsum": lambda t, weight: torch.einsum("ni,io->no", t, weight),
    "baddbmm": lambda t, weight: torch.baddbmm(t[None], t[None], weight[None])[0],
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_what_autocast_would_lower_is_lowered_on_tensors_without_memory(
    product: Callable[[Tensor, Tensor], Tensor], *, training: bool
) -> None:
    lowered, whole = (
        footprint(Timed(product), Work(SHAPE, precision, training=training), GPU)
        for precision in (torch.bfloat16, torch.float32)
    )
    assert lowered.operations == whole.operations
    assert lowered.peak < whole.peak


def test_the_peak_of_an_evaluation_is_what_lies_between_its_layers() -> None:
    between, answer = 4 * 3 * 2 * 5 * 6 * 7, 4 * 5 * 2 * 3 * 3 * 3
    assert footprint(Two(), Work(SHAPE, torch.float32, training=False), CPU).peak == between + answer


def test_counting_leaves_the_network_as_it_is() -> None:
    network = Two().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    footprint(network, Work(SHAPE, torch.bfloat16, training=True), CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not network.training
    assert all(weight.grad is None for weight in network.parameters())


def test_a_copy_without_memory_has_shapes_alone() -> None:
    network = Two()
    network.first.weight.requires_grad = False
    bare = without_memory(network)
    assert all(tensor.is_meta for tensor in bare.state_dict().values())
    assert [tensor.shape for tensor in bare.parameters()] == [tensor.shape for tensor in network.parameters()]
    assert [tensor.requires_grad for tensor in bare.parameters()] == [False, True, True, True]
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def papers_network() -> nn.Module:
    with META:
        return UNet3dAverage().build(8, 1)


@lru_cache
def evaluated(way: str) -> Footprint:
    return footprint(papers_network(), Work((1, 8, 128, 128, 128), torch.float32, training=False, way=way), CPU)


def test_the_papers_network_costs_two_teraflop_a_window_however_it_is_evaluated() -> None:
    plain, by_slabs = evaluated("plain"), evaluated("slabs")
    assert plain.operations == pytest.approx(2.116e12, rel=0.005)
    assert by_slabs.operations == plain.operations
    assert evaluated("recompute").operations > 1.1 * plain.operations


def test_the_leaner_the_way_the_less_it_takes() -> None:
    peaks = [evaluated(way).peak for way in ("plain", "slabs", "recompute")]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[2] < 0.6 * peaks[0]
    network = UNet3dAverage(width=8, multipliers=(1, 2)).build(4, 1)
    works = [Work((1, 4, 64, 64, 64), torch.float32, training=True, way=way) for way in ("plain", "slabs", "recompute")]
    plain, by_slabs, recompute = (footprint(network, work, CPU).peak for work in works)
    assert by_slabs < 0.6 * plain
    assert recompute < 0.9 * by_slabs


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.parametrize("way", ["plain", "slabs"])
def test_bfloat16_takes_less_on_a_device_that_is_not_here_too(device: torch.device, way: str) -> None:
    network = UNet3dAverage(width=16, multipliers=(1, 2), blocks=1).build(4, 1)
    work = Work((1, 4, 128, 128, 128), torch.float32, training=False, way=way)
    lowered = work._replace(precision=torch.bfloat16)
    assert footprint(network, lowered, device).peak < 0.75 * footprint(network, work, device).peak
    assert not torch.is_autocast_enabled(device.type)


@pytest.mark.parametrize(("way", "training"), [("slabs", False), ("recompute", True)])
def test_a_few_pieces_are_counted_for_all_of_them(way: str, monkeypatch: pytest.MonkeyPatch, *, training: bool) -> None:
    monkeypatch.setitem(slabs.SLAB_BYTES, "cpu", 200_000)
    network = UNet3dAverage(width=8, multipliers=(1, 2), blocks=1).build(4, 1)
    work = Work((1, 4, 48, 32, 32), torch.float32, training, way)
    short = footprint(network, work, CPU)
    monkeypatch.setattr(module, "_PIECES", 10**9)
    whole = footprint(network, work, CPU)
    assert short.peak == pytest.approx(whole.peak, rel=0.05)
    assert short.operations == whole.operations


# The C library shall give back what is freed: what it keeps is no part of the count.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "0"}
MEASURED = """
    from pathlib import Path
    import torch
    from ddmkit.footprint import Work, footprint
    from ddmkit.memory import used
    from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage

    def evaluate(x, training, way):
        with torch.set_grad_enabled(training):
            answer = network(x, torch.ones(1), way)
            if training:
                answer.square().mean().backward()
        network.zero_grad()

    torch.set_num_threads(1)
    cpu, network = torch.device("cpu"), UNet3dAverage(width=16, multipliers=(1, 2), blocks=1).build(4, 1)
    for way, training, size in (("slabs", False, (24, 96, 96)), ("recompute", True, (32, 64, 64))):
        x = torch.ones(1, 4, *size)
        evaluate(x[:, :, :4], training, way)  # what a library loads or keeps once is no part of an evaluation
        predicted = footprint(network, Work(tuple(x.shape), torch.float32, training, way), cpu).peak
        before = used(cpu)
        evaluate(x, training, way)
        # Not ru_maxrss, which begins with what the process had that started this one.
        (most,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
        print(predicted, 1024 * int(most.split()[1]) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_process_takes_what_was_counted() -> None:
    command, environment = [sys.executable, "-c", dedent(MEASURED)], {**os.environ, **GIVING_BACK}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    predictions = [tuple(map(int, line.split())) for line in ran.stdout.splitlines()]
    assert predictions[1][0] > 1.2 * predictions[0][0] > 50e6  # or the second could not be told from the first
    for predicted, measured in predictions:
        assert measured == pytest.approx(predicted, abs=0.25 * predicted + 30e6)
