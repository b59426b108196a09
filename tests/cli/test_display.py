"""What a run says on the screen while it goes on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ddmkit import Figure, Registry
from ddmkit.definition import Scoring
from ddmkit.events import Announcer, Run, StepDone, Validation
from ddmkit_cli import display
from ddmkit_cli.console import Bars
from ddmkit_cli.display import Display

if TYPE_CHECKING:
    from pathlib import Path

MMD = Figure("mmd", "MMD", higher_is_better=False)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, Announcer], list[str]]:
    """Return who tells of runs, by their number of steps, and what is said of them."""
    said: list[str] = []
    bars = Bars()
    monkeypatch.setattr(bars, "show", lambda _what, _done, _total, note: said.append(note))
    monkeypatch.setattr(display, "say", said.append)

    def telling(steps: int) -> Announcer:
        configuration = SimpleNamespace(training=SimpleNamespace(steps=steps))
        return Announcer(Registry(Display(bars)), Run(tmp_path, configuration, 0))  # type: ignore[arg-type]  # no more of it is looked at

    return {steps: telling(steps) for steps in (10, 29, 1000)}, said


@pytest.mark.parametrize(("steps", "mean"), [(10, 2.0), (29, 3.0), (1000, 26.5)])
def test_the_loss_that_is_shown_is_a_mean_over_a_tenth_of_the_run_and_fifty_steps_at_most(
    steps: int, mean: float, told: tuple[dict[int, Announcer], list[str]]
) -> None:
    runs, said = told
    losses = [6.0, 4.0, 2.0] if steps < 1000 else [1.0, *map(float, range(2, 52))]
    for step, loss in enumerate(losses, start=1):
        done = StepDone(step, loss, 1.0, 1e-3, 0.5, 10**6)
        runs[steps].tell("ddmkit_step_done", step=done)
    assert said[-1].startswith(f"mean loss {mean:.4f}  ")


@pytest.mark.parametrize(("value", "best"), [(None, False), (0.5, True)])
def test_nothing_is_called_the_best_where_nothing_could_be_measured(
    value: float | None, *, best: bool, told: tuple[dict[int, Announcer], list[str]]
) -> None:
    runs, said = told
    summary = {"all": {"n": 1, "mmd": value}}
    validation = Validation(10, "validation", [], summary, Scoring(), 1.0, best=True, figures=[MMD])
    runs[10].tell("ddmkit_validated", validation=validation)
    assert said[-1].startswith("step 10: validation: all MMD ")
    assert ("best so far" in said[-1]) == best
