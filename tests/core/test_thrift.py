"""Thrift: of the ways of a network, the fastest that there is memory for."""

from __future__ import annotations

import logging
import math
import re

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import DeviceError, arithmetic, thrift
from ddmkit.footprint import Work, footprint
from ddmkit.memory import used
from ddmkit.sizes import bytes_of
from ddmkit.thrift import Thrift, advice, leanest, ways

CPU = torch.device("cpu")
MEGABYTE = 10**6
SHAPE = (1, 1, 100, 250, 400)
ONE = 40 * MEGABYTE
"""Bytes of a volume of that shape in float32."""


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this processor calculate in bfloat16, as those for which it is advised."""
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: False)


class Copying(nn.Module):
    """A network whose every way makes as many copies of its input as its name says, then one answer."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.asked = 0
        self.weight = nn.Parameter(torch.ones(()))

    def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
        del work, device
        self.asked += 1
        return self.names

    @override
    def forward(self, x: Tensor, t: Tensor, way: str = "plain") -> Tensor:
        copies = [x * self.weight for _ in range(int(way.removeprefix("copies ")))]
        return copies[0] + x


class Uncountable(nn.Module):
    """A network that knows one way, and cannot go it without memory."""

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * float(x.flatten()[0])


class Doubling(nn.Module):
    """A network that knows one way: its answer is all that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.weight


def copying() -> Copying:
    return Copying("copies 7", "copies 3", "copies 1")  # which take eight, four and two volumes


@pytest.fixture(autouse=True, scope="module")
def counted_before() -> None:
    """Let torch import what counting needs, some 80 MB, before anybody compares."""
    list(ways(copying(), Work((1, 1, 2, 2, 2), torch.float32, training=True), CPU))


def thrifty(network: nn.Module, room: float | None) -> Thrift:
    """Return a chooser with room for so many volumes; a half of one is more than this process grows by meanwhile."""
    return Thrift(network, CPU, torch.float32, None if room is None else used(CPU) + round(room * ONE))


@pytest.mark.parametrize(
    ("room", "expected"),
    [(100, "copies 7"), (8.5, "copies 7"), (7.5, "copies 3"), (4.5, "copies 3"), (2.5, "copies 1")],
)
def test_the_fastest_way_that_fits_is_chosen(room: float, expected: str) -> None:
    assert thrifty(copying(), room).way(SHAPE, training=False) == expected


def test_what_is_needed_beside_an_evaluation_is_left_free_for_it() -> None:
    assert thrifty(copying(), 8.5).way(SHAPE, training=False, more=2 * ONE) == "copies 3"


def test_the_least_that_a_refusal_names_is_enough() -> None:
    with pytest.raises(DeviceError) as caught:
        thrifty(copying(), 1.5).way(SHAPE, training=False, more=ONE)
    told = re.fullmatch(
        r"engine\.memory=(\w+) is too little: an evaluation on 100×250×400 voxels needs at least ([\d.]+[MG]B)\. "
        r"Type -o engine\.memory=\2, or (.*)\.",
        str(caught.value),
    )
    assert told is not None
    least = bytes_of(told[2])
    assert bytes_of(told[1]) < least < 1.1 * (used(CPU) + 3 * ONE) + MEGABYTE
    assert Thrift(copying(), CPU, torch.float32, least).way(SHAPE, training=False, more=ONE) == "copies 1"


def test_a_refused_training_step_is_called_so() -> None:
    with pytest.raises(DeviceError, match="a training step on 100×250×400 voxels needs at least"):
        thrifty(copying(), 1).way(SHAPE, training=True)


@pytest.mark.parametrize(("more", "lowered"), [(0.5, True), (1.1, False)])
def test_a_refusals_advice_minds_what_is_needed_beside_too(*, more: float, lowered: bool) -> None:
    # The one volume of the answer is half a one in bfloat16.
    with pytest.raises(DeviceError) as caught:
        thrifty(Doubling(), 1.3).way(SHAPE, training=False, more=round(more * ONE))
    assert ("or type -o engine.precision=bfloat16, with which the network needs 20MB." in str(caught.value)) == lowered


def test_a_shape_is_counted_once_and_keeps_its_way() -> None:
    network = copying()
    chooser = thrifty(network, 4.5)
    assert chooser.way(SHAPE, training=False) == "copies 3"
    asked = network.asked
    # Later the memory may be fuller: whoever asks again is not surprised.
    assert chooser.way(SHAPE, training=False, more=100 * ONE) == "copies 3"
    assert network.asked == asked
    assert chooser.way((2, *SHAPE[1:]), training=False) == "copies 1"
    assert network.asked > asked
    with pytest.raises(DeviceError):
        chooser.way(SHAPE, training=True, more=100 * ONE)


@pytest.mark.parametrize(("free", "expected"), [(None, "copies 7"), (8.5, "copies 7"), (4.5, "copies 3")])
def test_without_a_limit_what_is_free_decides(
    free: float | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thrift, "free", lambda _: None if free is None else round(free * ONE))
    assert thrifty(copying(), None).way(SHAPE, training=False) == expected


def test_without_a_limit_too_little_free_memory_is_said_and_the_leanest_way_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(thrift, "free", lambda _: ONE)
    with caplog.at_level(logging.WARNING):
        assert thrifty(copying(), None).way(SHAPE, training=False) == "copies 1"
    assert re.fullmatch(
        r"An evaluation on 100×250×400 voxels may need another 84MB, more than cpu has free; "
        r"ddmkit plan says what would fit\.",
        caplog.messages[0],
    )


def test_a_network_that_knows_one_way_goes_it_and_is_counted_only_for_a_limit() -> None:
    assert thrifty(Uncountable(), None).way(SHAPE, training=False) is None
    assert thrifty(Doubling(), 1.5).way(SHAPE, training=False) is None
    with pytest.raises(DeviceError, match="needs at least"):
        thrifty(Doubling(), 0.5).way(SHAPE, training=False)


def test_ways_are_counted_in_order_and_the_leanest_is_the_one_that_takes_least() -> None:
    work = Work(SHAPE, torch.float32, training=False)
    counted = list(ways(copying(), work, CPU))
    assert [(way.name, way.peak) for way in counted] == [
        ("copies 7", 8 * ONE),
        ("copies 3", 4 * ONE),
        ("copies 1", 2 * ONE),
    ]
    assert leanest(Copying("copies 3", "copies 1", "copies 2"), work, CPU).name == "copies 1"


def test_advice_is_bfloat16_where_it_helps() -> None:
    work = Work(SHAPE, torch.float32, training=False)
    assert advice(Doubling(), work, CPU, ONE // 2) == (
        "type -o engine.precision=bfloat16, with which the network needs 20MB"
    )
    assert advice(Doubling(), work, CPU, None).startswith("type -o engine.precision=bfloat16")


@pytest.mark.parametrize("training", [True, False])
def test_bfloat16_is_not_advised_where_the_device_lacks_it(*, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: False)
    said = advice(Doubling(), Work(SHAPE, torch.float32, training), CPU, ONE // 2)
    assert "bfloat16" not in said
    assert said.startswith("type --patch center -o patch.sides=" if training else "train a network at a coarser")


@pytest.mark.parametrize(
    ("network", "training", "advised"),
    [
        (Doubling(), True, False),
        (Doubling(), False, True),
        (Copying("copies 1"), True, True),
    ],
)
def test_bfloat16_is_advised_for_training_with_amx_only_where_a_network_has_gradients_of_its_own(
    *, network: nn.Module, training: bool, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: True)
    said = advice(network, Work(SHAPE, torch.float32, training), CPU, None)
    assert said.startswith("type -o engine.precision=bfloat16") == advised


def test_a_leaner_way_is_advised_before_anything_else() -> None:
    work = Work(SHAPE, torch.float32, training=False)
    said = re.fullmatch(
        r"type -o engine\.memory=(\d+)MB, with which the network goes a leaner way",
        advice(copying(), work, CPU, 3 * ONE),
    )
    assert said is not None
    assert int(said[1]) * MEGABYTE == pytest.approx(1.05 * (used(CPU) + 2 * ONE), rel=0.1)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_advice_for_an_evaluation_that_nothing_makes_fit_is_less_of_it(precision: torch.dtype) -> None:
    said = advice(Doubling(), Work(SHAPE, precision, training=False), CPU, ONE // 10)
    assert said == "train a network at a coarser preprocessing.spacing, or with a smaller backbone.width"
    said = advice(Doubling(), Work((2, *SHAPE[1:]), precision, training=False), CPU, ONE // 10)
    assert said == "type -o sampling.members_at_once=1"


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_advice_for_training_is_the_largest_window_that_fits(precision: torch.dtype) -> None:
    network, room = copying(), 2 * ONE // 3
    said = advice(network, Work(SHAPE, precision, training=True), CPU, room)
    told = re.fullmatch(
        r"type --patch center -o patch\.sides=([\d,]+) -o engine\.precision=bfloat16, "
        r"with which the network needs ([\d.]+MB)",
        said,
    )
    assert told is not None
    sides = tuple(map(int, told[1].split(",")))
    eighths = round(8 * sides[0] / SHAPE[2])
    assert 0 < eighths < 8

    def least(eighths: int) -> int:
        shape = (1, 1, *(side * eighths // 8 for side in SHAPE[2:]))
        return footprint(network, Work(shape, torch.bfloat16, training=True, way="copies 1"), CPU).peak

    assert least(eighths) <= room < least(eighths + 1)
    assert bytes_of(told[2]) == math.ceil(least(eighths) / MEGABYTE) * MEGABYTE


def test_advice_where_no_window_fits_is_a_narrower_network() -> None:
    said = advice(Doubling(), Work(SHAPE, torch.bfloat16, training=True), CPU, 1000)
    assert said == "type -o backbone.width=… with a smaller one"


def test_a_chooser_advises_what_to_type_within_its_own_limit() -> None:
    said = thrifty(Doubling(), 0.8).advice(SHAPE, training=False)
    assert said == "type -o engine.precision=bfloat16, with which the network needs 20MB"
    said = thrifty(Doubling(), 0.2).advice(SHAPE, training=False)
    assert said.startswith("train a network at a coarser preprocessing.spacing")


@pytest.mark.parametrize(
    ("room", "expected"),
    [(100, 5), (8.5, 1), (16.5, 2), (24.5, 3), (4.5, 1), (7.5, 1)],
)
def test_as_many_examples_go_at_once_as_fit_by_the_way_that_one_alone_goes(room: float, expected: int) -> None:
    """One takes eight volumes by the fastest way; where it has to go a leaner one, so do all."""
    assert thrifty(copying(), room).examples(SHAPE[1:], 5, 0) == expected


def test_what_each_example_needs_beside_its_evaluation_is_counted() -> None:
    assert thrifty(copying(), 24.5).examples(SHAPE[1:], 5, 4 * ONE) == 2


def test_a_number_of_examples_stays_whatever_is_taken_later() -> None:
    chooser = thrifty(copying(), 16.5)
    assert chooser.examples(SHAPE[1:], 5, 0) == 2
    held = torch.ones(SHAPE)
    assert chooser.examples(SHAPE[1:], 5, 0) == 2
    del held


def test_where_nobody_knows_what_is_free_examples_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thrift, "free", lambda _: None)
    assert thrifty(copying(), None).examples(SHAPE[1:], 5, 0) == 1
