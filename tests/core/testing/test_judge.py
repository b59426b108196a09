"""What the judge of a task owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.core.testing.tasks import OFF, Brightness, Compared, Painter, Pairing, Parts, constant
from typing_extensions import override

from ddmkit import DataError, Figure, SetJudge
from ddmkit.judging import Summary
from ddmkit.scoring import RegionJudge


def refusing(_self: Parts, classes: tuple[str, ...]) -> None:
    if "edema" in classes:
        msg = "Edema is no word."
        raise DataError(msg)


class Doubled(RegionJudge):
    """Has Dice twice."""

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return super().figures[:1] * 2


class Spreadless(RegionJudge):
    """Promises the spread of Dice, and has none."""

    @override
    def summary(self) -> Summary:
        return {row: {"n": values["n"], "dice_mean": 1.0} for row, values in super().summary().items()}


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"judge": lambda *_: None}, r"judge returns None, not a RegionJudge"),
        ({"judge": lambda *_: Brightness()}, r"judge returns <.*Brightness object at .*>, not a RegionJudge"),
        ({"judge": lambda self, scoring: Doubled(self.regions, scoring)}, "two figures of one name: dice, dice"),
        ({"judge": lambda self, scoring: Spreadless(self.regions, scoring)}, "no 'dice_std' in the row 'whole' of"),
        (
            {"check_classes": refusing},
            r"check_classes raises DataError: Edema is no word for background, core, edema, w",
        ),
    ],
)
def test_a_task_of_labels_that_judges_otherwise_than_it_says_is_caught(
    methods: dict[str, object], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Parts, sentence, **methods)


def judging(**methods: object) -> Callable[..., SetJudge]:
    """Return a `judge` that gives out the brightness judge, some of its methods replaced."""
    broken = type("Broken", (Brightness,), methods)
    return lambda *_: broken()


SEEN: list[float] = []


class Sharing(Brightness):
    """Keeps what it sees where all others look for it."""

    def __init__(self) -> None:
        super().__init__()
        self._real = SEEN


class Guessing(Brightness):
    """Rolls dice, whose fall it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._luck = float(np.random.default_rng().random()) / 1000

    @override
    def summary(self) -> Summary:
        (row,) = super().summary().values()
        return {"all": {**row, "off": None if row["off"] is None else row["off"] + self._luck}}


def nan_summary(_self: Brightness) -> Summary:
    return {"all": {"n": 2, "off": float("nan")}}


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"judge": judging(figures=constant(()))}, "judge has no figures, but the first one chooses the best"),
        ({"judge": judging(definition=lambda _: {})}, "judge does not say what 'off' means"),
        ({"judge": judging(summary=lambda _: {"all": {"n": 1}})}, "judge has no 'off' in the row 'all'"),
        ({"judge": judging(summary=nan_summary)}, "judge has a summary that is no JSON"),
        ({"judge": judging(summary=lambda _: {"all": {"off": 0.5}})}, "judge has no 'n' in the row 'all'"),
        ({"judge": judging(figures=constant((OFF, OFF)))}, "judge has two figures of one name: off, off"),
        (
            {"judge": judging(figures=constant((OFF._replace(by_case=True),)))},
            "judge has no 'off_mean' in the row 'all'",
        ),
        (
            {"judge": lambda *_: Sharing()},
            "judges say two things of the same answers, .*let each keep what it is shown",
        ),
        ({"judge": lambda *_: Guessing()}, "judges say two things of the same answers, .*draw by a seed"),
        (
            {"judge": judging(summary=lambda _: {"all": {"n": 1, "off": float(np.random.default_rng().random())}})},
            "judge sums up one set in two ways, .*draw by a seed",
        ),
        ({"judge": lambda *_: None}, r"judge returns None, not a SetJudge or PairJudge"),
        ({"judge": judging(summary=lambda _: {"all": {"n": 1, "off": 0.5}})}, "finds real volumes no better than inve"),
    ],
)
def test_a_broken_judge_of_volumes_is_caught(
    methods: dict[str, object], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Painter, sentence, **methods)


def test_a_judge_that_measures_nothing_is_caught_by_the_check(refuses: Callable[..., None]) -> None:
    refuses(Pairing, r"is judged with measure\(\) = None, not a finite number for each", judge=lambda *_: Silent())


class Silent(Compared):
    """Measures nothing."""

    @override
    def measure(self, real: object, generated: object) -> Any:
        return None
