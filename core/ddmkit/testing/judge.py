"""What the judge of a task owes."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ddmkit.checked import checked_measures
from ddmkit.definition import Scoring
from ddmkit.judging import Judge, PairJudge, SetJudge, decisive, goodness
from ddmkit.randomness import generator
from ddmkit.scoring import RegionJudge
from ddmkit.testing.promises import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddmkit.judging import Summary
    from ddmkit.scoring import Segmentation
    from ddmkit.task import LabelTask, Task, VolumeTask

J = TypeVar("J", bound=Judge)
_SHAPES = ((1, 2, 3), (7, 5, 6), (24, 20, 28))
"""Of volumes that are judged together, of one shape or of several."""


def check_region_judge(task: LabelTask, prediction: Segmentation, reference: Segmentation) -> None:
    """Check that the judge is one of regions, and that its figures have names, meanings and numbers.

    Args:
        task: whose judge it is.
        prediction: that a region at least can be told from.
        reference: likewise, of the same shape.

    Raises:
        AssertionError: the task's judge breaks a promise.
    """
    title = type(task).__qualname__
    judge, other = _judge(task, RegionJudge), _judge(task, RegionJudge)
    _check_figures(title, judge)
    _check_summary(title, judge)
    said: list[Summary] = []
    for one in (judge, other):
        for case in ("one", "another"):
            one.add(case, prediction, reference, (1.0, 1.0, 1.0))
            _check_summary(title, one)
        said.append(deepcopy(one.summary()))
    _check_alike(title, *said)


def check_set_judge(task: VolumeTask) -> None:
    """Check that figures have names and meanings, that few or odd volumes fail nothing, and that real ones are best.

    Judges must know nothing of each other, and say the same of the same volumes.

    Raises:
        AssertionError: the task's judge breaks a promise.
    """
    title = type(task).__qualname__
    judge = _judge(task, SetJudge, PairJudge)
    _check_figures(title, judge)
    if isinstance(judge, PairJudge):
        for figure in judge.figures:
            told = f"{title}'s judge compares case by case, but {figure.name!r} does not say by_case=True."
            require(figure.by_case, told)
    _check_summary(title, judge)
    for shape in _SHAPES:
        few = _judge_of(task, _volumes(task, "real", shape, 1), _volumes(task, "real", shape, 1))
        _check_summary(title, few)
    mixed = [volume for shape in _SHAPES[1:] for volume in _volumes(task, "real", shape, 2)]
    _check_summary(title, _judge_of(task, mixed, _volumes(task, "real", _SHAPES[-1], 3)))
    real = _volumes(task, "real", _SHAPES[-1], 4)
    alike = _judge_of(task, real, real)
    _check_summary(title, alike)
    said = deepcopy(alike.summary())
    inverted = _judge_of(task, real, [1 - volume for volume in real])
    _check_summary(title, inverted)
    good, bad = (decisive(summary, alike.figures) for summary in (said, inverted.summary()))
    name = alike.figures[0].name
    better = good is not None and goodness(good, alike.figures[0]) > goodness(bad, alike.figures[0])
    require(better, f"{title}'s judge finds real volumes no better than inverted ones by {name!r}: {good} and {bad}.")
    _check_alike(title, said, _judge_of(task, real, real).summary())


def _judge(task: Task, *allowed: type[J]) -> J:
    judge = task.judge(Scoring())
    names = " or ".join(kind.__name__ for kind in allowed)
    require(isinstance(judge, allowed), f"{type(task).__qualname__}.judge returns {judge!r}, not a {names}.")
    assert isinstance(judge, allowed)  # noqa: S101 - which type checkers do not see
    return judge


def _check_figures(title: str, judge: Judge) -> None:
    require(judge.figures, f"{title}'s judge has no figures, but the first one chooses the best checkpoint.")
    names = [figure.name for figure in judge.figures]
    require(len(set(names)) == len(names), f"{title}'s judge has two figures of one name: {', '.join(names)}.")
    for name in names:
        require(judge.definition().get(name), f"{title}'s judge does not say what {name!r} means.")


def _check_alike(title: str, one: Summary, other: Summary) -> None:
    """Compare what two judges say of the same, the second of which was shown it after the first was asked."""
    told = f"{title}'s judges say two things of the same answers, {one} and {other}"
    require(one == other, f"{told}; let each keep what it is shown to itself, and draw by a seed.")


def _volumes(task: VolumeTask, key: str, shape: tuple[int, int, int], count: int) -> list[NDArray[np.float32]]:
    """Return volumes of one kind, each of its own: bright blocks on dark ground, from 0 to 1."""
    random = generator(0, key, *shape)
    volumes: list[NDArray[np.float32]] = []
    for _ in range(count):
        volume = 0.2 * random.random((len(task.x0_channels), *shape), dtype=np.float32)
        volume[:, shape[0] // 4 : 3 * shape[0] // 4 + 1] += np.float32(0.6)
        volumes.append(volume)
    return volumes


def _judge_of(
    task: VolumeTask, real: list[NDArray[np.float32]], generated: list[NDArray[np.float32]]
) -> SetJudge | PairJudge:
    """Return a judge that has seen two sets."""
    judge = task.judge(Scoring())
    if isinstance(judge, PairJudge):
        for number, (one, other) in enumerate(zip(real, generated, strict=False)):
            if one.shape == other.shape:
                judge.add(f"case {number}", checked_measures(task, judge, one.copy(), other.copy()))
        return judge
    for number, volume in enumerate(real):
        judge.real(f"case {number}", volume.copy())
    for number, volume in enumerate(generated):
        judge.generated(f"case {number}", volume.copy())
    return judge


def _check_summary(title: str, judge: Judge) -> None:
    summary, again = judge.summary(), judge.summary()
    promised = ["n", *chain.from_iterable(figure.keys for figure in judge.figures)]
    for row, values in summary.items():
        for key in promised:
            require(key in values, f"{title}'s judge has no {key!r} in the row {row!r} of its summary.")
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"{title}'s judge has a summary that is no JSON ({error}); None stands for what cannot be worked out."
        raise AssertionError(msg) from error
    require(summary == again, f"{title}'s judge sums up one set in two ways, {summary} and {again}; draw by a seed.")
