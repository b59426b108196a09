"""A run on the screen: a listener like any plugin's."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING

from ddmkit import hookimpl
from ddmkit.judging import decisive
from ddmkit_cli.console import duration, say, size

if TYPE_CHECKING:
    from ddmkit.events import Run, StepDone, Validation
    from ddmkit.judging import Figure
    from ddmkit_cli.console import Bars

_LONGEST = 50
"""Steps that the means of loss and seconds go back, and no more than a tenth of a run's."""


class Display:
    """Shows steps as they are done and validations as they come."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._recent: deque[StepDone] = deque(maxlen=_LONGEST)

    @hookimpl
    def ddmkit_run_started(self, run: Run) -> None:
        if run.where:
            say(f"Working on {run.where}.")
        if run.first_step >= run.configuration.training.steps:
            say(
                f"All {run.first_step} steps were done before: only what follows them is done again. For more, type "
                f"-o training.steps={2 * run.first_step}."
            )
        elif run.first_step:
            say(f"Going on from step {run.first_step}.")

    @hookimpl
    def ddmkit_step_done(self, run: Run, step: StepDone) -> None:
        steps = run.configuration.training.steps
        self._recent.append(step)
        recent = list(self._recent)[-max(steps // 10, 1) :]
        loss, seconds = fmean(one.loss for one in recent), fmean(one.seconds for one in recent)
        left = duration(seconds * (steps - step.step))
        note = f"mean loss {loss:.4f}  {seconds:.2f} s/step  {left} left  peak {size(step.peak_memory)}"
        self._bars.show("step", step.step, steps, note)

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        rows = ", ".join(
            f"{name} {' '.join(_said(figure, row[figure.key]) for figure in validation.figures)}"
            for name, row in validation.summary.items()
        )
        known = decisive(validation.summary, validation.figures) is not None
        best = ", best so far" if validation.best and known else ""
        say(f"step {validation.step}: {validation.split}: {rows} ({validation.seconds:.0f} s{best})")


def _said(figure: Figure, value: float | None) -> str:
    return " ".join(filter(None, (figure.title, figure.text(value), figure.unit)))
