"""Listeners of a run: they get what they name, and one that fails ends nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, ClassVar

import pytest
from tests.installing import install
from typing_extensions import override

from ddmkit import Registry, Tracker, hookimpl
from ddmkit.events import Announcer, Report, Run, StepDone
from ddmkit.origin import remember

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration

DONE = StepDone(3, 0.5, 1.5, 1e-5, 0.1, 1000)


@pytest.fixture
def run(configured: Callable[..., Configuration], tmp_path: Path) -> Run:
    return Run(tmp_path, configured(), 0)


class Everything:
    """Takes all that a step tells."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    @hookimpl
    def ddmkit_step_done(self, run: Run, step: StepDone) -> None:
        self.heard += [run, step]


class StepOnly:
    """Takes one argument of two."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        self.heard.append(step)


class Nothing:
    """Takes no argument."""

    def __init__(self) -> None:
        self.calls = 0

    @hookimpl
    def ddmkit_step_done(self) -> None:
        self.calls += 1


class Broken:
    """Fails at every step, and not at the end."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def ddmkit_run_ended(self) -> None:
        self.heard.append("the end")

    @hookimpl
    def ddmkit_step_done(self) -> None:
        self.heard.append("a step")
        msg = "no connection"
        raise ConnectionError(msg)


class Impatient:
    """Stops the program."""

    @hookimpl
    def ddmkit_step_done(self) -> None:
        raise KeyboardInterrupt


def test_listeners_get_only_the_arguments_they_name(run: Run) -> None:
    everything, step_only, nothing = Everything(), StepOnly(), Nothing()
    Announcer(Registry(everything, step_only, nothing), run).tell("ddmkit_step_done", step=DONE)
    assert everything.heard == [run, DONE]
    assert step_only.heard == [DONE]
    assert nothing.calls == 1


def test_listeners_hear_only_their_own_events(run: Run) -> None:
    listener = StepOnly()
    announcer = Announcer(Registry(listener), run)
    announcer.tell("ddmkit_run_started")
    announcer.tell("ddmkit_run_ended", report=Report("completed", 3))
    assert listener.heard == []


def test_a_listener_registered_late_is_called_too(run: Run) -> None:
    first, late = StepOnly(), StepOnly()
    registry = Registry(first)
    announcer = Announcer(registry, run)
    registry.register(late)
    announcer.tell("ddmkit_step_done", step=DONE)
    assert first.heard == late.heard == [DONE]


def test_a_listener_that_fails_is_named_in_a_warning_and_the_others_still_hear(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = StepOnly(), StepOnly()
    announcer = Announcer(Registry(before, Broken(), after), run)
    with caplog.at_level(logging.WARNING):
        announcer.tell("ddmkit_step_done", step=DONE)
    assert before.heard == after.heard == [DONE]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Broken" in record.getMessage()
    assert "ddmkit_step_done" in record.getMessage()
    assert "no connection" in record.getMessage()


def test_a_listener_that_fails_is_not_called_again_for_that_event_in_that_run(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    other, failing = StepOnly(), Broken()
    registry = Registry(failing, other)
    announcer = Announcer(registry, run)
    for _ in range(3):
        announcer.tell("ddmkit_step_done", step=DONE)
    announcer.tell("ddmkit_run_ended", report=Report("completed", 3))
    assert failing.heard == ["a step", "the end"]
    assert other.heard == [DONE, DONE, DONE]
    assert len(caplog.records) == 1
    Announcer(registry, run).tell("ddmkit_step_done", step=DONE)
    assert failing.heard[2:] == ["a step"]


def test_an_interruption_is_not_held_back_by_a_listener(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        Announcer(Registry(Impatient()), run).tell("ddmkit_step_done", step=DONE)


class Chosen(Tracker):
    """Listens with what is asked for."""

    name: ClassVar[str] = "chosen"
    heard: ClassVar[list[object]] = []

    @override
    def listen(self, run: Run) -> object:
        self.heard.append(run)
        return Listening(self.heard)


class Listening:
    """Listens for `Chosen`."""

    def __init__(self, heard: list[object]) -> None:
        self._heard = heard

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        self._heard.append(step)


class Unreachable(Tracker):
    """Cannot even begin."""

    name: ClassVar[str] = "unreachable"

    @override
    def listen(self, run: Run) -> object:
        msg = "no route to host"
        raise OSError(msg)


class Misspelt(Tracker):
    """Returns what has a hook of no such name."""

    name: ClassVar[str] = "misspelt"

    @override
    def listen(self, run: Run) -> object:
        class Listener:
            @hookimpl
            def ddmkit_stepped(self) -> None: ...

        return Listener()


class Silent(Tracker):
    """Forgets to return what it made."""

    name: ClassVar[str] = "silent"

    @override
    def listen(self, run: Run) -> object:
        return None


class Frail(Tracker):
    """Returns a listener that fails."""

    name: ClassVar[str] = "frail"

    @override
    def listen(self, run: Run) -> object:
        return Broken()


def test_a_tracker_hears_only_the_run_that_chose_it_and_after_the_plugins(run: Run) -> None:
    order: list[object] = []

    class Plugin:
        @hookimpl
        def ddmkit_step_done(self) -> None:
            order.append(len(Chosen.heard))

    registry = Registry(Plugin())
    Announcer(registry, run, [Chosen()]).tell("ddmkit_step_done", step=DONE)
    Announcer(registry, run).tell("ddmkit_step_done", step=DONE)
    assert Chosen.heard == [run, DONE]
    assert order == [1, 2]  # the run was known by then, the step was not


@pytest.mark.parametrize(
    ("tracker", "why"),
    [
        (Unreachable(), "no route to host"),
        (Misspelt(), "a hook ddmkit_stepped that ddmkit does not"),
        (Silent(), "listen() returns None, which hears of no event; return an object"),
    ],
)
def test_a_tracker_that_cannot_begin_is_named_in_a_warning_and_the_others_still_hear(
    run: Run, caplog: pytest.LogCaptureFixture, tracker: Tracker, why: str
) -> None:
    listener = StepOnly()
    announcer = Announcer(Registry(listener), run, [tracker])
    announcer.tell("ddmkit_step_done", step=DONE)
    assert listener.heard == [DONE]
    (record,) = caplog.records
    assert f"The tracker {tracker.name} of this program cannot follow this run" in record.getMessage()
    assert why in record.getMessage()


BROKEN = """
    from ddmkit import hookimpl

    @hookimpl
    def ddmkit_step_done(step):
        raise ConnectionError("no connection")
"""


def test_a_listener_that_fails_is_named_by_its_tracker_and_its_package(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    remember(Frail, "acme 1.0")
    Announcer(Registry(StepOnly()), run, [Frail()]).tell("ddmkit_step_done", step=DONE)
    (record,) = caplog.records
    assert record.getMessage() == (
        "The tracker frail of acme 1.0 failed in ddmkit_step_done and is not called for it again: "
        "ConnectionError: no connection"
    )


def test_a_plugin_that_fails_is_named_with_its_package(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, "zenith-listener", BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    Announcer(Registry(), run).tell("ddmkit_step_done", step=DONE)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "The plugin zenith_listener of zenith-listener 1.0 failed in ddmkit_step_done"
    )
