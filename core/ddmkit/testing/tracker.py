"""What a tracker owes: it follows a run through, one that stops, and one that goes on, of a task of either kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ddmkit.definition import Scoring
from ddmkit.errors import ConfigurationError
from ddmkit.events import Picture, Report, Run, Samples, StepDone, Validation
from ddmkit.judging import Figure
from ddmkit.offer import EVENTS
from ddmkit.registry import Registry
from ddmkit.run.folder import RunFolder, State
from ddmkit.scoring import Score
from ddmkit.summary import summarise
from ddmkit.testing.promises import described, in_a_sentence, outcome, require
from ddmkit.testing.tracker_files import TrackerFiles, said

if TYPE_CHECKING:
    from collections import Counter
    from typing import Literal

    from ddmkit.configuration import Configuration
    from ddmkit.testing.tracker_files import Line
    from ddmkit.tracker import Tracker

_RUNS = ("run", "straight", "volumes")
"""Their folders."""
_JUDGED = (Scoring(), 3.0, False)
"""By which definitions, in how many seconds, and whether it is the best so far."""


@in_a_sentence
def check_usable(tracker: Tracker) -> None:
    """Ask a tracker whether it can work here, as `ddmkit train` does before a run.

    Raises:
        AssertionError: it fails in another way than by ConfigurationError.
        ConfigurationError: it says that it cannot.
    """
    checked = outcome(tracker.check)
    if isinstance(checked, ConfigurationError):
        raise checked
    advice = "raise ConfigurationError where a user has something to put right"
    failed = isinstance(checked, Exception)
    require(not failed, f"{type(tracker).__qualname__}.check {described(checked)}; {advice}.")


@in_a_sentence
def check_tracker(tracker: Tracker, configuration: Configuration) -> None:
    """Tell a tracker of runs as `ddmkit train` does.

    One is interrupted, goes on, fails, and goes on from the checkpoint before, so that two steps are told again. Text
    files that the tracker keeps in the run's folder may then lack no line of an earlier step that they have of a run
    that goes straight through, and have none of a later step twice. Another run answers with volumes that are judged
    as a set.

    `check` does not do this: a tracker writes where its settings say, so they are yours to choose.

    Args:
        tracker: that is told.
        configuration: of the runs; nothing is trained.

    Raises:
        AssertionError: it breaks a promise.
        ConfigurationError: it says that it cannot work here.
    """
    check_usable(tracker)
    with TemporaryDirectory() as temporary:
        run, straight, volumes = (_begun(Path(temporary) / name, configuration) for name in _RUNS)
        _tell_of_labels(tracker, run, straight, configuration)
        _tell_of_volumes(tracker, volumes, configuration)


def _begun(path: Path, configuration: Configuration) -> RunFolder:
    folder = RunFolder(path)
    folder.create(configuration, {})
    return folder


def _tell_of_labels(tracker: Tracker, folder: RunFolder, straight: RunFolder, configuration: Configuration) -> None:
    """Tell of a run that stops twice, and of one that goes straight through, whose steps are the same."""
    files, expected = TrackerFiles(folder), TrackerFiles(straight)
    whole = _Telling(tracker, straight, expected, Run(straight.path, configuration, 0))
    whole.steps(1, 2)
    whole.checkpoint(2)
    whole.go_on_to_the_end()
    begun = _Telling(tracker, folder, files, Run(folder.path, configuration, 0))
    first = begun.written_with(1, 2, checkpoint=True, end="interrupted")
    resumed = _Telling(tracker, folder, files, Run(folder.path, configuration, 2))
    second = resumed.written_with(3, 4, checkpoint=False, end="failed")
    _Telling(tracker, folder, files, Run(folder.path, configuration, 2)).go_on_to_the_end()
    now, in_one_go, title = files.lines(), expected.lines(), type(tracker).__qualname__
    lost = [line for line in first if in_one_go[line] and not now[line]]
    twice = [line for line in second if line not in first and now[line] > second[line]]
    advice = "when it begins to listen, drop what is of steps after run.first_step, and nothing else"
    require(not lost, f"{title} loses {said(lost)}, of a step that the run keeps when it goes on; {advice}.")
    require(not twice, f"{title} repeats {said(twice)} when a run that failed does a step again; {advice}.")


def _tell_of_volumes(tracker: Tracker, folder: RunFolder, configuration: Configuration) -> None:
    telling = _Telling(
        tracker, folder, TrackerFiles(folder), Run(folder.path, configuration, 0), of="a VolumeTask's run"
    )
    telling.steps(1, 2)
    telling.checkpoint(2)
    telling.judged(2, "validation")
    test = telling.judged(2, "test")
    telling.tell("ddmkit_run_ended", report=Report("completed", 2, 2, test, samples=_samples()))


class _Telling:
    """Tells one listener of one run, and writes `metrics.jsonl` as a run does."""

    def __init__(self, tracker: Tracker, folder: RunFolder, files: TrackerFiles, run: Run, of: str = "a run") -> None:
        title = type(tracker).__qualname__
        self._title = title
        self._folder = folder
        self._files = files
        self._run = run
        self._of = of
        folder.take_up(State(run.first_step, None))
        own = files.own()
        listener = outcome(lambda: tracker.listen(run))
        require(not isinstance(listener, Exception), f"{title}.listen {described(listener)}, and {of} begins so.")
        self._require_unchanged(own, "listen")
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

    def written_with(self, *steps: int, checkpoint: bool, end: Literal["interrupted", "failed"]) -> Counter[Line]:
        """Tell of steps and that the run ended with them; return the lines that the tracker wrote meanwhile."""
        before = self._files.lines()
        self.steps(*steps)
        if checkpoint:
            self.checkpoint(steps[-1])
        self.tell("ddmkit_run_ended", report=Report(end, steps[-1]))
        return self._files.lines() - before

    def go_on_to_the_end(self) -> None:
        """Tell of steps 3 and 4, how they were validated, and that the run is completed."""
        self.steps(3, 4)
        self.checkpoint(4)
        self.validation(4, "validation")
        test = self.validation(4, "test")
        self.tell("ddmkit_run_ended", report=Report("completed", 4, 4, test, _picture()))

    def steps(self, *numbers: int) -> None:
        for number in numbers:
            done = StepDone(number, 1 / number, 2.0, 1e-4, 0.5, 1_000_000)
            self._folder.append_metrics({"kind": "step", **done._asdict()})
            self.tell("ddmkit_step_done", step=done)

    def checkpoint(self, step: int) -> None:
        folder = self._folder.checkpoint(step)
        folder.mkdir(parents=True)
        self.tell("ddmkit_checkpoint_saved", step=step, folder=folder)

    def validation(self, step: int, split: Literal["validation", "test"]) -> Validation:
        scores = [Score(case, "whole", dice, 2.0, dice, None) for case, dice in (("case-1", 0.5), ("case-2", 0.75))]
        return self._validated(Validation(step, split, scores, summarise(scores), *_JUDGED, Scoring().figures()))

    def judged(self, step: int, split: Literal["validation", "test"]) -> Validation:
        """Tell of volumes that only the set as a whole is judged of; one figure could not be worked out."""
        figures = [Figure("mmd", "MMD", higher_is_better=False), Figure("variety", "Variety", higher_is_better=True)]
        row = {"n": 2, "mmd": 0.125, "variety": None}
        return self._validated(Validation(step, split, [], {"all": row}, *_JUDGED, figures))

    def tell(self, event: str, **facts: object) -> None:
        arguments: dict[str, object] = {"run": self._run, **facts}
        own = self._files.own()
        for listener in self._registry.listeners(event):
            found = outcome(partial(listener.function, *[arguments[name] for name in listener.argnames]))
            failed = f"The listener of {self._title} {described(found)}, in {event} of {self._of}"
            require(not isinstance(found, Exception), f"{failed}.")
        self._require_unchanged(own, event)

    def _validated(self, validation: Validation) -> Validation:
        told = validation._replace(best=validation.split == "validation")
        figures = [figure._asdict() for figure in told.figures]
        record = {"kind": told.split, "step": told.step, "summary": told.summary, "figures": figures}
        self._folder.append_metrics(record)
        self.tell("ddmkit_validated", validation=told)
        return told

    def _require_unchanged(self, before: dict[str, bytes], what: str) -> None:
        now = self._files.own()
        for name in sorted(before.keys() | now.keys()):
            unchanged = now.get(name) == before.get(name)
            require(unchanged, f"{self._title} changes {name} in {what}, which is the run's: write files of its own.")


def _picture() -> Picture:
    shape = (4, 5, 6)
    reference = np.zeros(shape, dtype=bool)
    reference[1:3, 1:4, 2:5] = True
    image = np.linspace(0, 1, reference.size, dtype=np.float32).reshape(shape)
    return Picture("case-1", image, reference, ~reference, 0.1 * image, 2, np.eye(4), "flair")


def _samples() -> Samples:
    image = _picture().image
    return Samples("case-1", image, np.stack([image, 1 - image]), np.eye(4))
