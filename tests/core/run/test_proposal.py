"""What to set so that a run fits, changing as little as will do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from ddmkit import Registry, arithmetic
from ddmkit.assembly import assemble, read_tree
from ddmkit.footprint import Footprint, Work
from ddmkit.run import resources
from ddmkit.run.proposal import Planner
from ddmkit.run.resources import Forecaster

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from ddmkit.run.proposal import Proposal

CPU = torch.device("cpu")
BRATS = (240, 240, 155)
GB = 10**9


@pytest.fixture(autouse=True)
def _simple_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network take 100 numbers a voxel in a step and 20 in an evaluation, half and double of that by its ways."""

    def counted(_: nn.Module, work: Work, __: torch.device) -> Footprint:
        voxels = work.shape[0] * math.prod(work.shape[2:])
        numbers = (100 if work.training else 20) * (0.5 if work.way == "recompute" else 1)
        return Footprint(round(numbers * voxels * work.precision.itemsize), voxels)

    monkeypatch.setattr(resources, "footprint", counted)
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)


def planner(*options: str, preset: str = "fullres", typed: Iterable[str] = (), **names: str) -> Planner:
    registry = Registry()
    configuration = assemble(registry, base=[read_tree(registry.preset(preset))], names=names, options=options)
    return Planner(registry, configuration, set(typed), Forecaster(CPU, GB // 3, BRATS))


def proposed(limit: float, *options: str, **more: str | Iterable[str]) -> Proposal:
    found = planner(*options, **more).propose(round(limit * GB))  # type: ignore[arg-type]  # names are text, typed is not
    assert found is not None
    return found


def test_what_fits_as_it_is_stays_as_it_is() -> None:
    found = proposed(30)
    assert (found.chosen.changes.names, found.chosen.changes.settings) == ({}, {})
    assert (found.step.way, found.case.way) == ("slabs", "slabs")


def test_the_fastest_way_that_fits_is_taken_for_a_step_and_for_a_case() -> None:
    found = proposed(6.5, "loading.prefetch=1")
    assert found.chosen.changes.settings == {}
    assert (found.step.way, found.case.way) == ("recompute", "slabs")


def test_batches_that_wait_take_a_tenth_of_the_memory_at_most() -> None:
    found = proposed(16)
    assert found.chosen.changes.settings == {"loading.prefetch": "2"}
    assert found.chosen.forecast.waiting == 3 * 6 * 4 * 256**3 <= 1.6 * GB


def test_what_costs_nothing_but_speed_is_changed_before_the_precision() -> None:
    options = ("training.batch_size=4", "sampling.ensemble=5", "sampling.members_at_once=5")
    found = proposed(10, *options)
    assert found.chosen.changes.settings == {
        "sampling.members_at_once": "1",
        "engine.micro_batch": "1",
        "loading.prefetch": "1",
    }


def test_the_precision_is_changed_before_the_window() -> None:
    found = proposed(4.5)
    assert found.chosen.changes.settings["engine.precision"] == "bfloat16"
    assert found.chosen.forecast.window == (256, 256, 256)


def test_whole_volumes_become_the_largest_windows_that_fit_and_these_know_where_they_are() -> None:
    found = proposed(2.5)
    assert found.chosen.changes.names == {"patch": "center", "encoding": "coords"}
    side, *_ = found.chosen.forecast.window
    options = ("engine.precision=bfloat16", "loading.prefetch=1", f"patch.sides={side + 32}")
    larger = planner(*options, typed=["patch.sides"], patch="center", encoding="coords")
    assert larger.propose(round(2.5 * GB)) is None


@pytest.mark.parametrize(
    ("limit", "typed", "kept"),
    [(4.5, "engine.precision", "engine.precision"), (2.5, "encoding", "encoding"), (16, "loading.prefetch", "loading")],
)
def test_what_was_typed_is_not_changed(limit: float, typed: str, kept: str) -> None:
    found = planner(typed=[typed]).propose(round(limit * GB))
    changed = () if found is None else (*found.chosen.changes.names, *found.chosen.changes.settings)
    assert not [name for name in changed if name.startswith(kept)]


def test_whole_volumes_that_were_typed_do_not_become_windows() -> None:
    assert planner(typed=["patch"]).propose(round(2.5 * GB)) is None


def test_volumes_at_half_resolution_do_not_become_windows_which_take_more_to_sample() -> None:
    plans = planner(preset="halfres")
    assert plans.propose(plans.least() - 1) is None
    found = plans.propose(plans.least())
    assert found is not None
    assert found.chosen.configuration.patch.name == "half"


@pytest.mark.parametrize("preset", ["fullres", "patchddm", "halfres", "quick"])
def test_with_the_least_there_is_something_that_fits_and_below_nothing_does(preset: str) -> None:
    plans = planner(preset=preset)
    found = plans.propose(plans.least())
    assert found is not None
    assert max(found.step.peak, found.case.validation_peak) <= plans.least()
    assert plans.propose(plans.least() - 1) is None


def test_more_memory_never_gives_a_smaller_window_or_another_precision_than_less() -> None:
    plans = planner()
    found = [plans.propose(round(gigabytes * GB)) for gigabytes in (2, 2.5, 3, 4, 5, 6, 8, 12, 20)]
    seen = [(plan.chosen.forecast.window, plan.chosen.forecast.precision == "float32") for plan in found if plan]
    assert len(set(seen)) > 3
    assert seen == sorted(seen)


def test_a_device_without_bfloat16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: False)
    plans = planner()
    assert plans.precisions == ("float32",)
    found = plans.propose(3 * GB)
    assert found is not None
    assert found.chosen.forecast.precision == "float32"


def test_bfloat16_that_falls_back_is_planned_as_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: False)
    found = proposed(30, "engine.precision=bfloat16")
    assert found.chosen.forecast.precision == "float32"


def test_beside_a_proposal_stands_each_precision_on_the_window_that_was_asked_for() -> None:
    plans = planner()
    kept, smaller = plans.propose(16 * GB), plans.propose(round(2.5 * GB))
    assert kept is not None
    assert smaller is not None
    whole = (256, 256, 256)
    shown = [(choice.forecast.precision, choice.forecast.window) for choice in plans.beside(kept)]
    assert shown == [("float32", whole), ("bfloat16", whole)]
    assert [choice.forecast.window for choice in plans.beside(smaller)][:2] == [whole, whole]
    assert plans.beside(smaller)[-1].forecast == smaller.chosen.forecast
