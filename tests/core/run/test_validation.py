"""Held-out volumes sampled and scored by what their references tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.core.heads import head, save_case, small_case
from tests.core.knowing import Tasks, copying, knowing

from ddmkit import Registry
from ddmkit.judging import decisive
from ddmkit.run.validation import take_picture, validate
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Case
    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]

SHAPE = (12, 11, 10)


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, Tasks())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small_case(tmp_path, SHAPE)


def quiet(*_: int) -> None:
    """Hear of no progress."""


def test_every_region_of_a_perfect_answer_scores_1(configured: Configured, case: Case) -> None:
    configuration = configured("task.name=parts", "preprocessing.frame=brain", "preprocessing.orientation=RPI")
    stored = Store(configuration).open(case)
    found = validate(knowing(configuration, stored), [stored], step=7, split="validation", progress=quiet)
    assert [(score.case, score.region) for score in found.scores] == [("a", "edema"), ("a", "core")]
    assert {(score.dice, score.hd95, score.surface_dice, score.note) for score in found.scores} == {(1, 0, 1, None)}
    assert (found.step, found.split, found.best) == (7, "validation", False)
    assert decisive(found.summary, found.figures) == 1


def test_a_region_that_the_reference_does_not_tell_is_not_scored(configured: Configured, case: Case) -> None:
    configuration = configured("task.name=parts", "diffusion.prediction=x0")
    coarse = Store(configuration).open(case._replace(labels={1: "core", 2: "other", 4: "other"}))
    whole = Store(configuration).open(case)
    model = copying(configuration)
    found = validate(model, [coarse, whole], step=1, split="validation", progress=quiet)
    assert [score.region for score in found.scores] == ["core", "edema", "core"]
    assert found.scores[0] == found.scores[2]


def test_progress_is_told_within_a_case_and_after_it(configured: Configured, case: Case) -> None:
    configuration = configured("sampler.steps=2", "diffusion.prediction=x0")
    stored = Store(configuration).open(case)
    told: list[tuple[int, int]] = []
    model = copying(configuration)
    validate(model, [stored, stored], step=1, split="test", progress=lambda *done: told.append(done))
    assert told == [(0, 2), (0, 2), (1, 2), (1, 2), (1, 2), (2, 2)]


def test_the_first_case_with_something_to_find_is_pictured(configured: Configured, case: Case, tmp_path: Path) -> None:
    configuration = configured("diffusion.prediction=x0", "validation.picture_members=2")
    images = {"t1": head(SHAPE), "flair": head(SHAPE, 5)}
    healthy = save_case(tmp_path, images, np.zeros(SHAPE, dtype=np.uint8), name="healthy")
    store, model = Store(configuration), copying(configuration)
    picture = take_picture(model, [store.open(healthy), store.open(case)], progress=quiet)
    assert picture is not None
    assert (picture.case, picture.members) == ("a", 2)
    assert picture.reference.any()
    assert np.array_equal(picture.answer, picture.image > 0.5)
    assert take_picture(model, [store.open(healthy)], progress=quiet) is None
