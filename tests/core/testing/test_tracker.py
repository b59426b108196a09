"""What a tracker owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from typing_extensions import override

from ddmkit import Component, ConfigurationError, Tracker, hookimpl
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


class Lines:
    """Appends a line for each step, and keeps of those that are there what it is told to."""

    def __init__(self, run: Run, keep: Callable[[int], bool]) -> None:
        self._path = run.folder / "lines.txt"
        there = self._path.read_text("utf-8").splitlines() if self._path.exists() else []
        self._lines = [line for line in there if keep(int(line.split()[1]))]
        self._write()

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        self._lines.append(f"step {step.step} loss {step.loss}")
        self._write()

    def _write(self) -> None:
        self._path.write_text("".join(f"{line}\n" for line in self._lines), "utf-8")


class Late(Lines):
    """Writes once the run ends."""

    @override
    def _write(self) -> None: ...

    @hookimpl
    def ddmkit_run_ended(self) -> None:
        super()._write()


class State:
    """Has the state of the run as a file that is always written anew, and a log of what is the same each time."""

    def __init__(self, run: Run) -> None:
        self._folder = run.folder

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        (self._folder / "state.txt").write_text(f"step {step.step}\n", "utf-8")
        with (self._folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write("one step more\n")

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        (self._folder / "state.txt").write_text(f"{report.status}\n", "utf-8")


class Overwriting:
    """Has another opinion about the run's configuration."""

    @hookimpl
    def ddmkit_run_ended(self, run: Run) -> None:
        (run.folder / "config.yaml").write_text("seed: 1\n", "utf-8")


class ForLabelsOnly:
    """Takes it for granted that a case is pictured, or that cases have scores."""

    def __init__(self, what: str) -> None:
        self._what = what

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        if self._what == "scores":
            HEARD.append(validation.scores[0])

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        if self._what == "picture" and report.status == "completed":
            HEARD.append(report.picture.case)  # type: ignore[union-attr]  # that is the mistake


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
    interrupted, failed = [0, 1, 2, "interrupted"], [2, 3, 4, "failed"]
    completed, volumes = [2, 3, 4, "validation", "test", "completed"], [0, 1, 2, "validation", "test", "completed"]
    straight = [0, 1, 2, 3, 4, "validation", "test", "completed"]
    heard = list(HEARD)
    assert heard == [*straight, *interrupted, *failed, *completed, *volumes]


def test_a_tracker_that_fails_or_hears_nothing_is_caught(
    refuses: Callable[..., None], by: Callable[[Component], None]
) -> None:
    refuses(Counter, "Broken.listen raises ZeroDivisionError", by, listen=lambda _, __: 1 / 0)
    refuses(Counter, "hears nothing; mark methods", by, listen=lambda _, __: Deaf())
    refuses(Counter, "returns no listener: .*a hook ddmkit_step that", by, listen=lambda _, __: Misspelt())
    refuses(Counter, "ValueError: no validations please, in ddmkit_validated", by, listen=lambda _, __: Failing())


def test_what_comes_again_may_stand_there_once_and_what_does_not_may_not_be_lost(
    refuses: Callable[..., None], by: Callable[[Component], None]
) -> None:
    def keeping(keep: Callable[[int, int], bool], how: type[Lines] = Lines) -> Callable[..., object]:
        return lambda _, run: how(run, lambda step: keep(step, run.first_step))

    def appended(step: int, first_step: int) -> bool:  # noqa: ARG001 - as if nothing came again
        return True

    repeats, loses = "Broken repeats 'step 3 loss 0.333.*' in lines.txt when", "Broken loses 'step {} loss .*' in lines"
    for how in (Lines, Late):
        refuses(Counter, repeats, by, listen=keeping(appended, how))
        refuses(Counter, loses.format(2), by, listen=keeping(lambda step, first: step < first, how))
        refuses(Counter, loses.format(1), by, listen=keeping(lambda _, __: False, how))
        by(_named("Right", listen=keeping(lambda step, first: step <= first, how)))


def test_what_is_written_anew_and_what_says_nothing_of_a_step_is_left_alone(by: Callable[[Component], None]) -> None:
    by(_named("Right", listen=lambda _, run: State(run)))


def test_a_tracker_that_changes_what_is_the_runs_is_caught(
    refuses: Callable[..., None], by: Callable[[Component], None]
) -> None:
    sentence = "Broken changes config.yaml in ddmkit_run_ended, which is the run's: write files of its own"
    refuses(Counter, sentence, by, listen=lambda _, __: Overwriting())

    def clearing(_: Tracker, run: Run) -> object:
        (run.folder / "metrics.jsonl").write_text("", "utf-8")
        return Counting()

    refuses(Counter, "Broken changes metrics.jsonl in listen, which", by, listen=clearing)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [("scores", "IndexError: .*, in ddmkit_validated of"), ("picture", "AttributeError: .*, in ddmkit_run_ended")],
)
def test_a_tracker_that_knows_only_labels_is_caught(
    refuses: Callable[..., None], by: Callable[[Component], None], what: str, sentence: str
) -> None:
    refuses(Counter, f"{sentence}.* a VolumeTask's run", by, listen=lambda _, __: ForLabelsOnly(what))


def test_a_check_that_fails_in_another_way_than_it_may_is_caught(
    refuses: Callable[..., None], by: Callable[[Component], None]
) -> None:
    refuses(Counter, "Broken.check raises ZeroDivisionError: .*; raise ConfigurationError", by, check=lambda _: 1 / 0)

    def unusable(_: Tracker) -> None:
        msg = "Type pip install counting."
        raise ConfigurationError(msg)

    with pytest.raises(ConfigurationError, match=r"^Type pip install counting\."):
        by(_named("Right", check=unusable))


def _named(name: str, **changes: object) -> Tracker:
    """Return a counter with some attributes of its class changed."""
    made: type[Counter] = type(name, (Counter,), {"__doc__": "Changed.", "__module__": __name__, **changes})
    return made()
