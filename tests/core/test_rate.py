"""The learning rate as a function of the step."""

from __future__ import annotations

from math import cos, pi

import pytest

from ddmkit.configuration import Training
from ddmkit.rate import learning_rate


def rates(**settings: object) -> list[float]:
    training = Training.model_validate({"learning_rate": 0.2, **settings})
    return [learning_rate(training, step) for step in range(1, training.steps + 1)]


def test_without_warmup_and_decay_it_is_constant() -> None:
    assert rates(steps=5) == [0.2] * 5


def test_the_warmup_rises_evenly_and_reaches_the_rate_with_its_last_step() -> None:
    assert rates(steps=6, warmup=4) == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


def test_the_cosine_starts_at_the_rate_and_falls_with_the_closed_form() -> None:
    expected = [0.1 * (1 + cos(pi * done / 8)) for done in range(8)]
    assert rates(steps=8, decay="cosine") == pytest.approx(expected)


def test_the_cosine_follows_the_warmup() -> None:
    found = rates(steps=12, warmup=4, decay="cosine")
    assert found[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert found[4:] == pytest.approx(rates(steps=8, decay="cosine"))


def test_the_cosine_never_rises_again_and_its_last_step_still_learns() -> None:
    found = rates(steps=100, decay="cosine")
    assert sorted(found, reverse=True) == found
    assert 0 < found[-1] < 0.2 / 1000
    assert learning_rate(Training(steps=100, learning_rate=0.2, decay="cosine"), 500) == pytest.approx(0)


def test_a_warmup_longer_than_the_run_is_only_begun() -> None:
    assert rates(steps=2, warmup=10, decay="cosine") == pytest.approx([0.02, 0.04])
    assert rates(steps=3, warmup=3, decay="cosine")[-1] == pytest.approx(0.2)
