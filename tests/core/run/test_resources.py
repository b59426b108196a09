"""What a run will take, told from shapes alone."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from tests.core.conftest import TREE

from ddmkit import ConfigurationError, Registry
from ddmkit.assembly import assemble, read_tree
from ddmkit.footprint import Footprint, Work
from ddmkit.run import resources
from ddmkit.run.resources import Forecaster, device_of, resting

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ddmkit import Shape
    from ddmkit.configuration import Configuration
    from ddmkit.run.resources import Forecast

    Configured = Callable[..., Configuration]

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHAPE = (20, 18, 16)
WINDOW = (6, 5, 4)
"""What the patch strategy of the hand-made components takes."""
RESTING = 1_000_000
WEIGHTS = 4 * ((4 * 27 * 4 + 4) + (4 + 4) + (4 + 1))
"""Bytes: a convolution 3x3x3 of 4 channels to 4, a linear layer of 1 to 4, a convolution 1x1x1 of 4 to 1."""
MEASURE = """
import json, sys, torch
from ddmkit.run.resources import resting
at_rest = resting(torch.device("cpu"))
from ddmkit import Batch, Registry
from ddmkit.assembly import assemble, read_tree
from ddmkit.run.trainer import open_session
options, window = json.loads(sys.argv[1])
registry = Registry()
configuration = assemble(registry, base=[read_tree(registry.preset("quick"))], options=options)
session = open_session(configuration)
def batch():
    inputs = torch.randn(configuration.training.batch_size, configuration.in_channels, *window)
    return Batch(inputs, torch.ones(len(inputs)), torch.randn(len(inputs), configuration.out_channels, *window))
waiting = [batch() for _ in range(configuration.loading.prefetch + 1)]
for number in (1, 2):
    session.step(waiting[:1], len(waiting[0].inputs), configuration.diffusion.loss, number)
