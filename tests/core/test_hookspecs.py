"""The example of each run event is a listener that hears it."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import ClassVar

import pytest
from typing_extensions import override

import ddmkit
from ddmkit import Registry, Tracker, events, hookimpl, hookspecs
from ddmkit.assembly import assemble, read_tree
from ddmkit.events import Run
from ddmkit.offer import EVENTS
from ddmkit.testing import check_tracker

SAID = {
    "ddmkit_run_started": "begins at step 2 on this machine",
    "ddmkit_step_done": "step 3: loss 0.3333, 0.50 s",
    "ddmkit_validated": "test at step 4: whole 0.625",
    "ddmkit_checkpoint_saved": "step-00000002 is safe: 0 files after step 2",
    "ddmkit_run_ended": "completed after step 4; the best checkpoint is of step 4",
}


class Telling(Tracker):
    """Listens by the code of one example."""

    name: ClassVar[str] = "telling"
    event: str

    @override
    def listen(self, run: Run) -> object:
        code = (inspect.getdoc(getattr(hookspecs, self.event)) or "").partition("::\n\n")[2]
        names = {**vars(ddmkit), **vars(events), "hookimpl": hookimpl}
        exec(inspect.cleandoc(code), names)  # noqa: S102 - the code is ours
        listener = ModuleType("listener")
        vars(listener)[self.event] = names[self.event]
        return listener


@pytest.mark.parametrize("event", EVENTS)
def test_the_example_of_an_event_says_what_happened(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    check_tracker(Telling(event=event), assemble(registry, base=[read_tree(registry.preset("quick"))]))
    assert SAID[event] in capsys.readouterr().out
