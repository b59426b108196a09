"""Time is spent by one rule, on what the network was measured to take."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from tests.core.conftest import Straight
from tests.core.knowing import FromFunction
from typing_extensions import override

from ddmkit import ConfigurationError
from ddmkit.configuration import Configuration
from ddmkit.run.budget import Pick, evaluation_seconds, largest, pick, picked_before, seconds_of
from ddmkit.sampling import Model
from ddmkit.store import Store


class Twice(Straight):
    """Evaluates the network twice a step."""

    @property
    @override
    def evaluations(self) -> int:
        return 2 * self.steps


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("2m", 120), ("1h30m", 5400), ("1h2m3s", 3723), ("0.5s", 0.5), (" 90s ", 90), ("1h1s", 3601)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "abc", "60", "-5s", "5s1m", "1.5h", "s", "1 m"])
def test_what_is_no_time_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no time .* type one such as --budget 90s, 2m or 1h30m"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("affordable", "expected"),
    [
        (5, Pick(5, 1)),
        (9, Pick(5, 1)),
        (10, Pick(10, 1)),
        (19, Pick(10, 1)),
        (20, Pick(10, 2)),
        (149, Pick(10, 14)),
        (150, Pick(10, 15)),
        (299, Pick(10, 15)),
        (300, Pick(20, 15)),
        (749, Pick(20, 15)),
        (750, Pick(50, 15)),
        (10**6, Pick(50, 15)),
    ],
)
def test_members_come_before_steps_beyond_ten(affordable: int, expected: Pick) -> None:
    """An evaluation of 0.9 s fits into 1 s, of which the network gets nine tenths."""
    assert pick(affordable + 1e-6, 0.9, Straight(), 1000) == expected


def test_a_sampler_that_evaluates_twice_a_step_gets_half_the_members() -> None:
    assert pick(100.001, 0.9, Twice(), 1000) == Pick(10, 5)


def test_no_more_steps_are_picked_than_the_schedule_has() -> None:
    assert pick(10**6, 0.9, Straight(), 30) == Pick(20, 15)
    assert pick(10**6, 0.9, Straight(), 4) == Pick(4, 15)


def test_a_budget_for_nothing_says_how_much_would_do_and_that_does() -> None:
    with pytest.raises(
        ConfigurationError, match=r"--budget 40s is too little: one member of 5 steps .* 50 s here"
    ) as e:
        pick(40, 9, Straight(), 1000)
    told = str(e.value).rpartition("--budget ")[2].partition(" ")[0]
    assert pick(seconds_of(told), 9, Straight(), 1000) == Pick(5, 1)


def test_the_second_evaluation_is_measured_for_one_member_however_many_will_go_together(
    configured: Callable[..., Configuration],
    write_cases: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configuration = configured("sampling.members_at_once=2")
    root = write_cases(tmp_path / "data", count=1, shape=(7, 9, 6))
    (case,) = (Store(configuration).open(case) for case in configuration.dataset.cases(root))
    ticks = count(step=8)
    session = FromFunction(lambda inputs, _: inputs[:, -1:])
    monkeypatch.setattr("ddmkit.run.budget.time.perf_counter", lambda: next(ticks))
    assert evaluation_seconds(Model(configuration, session), case) == 8
    assert session.batches == [1, 1]


def test_the_largest_case_decides(
    configured: Callable[..., Configuration], write_cases: Callable[..., Path], tmp_path: Path
) -> None:
    configuration = configured()
    shapes = [(7, 9, 6), (9, 9, 9), (6, 6, 6)]
    roots = [write_cases(tmp_path / str(math.prod(shape)), count=1, shape=shape) for shape in shapes]
    cases = [Store(configuration).open(case) for root in roots for case in configuration.dataset.cases(root)]
    assert largest(cases, 1) is cases[1]


def test_the_same_budget_goes_on_as_it_was_spent_before() -> None:
    record = {"budget": 60.0, "sampler": {"name": "ddim", "steps": 20}, "ensemble": 15}
    assert picked_before(record, 60) == Pick(20, 15)
    assert picked_before(record, 61) is None
    assert picked_before({}, 60) is None
    assert picked_before({"budget": 60.0, "sampler": "?"}, 60) is None
