"""What the judge of a task that answers with volumes owes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from ddmkit.definition import Scoring
from ddmkit.judging import PairJudge, decisive, goodness
from ddmkit.randomness import generator
from ddmkit.testing.promises import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddmkit.judging import Judge, SetJudge, Summary
    from ddmkit.task import VolumeTask

_SHAPES = ((1, 2, 3), (7, 5, 6), (24, 20, 28))
"""Of volumes that are judged together, of one shape or of several."""


def check_set_judge(task: VolumeTask) -> None:
    """Check that figures have names and meanings, that few or odd volumes fail nothing, and that real ones are best.

    Raises:
        AssertionError: the task's judge breaks a promise.
    """
    title = type(task).__qualname__
    judge = task.judge(Scoring())
    require(judge.figures, f"{title}'s judge has no figures, but the first one chooses the best checkpoint.")
    for figure in judge.figures:
        said = judge.definition().get(figure.name)
        require(said, f"{title}'s judge does not say what {figure.name!r} means.")
        alone = figure.by_case or not isinstance(judge, PairJudge)
        require(alone, f"{title}'s judge compares case by case, but {figure.name!r} does not say by_case=True.")
    _check_summary(title, judge, judge.summary())
    for shape in _SHAPES:
        few, _ = _judged(task, _volumes(task, "real", shape, 1), _volumes(task, "real", shape, 1))
        _check_summary(title, few, few.summary())
    mixed = [volume for shape in _SHAPES[1:] for volume in _volumes(task, "real", shape, 2)]
    odd, _ = _judged(task, mixed, _volumes(task, "real", _SHAPES[-1], 3))
    _check_summary(title, odd, odd.summary())
    real = _volumes(task, "real", _SHAPES[-1], 4)
    alike, good = _judged(task, real, real)
    _check_summary(title, alike, alike.summary())
    _, bad = _judged(task, real, [1 - volume for volume in real])
    name = alike.figures[0].name
    better = good is not None and goodness(good, alike.figures[0]) > goodness(bad, alike.figures[0])
    require(better, f"{title}'s judge finds real volumes no better than inverted ones by {name!r}: {good} and {bad}.")


def _volumes(task: VolumeTask, key: str, shape: tuple[int, int, int], count: int) -> list[NDArray[np.float32]]:
    """Return volumes of one kind, each of its own: bright blocks on dark ground, from 0 to 1."""
    random = generator(0, key, *shape)
    volumes: list[NDArray[np.float32]] = []
    for _ in range(count):
        volume = 0.2 * random.random((len(task.x0_channels), *shape), dtype=np.float32)
        volume[:, shape[0] // 4 : 3 * shape[0] // 4 + 1] += np.float32(0.6)
        volumes.append(volume)
    return volumes


def _judged(
    task: VolumeTask, real: list[NDArray[np.float32]], generated: list[NDArray[np.float32]]
) -> tuple[SetJudge | PairJudge, float | None]:
    """Return a judge that has seen two sets, and the figure that decides."""
    judge = task.judge(Scoring())
    if isinstance(judge, PairJudge):
        for number, (one, other) in enumerate(zip(real, generated, strict=False)):
            if one.shape == other.shape:
                judge.add(f"case {number}", one.copy(), other.copy())
        return judge, decisive(judge.summary(), judge.figures)
    for number, volume in enumerate(real):
        judge.real(f"case {number}", volume.copy())
    for number, volume in enumerate(generated):
        judge.generated(f"case {number}", volume.copy())
    return judge, decisive(judge.summary(), judge.figures)


def _check_summary(title: str, judge: Judge, summary: Summary) -> None:
    for row, values in summary.items():
        for key in ("n", *(figure.key for figure in judge.figures)):
            require(key in values, f"{title}'s judge has no {key!r} in the row {row!r} of its summary.")
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        msg = f"{title}'s judge has a summary that is no JSON ({error}); None stands for what cannot be worked out."
        raise AssertionError(msg) from error
