"""What a listener owes that hears every run is checked."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest
from typing_extensions import override

from ddmkit import Component, Registry, hookimpl
from ddmkit.configuration import Configuration
from ddmkit.events import Report, Run, StepDone, Validation
from ddmkit.testing import check_listener


class Writing:
    """Hears everything."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        raise AssertionError  # which is no event of a run

    @hookimpl
    def ddmkit_run_started(self, run: Run) -> None:
        self.heard.append(run.first_step)

    @hookimpl(specname="ddmkit_step_done")
    def stepped(self, step: StepDone) -> None:
        self.heard.append(step.step)

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        self.heard.append(validation.split)

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        self.heard.append(report.status)


def test_every_hook_of_a_listener_is_told_of_a_run(configured: Callable[..., Configuration]) -> None:
    listener = Writing()
    check_listener(listener, configured())
    ended = ["validation", "test", "completed"]
    straight = [0, 1, 2, 3, 4, *ended]
    stopped_twice = [0, 1, 2, "interrupted", 2, 3, 4, "failed", 2, 3, 4, *ended]
    assert listener.heard == [*straight, *stopped_twice, 0, 1, 2, *ended]


def test_a_listener_that_fails_at_an_event_is_caught(configured: Callable[..., Configuration]) -> None:
    class Failing(Writing):
        @hookimpl
        @override
        def ddmkit_run_ended(self, report: Report) -> None:
            raise KeyError(report.status)

    with pytest.raises(
        AssertionError, match=r"^The listener of .*Failing raises KeyError: .*in ddmkit_run_ended of a run\.$"
    ):
        check_listener(Failing(), configured())


def test_a_module_that_ends_the_program_is_caught(configured: Callable[..., Configuration]) -> None:
    module = types.ModuleType("acme_listening")

    @hookimpl
    def ddmkit_checkpoint_saved() -> None:
        raise SystemExit(1)

    vars(module)["ddmkit_checkpoint_saved"] = ddmkit_checkpoint_saved
    with pytest.raises(AssertionError, match=r"^acme_listening's check ends with SystemExit: 1 \(in "):
        check_listener(module, configured())


def test_the_pictures_of_a_run_are_drawn_without_a_fault(configured: Callable[..., Configuration]) -> None:
    (pictures,) = (listener for listener in Registry().always_listening() if "pictures" in listener.name)
    check_listener(pictures.plugin, configured())
