"""Sample held-out volumes whole and score them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ddmkit.events import Picture, Validation
from ddmkit.sampling import answer_case
from ddmkit.scoring import Segmentation, score_case, told
from ddmkit.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ddmkit.configuration import Configuration
    from ddmkit.measures import Mask
    from ddmkit.sampling import Model
    from ddmkit.scoring import Score
    from ddmkit.stored_case import StoredCase


def validate(
    model: Model,
    cases: Sequence[StoredCase],
    *,
    step: int,
    split: Literal["validation", "test"],
    progress: Callable[[int, int], None],
) -> Validation:
    """Sample and score cases one after the other; `best` is left False."""
    started = time.perf_counter()
    scores: list[Score] = []
    for number, case in enumerate(cases, start=1):
        # Told after every call of the network too, so that a run can be stopped within a case.
        scores += _score(model, case, partial(_still, progress, number - 1, len(cases)))
        progress(number, len(cases))
    seconds = time.perf_counter() - started
    return Validation(step, split, scores, summarise(scores), model.configuration.scoring, seconds, best=False)


def mean_dice(validation: Validation) -> float:
    """Return the mean Dice over cases and regions; 0 for a task that scores none."""
    return float(np.mean([score.dice for score in validation.scores])) if validation.scores else 0.0


def take_picture(
    model: Model,
    cases: Sequence[StoredCase],
    *,
    progress: Callable[[int, int], None],
) -> Picture | None:
    """Answer, with an ensemble, the first case that has something to find; None where none has."""
    configuration = model.configuration
    found = _first_with_reference(configuration, cases)
    if found is None:
        return None
    case, reference = found
    members = configuration.validation.picture_members
    answer = answer_case(model, case, ensemble=members, seed=configuration.seed, progress=progress)
    images = case.leave(case.read(case.whole()).images.numpy())
    return Picture(
        case.name,
        images[-1],
        reference,
        answer.labels > 0,
        answer.variance.sum(axis=0),
        members,
        np.asarray(case.affine),
    )


def score_answer(configuration: Configuration, case: StoredCase, labels: NDArray[np.uint8]) -> list[Score]:
    """Score an answer in every region that it and the case's reference tell.

    Args:
        configuration: whose task is answered, and by whose definitions the scores are.
        case: with a reference.
        labels: of `Answer`, shape (X, Y, Z).
    """
    reference = case.reference()
    assert reference is not None  # noqa: S101 - only labelled cases are scored
    task, classes = configuration.task, ("background", *configuration.task.answers)
    regions = told(task.regions, classes, case.case.classes)
    truth = Segmentation(reference, case.case.classes)
    return score_case(case.name, Segmentation(labels, classes), truth, regions, case.spacing, configuration.scoring)


def scored_mask(configuration: Configuration, case: StoredCase) -> Mask | None:
    """Return where the reference has anything that is scored, shape (X, Y, Z); None for a case without one."""
    labels = case.reference()
    if labels is None:
        return None
    scored = frozenset[str]().union(*configuration.task.regions.values())
    mask: Mask = np.isin(labels, [index for index, name in enumerate(case.case.classes) if name in scored])
    return mask


def _still(progress: Callable[[int, int], None], done: int, total: int, *_: int) -> None:
    progress(done, total)


def _score(model: Model, case: StoredCase, progress: Callable[[int, int], None]) -> list[Score]:
    configuration = model.configuration
    ensemble = configuration.sampling.ensemble
    answer = answer_case(model, case, ensemble=ensemble, seed=configuration.seed, progress=progress)
    return score_answer(configuration, case, answer.labels)


def _first_with_reference(
    configuration: Configuration, cases: Sequence[StoredCase]
) -> tuple[StoredCase, np.ndarray] | None:
    for case in cases:
        reference = scored_mask(configuration, case)
        if reference is not None and reference.any():
            return case, reference
    return None
