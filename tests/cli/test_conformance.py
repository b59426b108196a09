"""What `ddmkit plugins check` says of components that cannot be checked just so, or fail in ways of their own."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ddmkit import Component, ConfigurationError, Registry, Schedule, Tracker, hookimpl
from ddmkit.events import Run, StepDone
from ddmkit_cli.conformance import Verdict, chosen, verdicts


class Asserting(Schedule):
    """A schedule whose code holds a bare assert that fails."""

    name: ClassVar[str] = "asserting"

    @override
    def alphas_bar(self) -> Tensor:
        raise AssertionError


class Leaving(Asserting):
    """A schedule that ends the program."""

    name: ClassVar[str] = "leaving"

    @override
    def alphas_bar(self) -> Tensor:
        raise SystemExit(2)


class Needy(Schedule):
    """A schedule that somebody has to think about."""

    name: ClassVar[str] = "needy"
    keep: float = Field(gt=0, le=1, description="Share of the signal's power that a step keeps.")

    @override
    def alphas_bar(self) -> Tensor:
        return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)


TOLD: list[int] = []


class Counting(Tracker):
    """Counts the steps it is told of, but for some."""

    name: ClassVar[str] = "counting"
    contained: ClassVar[bool] = True
    last: int = Field(default=100, description="The last step it can count to.")

    @override
    def check(self) -> None:
        if self.last < 0:
            msg = "Nobody counts to less than nothing; type -o tracker.counting.last=3."
            raise ConfigurationError(msg)

    @override
    def listen(self, run: Run) -> object:
        return _Counter(self.last)


class _Counter:
    def __init__(self, last: int) -> None:
        self._last = last

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        if step.step > self._last:
            msg = f"nobody counts to {step.step}"
            raise ValueError(msg)
        TOLD.append(step.step)


class Sending(Counting):
    """Counts somewhere far away."""

    name: ClassVar[str] = "sending"
    contained: ClassVar[bool] = False


class Plugin:
    """Offers all of them."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Asserting, Leaving, Needy, Counting, Sending]


def verdict(name: str, *options: str) -> Verdict:
    """Check one of them."""
    registry = Registry()
    registry.register(Plugin())
    (found,) = verdicts(chosen(registry, [name], options), options)
    return found


@pytest.mark.parametrize(
    ("name", "said"),
    [("asserting", r"a bare assert \(in .*, line"), ("leaving", r"ends with SystemExit: 2 \(in .*line")],
)
def test_what_fails_without_a_word_fails_all_the_same(name: str, said: str) -> None:
    found = verdict(name)
    assert found.failed
    assert found.line().startswith(f"✗ schedule {name} (this program): ")
    assert re.search(said, found.line())


def test_a_component_that_needs_a_setting_is_checked_with_it_and_else_says_how() -> None:
    without = verdict("needy")
    assert not without.failed
    assert without.line() == (
        "– schedule needy (this program) is not checked without settings that have no default: "
        "ddmkit plugins check needy -o schedule.keep=VALUE"
    )
    assert verdict("needy", "schedule.keep=0.99").line() == "✓ schedule needy (this program)"
    assert verdict("needy", "schedule.keep=1").line() == (
        "✗ schedule needy (this program): Needy with T = 1000 does not fall strictly: 1 at t = 0, 1 at t = 1, "
        "and so on 1000 times."
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("schedule.kept=1", "schedule.kept is no setting of needy"),
        ("sampler.steps=1", "-o sampler.steps=1 sets nothing that is checked; only settings of schedule may be given"),
        ("schedule.timesteps=5", "schedule.keep has no default: add -o schedule.keep=VALUE"),
    ],
)
def test_a_setting_that_does_not_fit_what_is_checked_is_the_users_mistake(option: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        verdict("needy", option)


def test_a_tracker_that_keeps_to_the_runs_folder_is_told_of_a_run() -> None:
    TOLD.clear()
    assert verdict("counting").line() == "✓ tracker counting (this program)"
    straight, stopped_twice, of_volumes = [1, 2, 3, 4], [1, 2, 3, 4, 3, 4], [1, 2]
    assert [*straight, *stopped_twice, *of_volumes] == TOLD
    failing = verdict("counting", "tracker.counting.last=3").line()
    assert failing.startswith("✗ tracker counting (this program): The listener of Counting raises ValueError: nobody ")


def test_a_tracker_that_may_write_elsewhere_is_told_of_nothing_and_the_answer_says_so() -> None:
    TOLD.clear()
    found = verdict("sending")
    assert not found.failed
    assert found.line().startswith("– tracker sending (this program) is not checked beyond its settings, as it may ")
    assert TOLD == []


@pytest.mark.parametrize("ending", [RuntimeError("boom"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize(("tracker", "method"), [(Counting, "check"), (Counting, "listen"), (Sending, "check")])
def test_a_tracker_that_fails_while_it_is_asked_fails_the_check_and_nothing_else(
    tracker: type[Tracker], method: str, ending: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ending

    monkeypatch.setattr(tracker, method, fails)
    found = verdict(tracker.name)
    assert found.failed
    assert f"{type(ending).__name__}: {ending}" in found.line()


def test_a_tracker_that_cannot_work_here_is_not_checked_and_says_why() -> None:
    found = verdict("counting", "tracker.counting.last=-1")
    assert not found.failed
    assert found.line() == (
        "– tracker counting (this program) is not checked: Nobody counts to less than nothing; "
        "type -o tracker.counting.last=3."
    )
