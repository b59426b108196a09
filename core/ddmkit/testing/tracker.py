"""What a tracker owes: it follows a run through, one that stops, and one that goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ddmkit.definition import Scoring
from ddmkit.events import Picture, Report, Run, StepDone, Validation
from ddmkit.offer import EVENTS
from ddmkit.registry import Registry
from ddmkit.run.folder import RunFolder
from ddmkit.scoring import Score
from ddmkit.summary import summarise
from ddmkit.testing.promises import described, outcome, require

if TYPE_CHECKING:
    from typing import Literal

    from ddmkit.configuration import Configuration
    from ddmkit.tracker import Tracker


def check_tracker(tracker: Tracker, configuration: Configuration) -> None:
    """Tell a tracker of a run that is interrupted, goes on and is completed, as `ddmkit train` does.

    `check` does not: a tracker writes where its settings say, so they are yours to choose.

    Args:
        tracker: that is told.
        configuration: of the run; nothing is trained.

    Raises:
        AssertionError: it breaks a promise.
    """
    with TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary) / "run")
        folder.create(configuration, {})
        tracker.check()
        interrupted = _Telling(tracker, folder, Run(folder.path, configuration, 0))
        interrupted.steps(1, 2)
        interrupted.tell("ddmkit_run_ended", report=Report("interrupted", 2))
        resumed = _Telling(tracker, folder, Run(folder.path, configuration, 2))
        resumed.steps(3, 4)
        resumed.validation(4, "validation")
        test = resumed.validation(4, "test")
        resumed.tell("ddmkit_run_ended", report=Report("completed", 4, 4, test, _picture()))


class _Telling:
    """Tells one listener of one run, and writes `metrics.jsonl` as a run does."""

    def __init__(self, tracker: Tracker, folder: RunFolder, run: Run) -> None:
        title = type(tracker).__qualname__
        self._title = title
        self._folder = folder
        self._run = run
        listener = outcome(lambda: tracker.listen(run))
        require(not isinstance(listener, Exception), f"{title}.listen {described(listener)}, and a run begins so.")
        registry = outcome(lambda: Registry(listener))
        require(isinstance(registry, Registry), f"{title}.listen returns no listener: ddmkit {described(registry)}.")
        assert isinstance(registry, Registry)  # noqa: S101 - which type checkers do not see
        self._registry = registry
        require(
            any(registry.listeners(event) for event in EVENTS),
            f"{title}.listen returns {listener!r}, which hears nothing; mark methods such as ddmkit_step_done with "
            "@hookimpl.",
        )
        self.tell("ddmkit_run_started")

    def steps(self, *numbers: int) -> None:
        for number in numbers:
            done = StepDone(number, 1 / number, 2.0, 1e-4, 0.5, 1_000_000)
            self._folder.append_metrics({"kind": "step", **done._asdict()})
            self.tell("ddmkit_step_done", step=done)
        checkpoint = self._folder.checkpoint(numbers[-1])
        checkpoint.mkdir(parents=True)
        self.tell("ddmkit_checkpoint_saved", step=numbers[-1], folder=checkpoint)

    def validation(self, step: int, split: Literal["validation", "test"]) -> Validation:
        scores = [Score(case, "whole", dice, 2.0, dice, None) for case, dice in (("case-1", 0.5), ("case-2", 0.75))]
        summary, figures, best = summarise(scores), Scoring().figures(), split == "validation"
        validation = Validation(step, split, scores, summary, Scoring(), 3.0, best=best, figures=figures)
        said = [figure._asdict() for figure in figures]
        self._folder.append_metrics({"kind": split, "step": step, "summary": summary, "figures": said})
        self.tell("ddmkit_validated", validation=validation)
        return validation

    def tell(self, event: str, **facts: object) -> None:
        arguments: dict[str, object] = {"run": self._run, **facts}
        for listener in self._registry.listeners(event):
            found = outcome(partial(listener.function, *[arguments[name] for name in listener.argnames]))
            require(not isinstance(found, Exception), f"The listener of {self._title} {described(found)}, in {event}.")


def _picture() -> Picture:
    shape = (4, 5, 6)
    reference = np.zeros(shape, dtype=bool)
    reference[1:3, 1:4, 2:5] = True
    image = np.linspace(0, 1, reference.size, dtype=np.float32).reshape(shape)
    return Picture("case-1", image, reference, ~reference, 0.1 * image, 2, np.eye(4))
