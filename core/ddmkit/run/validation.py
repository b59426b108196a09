"""Sample held-out volumes whole and judge them."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ddmkit.checked import checked_judge, checked_measures, checked_readout, checked_summary, checked_x0
from ddmkit.events import Picture, Samples, Validation
from ddmkit.judging import SetJudge
from ddmkit.run.sets import upright
from ddmkit.sampling import answer_case, sample_case
from ddmkit.scoring import RegionJudge, Segmentation
from ddmkit.task import label_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ddmkit.configuration import Configuration
    from ddmkit.judging import PairJudge
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
    """Sample cases one after the other and show them to the task's judge; `best` is left False."""
    started = time.perf_counter()
    task, scoring = model.configuration.task, model.configuration.scoring
    judge = checked_judge(task, scoring)
    for number, case in enumerate(cases, start=1):
        # Told after every call of the network too, so that a run can be stopped within a case.
        _answer_to(judge, model, case, partial(_still, progress, number - 1, len(cases)))
        progress(number, len(cases))
    seconds = time.perf_counter() - started
    summary = checked_summary(task, judge)
    return Validation(step, split, judge.scores, summary, scoring, seconds, best=False, figures=judge.figures)


def _answer_to(
    judge: RegionJudge | SetJudge | PairJudge,
    model: Model,
    case: StoredCase,
    progress: Callable[[int, int], None],
) -> None:
    """Sample a case as the configuration says and show it to a judge."""
    configuration = model.configuration
    ensemble, seed = configuration.sampling.ensemble, configuration.seed
    match judge:
        case RegionJudge():
            answer = answer_case(model, case, ensemble=ensemble, seed=seed, progress=progress)
            judge.add(case.name, *_compared(configuration, case, answer.labels), case.spacing)
        case _:
            real, members = upright(real_volume(configuration, case), case.affine), configuration.sampling.members
            if isinstance(judge, SetJudge):
                judge.real(case.name, real)
            for volume in sample_case(model, case, members=members, seed=seed, progress=progress):
                member = upright(volume, case.affine)
                if isinstance(judge, SetJudge):
                    judge.generated(case.name, member)
                else:
                    judge.add(case.name, checked_measures(configuration.task, judge, real, member))


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
        case.recipe.modalities[-1],
    )


def take_samples(model: Model, case: StoredCase, *, progress: Callable[[int, int], None]) -> Samples:
    """Sample a case of a task that answers with volumes."""
    configuration = model.configuration
    members = configuration.validation.picture_members
    sampled = sample_case(model, case, members=members, seed=configuration.seed, progress=progress)
    samples = np.stack([volume[0] for volume in sampled])
    return Samples(case.name, real_volume(configuration, case)[0], samples, np.asarray(case.affine))


def real_volume(configuration: Configuration, case: StoredCase) -> NDArray[np.float32]:
    """Return what a sample of a case stands beside: the read-out of its own x_0, (C, X, Y, Z) on its own grid."""
    task = configuration.task
    return case.leave(checked_readout(task, checked_x0(task, case.read(case.whole()))[None])[0].numpy())


def score_answer(configuration: Configuration, case: StoredCase, labels: NDArray[np.uint8]) -> list[Score]:
    """Score an answer in every region that it and the case's reference tell.

    Args:
        configuration: whose task is answered, and by whose definitions the scores are.
        case: with a reference.
        labels: of `Answer`, shape (X, Y, Z).
    """
    judge = checked_judge(label_task(configuration.task), configuration.scoring)
    return judge.add(case.name, *_compared(configuration, case, labels), case.spacing)


def scored_mask(configuration: Configuration, case: StoredCase) -> Mask | None:
    """Return where the reference has anything that is scored, shape (X, Y, Z); None for a case without one."""
    labels = case.reference()
    if labels is None:
        return None
    scored = frozenset[str]().union(*label_task(configuration.task).regions.values())
    mask: Mask = np.isin(labels, [index for index, name in enumerate(case.case.classes) if name in scored])
    return mask


def _compared(
    configuration: Configuration, case: StoredCase, labels: NDArray[np.uint8]
) -> tuple[Segmentation, Segmentation]:
    """Return an answer and the reference of its case, each with what its indices mean."""
    reference = case.reference()
    assert reference is not None  # noqa: S101 - only labelled cases are scored
    answers = label_task(configuration.task).answers
    return Segmentation(labels, ("background", *answers)), Segmentation(reference, case.case.classes)


def _still(progress: Callable[[int, int], None], done: int, total: int, *_: int) -> None:
    progress(done, total)


def _first_with_reference(configuration: Configuration, cases: Sequence[StoredCase]) -> tuple[StoredCase, Mask] | None:
    for case in cases:
        reference = scored_mask(configuration, case)
        if reference is not None and reference.any():
            return case, reference
    return None