print(json.dumps([at_rest, session.peak_memory()]))
"""


@pytest.fixture
def configured(registry: Registry) -> Configured:
    """Return `configured("kind.field=value", …)`, with an engine that computes."""
    return lambda *options, **names: assemble(
        registry, base=[TREE], names={"engine": "single", **names}, options=options
    )


@pytest.fixture
def _network_of_1000_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(_: nn.Module, work: Work, __: torch.device) -> Footprint:
        return Footprint(1000, 10 * work.shape[0])

    monkeypatch.setattr(resources, "footprint", counted)


def forecast(configuration: Configuration, device: torch.device = CPU, shape: Shape = SHAPE) -> Forecast:
    return Forecaster(device, RESTING, shape).forecast(configuration)


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_on_a_cpu_all_that_a_step_and_a_case_hold_is_added_up(configured: Configured) -> None:
    found = forecast(configured("training.batch_size=3", "loading.prefetch=2", "training.ema=0.9", "sampler.steps=7"))
    window, volume = 4 * math.prod(WINDOW), 4 * math.prod(SHAPE)
    network = 1000 + 600 + 60_000_000  # what no tensor shows
    waiting = (2 + 1) * 3 * (4 + 1) * window
    sampling = 4 * volume + 4 * volume + network  # inputs; x_T, x_t, x_0 and eps
    assert (found.window, found.volume, found.waiting) == (WINDOW, SHAPE, waiting)
    (step,), (case,) = found.steps, found.cases
    assert step.peak == RESTING + 4 * WEIGHTS + waiting + network
    assert case.validation_peak == RESTING + 5 * WEIGHTS + waiting + sampling
    assert case.peak == RESTING + WEIGHTS + sampling
    assert (step.operations, case.evaluation_operations, case.operations) == (30, 10, 70)


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_on_a_gpu_only_what_lies_there_counts(configured: Configured) -> None:
    found = forecast(configured("loading.prefetch=9", "sampling.ensemble=6", "sampling.members_at_once=2"), GPU)
    window, volume = 4 * math.prod(WINDOW), 4 * math.prod(SHAPE)
    (step,), (case,) = found.steps, found.cases
    assert step.peak == RESTING + 3 * WEIGHTS + (4 + 1) * window + 1000
    assert case.peak == RESTING + WEIGHTS + 2 * (4 + 4) * volume + 1000
    assert (found.waiting, case.operations) == (0, 3 * 6 * 10)


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_a_gradient_waits_while_further_parts_of_a_batch_are_worked_on(configured: Configured) -> None:
    (whole,) = forecast(configured("training.batch_size=4")).steps
    (parted,) = forecast(configured("training.batch_size=4", "engine.micro_batch=2")).steps
    assert parted.peak - whole.peak == WEIGHTS
    assert parted.operations == whole.operations


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_an_ensemble_keeps_its_sums_on_the_case_s_own_grid(configured: Configured) -> None:
    (one,) = forecast(configured()).cases
    (several,) = forecast(configured("sampling.ensemble=5")).cases
    assert several.peak - one.peak == 16 * math.prod(SHAPE)


@pytest.mark.usefixtures("_network_of_1000_bytes")
@pytest.mark.parametrize(("combine", "bytes_a_voxel"), [("vote", 1), ("staple", 4)])
def test_what_members_say_is_held_on_the_case_s_own_grid(
    configured: Configured, combine: str, bytes_a_voxel: int
) -> None:
    (mean,) = forecast(configured("sampling.ensemble=5")).cases
    (other,) = forecast(configured("sampling.ensemble=5", f"sampling.combine={combine}")).cases
    assert other.peak - mean.peak == bytes_a_voxel * math.prod(SHAPE)


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_what_is_decided_later_is_forecast_with_most_members_and_one_at_once(configured: Configured) -> None:
    auto = forecast(configured("sampling.ensemble=auto", "sampling.most=6", "sampling.members_at_once=auto"))
    assert auto.cases == forecast(configured("sampling.ensemble=6")).cases


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_at_half_resolution_the_network_sees_half_the_sides(configured: Configured) -> None:
    found = forecast(configured(patch="coarse"), shape=(21, 18, 16))
    assert found.window == found.volume == (11, 9, 8)


@pytest.mark.usefixtures("_network_of_1000_bytes")
def test_a_volume_is_padded_up_to_its_window(configured: Configured) -> None:
    found = forecast(configured("patch.sides=30,5,4"))
    assert (found.window, found.volume) == ((30, 5, 4), (30, 18, 16))


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize(
    "more",
    [
        "patch.sides=12,10,8",
        "training.batch_size=5",
        "training.ema=0.9",
        "backbone.width=8",
        "sampling.members_at_once=2",
    ],
)
def test_whatever_is_larger_takes_more(configured: Configured, device: torch.device, more: str) -> None:
    base = ("sampling.ensemble=4",)
    small, large = (forecast(configured(*options), device) for options in (base, (*base, more)))
    peaks = [(found.steps[0].peak, found.cases[0].validation_peak) for found in (small, large)]
    assert all(one <= other for one, other in zip(*peaks, strict=True))
    assert peaks[0] != peaks[1]


@pytest.mark.parametrize("device", [CPU, GPU])
def test_bfloat16_takes_less_even_on_a_device_that_is_not_here(device: torch.device) -> None:
    registry = Registry()
    base = [read_tree(registry.preset("quick"))]
    full, lowered = (
        forecast(assemble(registry, base=base, options=[f"engine.precision={name}"]), device, (16, 16, 16))
        for name in ("float32", "bfloat16")
    )
    slabs = [next(case for case in found.cases if case.way == "slabs").peak for found in (full, lowered)]
    assert slabs[1] < slabs[0]


def test_each_work_is_counted_once_and_every_count_is_told(configured: Configured) -> None:
    told: list[tuple[int, int]] = []
    forecaster = Forecaster(CPU, RESTING, SHAPE, lambda *numbers: told.append(numbers))
    for prefetch in (1, 4):
        forecaster.forecast(configured(f"loading.prefetch={prefetch}"))
    assert told == [(1, 2), (2, 2)]


def test_an_engine_of_which_nothing_is_known_is_refused(configured: Configured) -> None:
    with pytest.raises(ConfigurationError, match=r"'still' lacks the settings device.* choose another --engine"):
        device_of(configured(engine="still"))


def test_a_device_that_is_named_need_not_be_there(configured: Configured) -> None:
    assert device_of(configured("engine.device=cuda:7")) == torch.device("cuda:7")
    assert device_of(configured("engine.device=cpu")) == CPU


def test_a_process_at_rest_takes_nothing_of_a_gpu() -> None:
    assert resting(GPU) == 0
    assert resting(CPU) > 100_000_000


def test_a_training_step_takes_what_was_foretold() -> None:
    options = ["engine.device=cpu", "patch.sides=32", "backbone.width=24"]
    command = [sys.executable, "-c", MEASURE, json.dumps([options, [32, 32, 32]])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    at_rest, measured = json.loads(said)
    registry = Registry()
    configuration = assemble(registry, base=[read_tree(registry.preset("quick"))], options=options)
    foretold = Forecaster(CPU, at_rest, (64, 64, 48)).forecast(configuration).steps[0].peak
    assert foretold == pytest.approx(measured, rel=0.15, abs=30e6)
