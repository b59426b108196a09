"""What a tracker owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from typing_extensions import override

from ddmkit import Component, Tracker, hookimpl
from ddmkit.configuration import Configuration
from ddmkit.events import Report, Run, StepDone, Validation
from ddmkit.testing import check, check_tracker

HEARD: list[object] = []


class Counter(Tracker):
    """Counts what it hears."""

    name: ClassVar[str] = "counter"

    @override
    def listen(self, run: Run) -> object:
        HEARD.append(run.first_step)
        return Counting()


class Counting:
    """Listens for it."""

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        HEARD.append(step.step)

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        HEARD.append(validation.split)

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        HEARD.append(report.status)


class Deaf:
    """Has no hook."""


class Misspelt:
    """Has a hook that is none."""

    @hookimpl
    def ddmkit_step(self) -> None: ...


class Failing:
    """Fails late."""

    @hookimpl
    def ddmkit_validated(self) -> None:
        msg = "no validations please"
        raise ValueError(msg)


@pytest.fixture
def by(configured: Callable[..., Configuration]) -> Callable[[Component], None]:
    """Return the check, with a configuration."""

    def by(tracker: Component) -> None:
        assert isinstance(tracker, Tracker)
        check_tracker(tracker, configured())

    return by


def test_a_tracker_that_keeps_its_promises_passes(by: Callable[[Component], None]) -> None:
    check(Counter)
    HEARD.clear()
    by(Counter())
    assert HEARD == [0, 1, 2, "interrupted", 2, 3, 4, "validation", "test", "completed"]


def test_a_tracker_that_fails_or_hears_nothing_is_caught(
    refuses: Callable[..., None], by: Callable[[Component], None]
) -> None:
    refuses(Counter, "Broken.listen raises ZeroDivisionError", by, listen=lambda _, __: 1 / 0)
    refuses(Counter, "hears nothing; mark methods", by, listen=lambda _, __: Deaf())
    refuses(Counter, "returns no listener: .*a hook ddmkit_step that", by, listen=lambda _, __: Misspelt())
    refuses(Counter, "ValueError: no validations please, in ddmkit_validated", by, listen=lambda _, __: Failing())
