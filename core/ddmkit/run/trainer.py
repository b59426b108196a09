"""The training loop: steps, checkpoints, validations; what a run does from its first step to its report."""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import torch

from ddmkit.definition import Scoring
from ddmkit.errors import DdmkitError, DivergedError, InterruptedRunError, LostProcessError, PluginError
from ddmkit.events import Announcer, Report, Run, StepDone, Validation
from ddmkit.judging import Figure, decisive, goodness
from ddmkit.randomness import seed_of
from ddmkit.rate import learning_rate
from ddmkit.run.batches import Batches
from ddmkit.run.cases import Place, refuse_changed, refuse_empty, refuse_or_skip
from ddmkit.run.folder import Best, RunFolder, State, read_state
from ddmkit.run.interruption import Interruption
from ddmkit.run.plan import warn_of_windows
from ddmkit.run.room import require_room
from ddmkit.run.validation import take_picture, take_samples, validate
from ddmkit.sampling import Model, rehearse
from ddmkit.scoring import Score
from ddmkit.store import Store
from ddmkit.task import VolumeTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration
    from ddmkit.engine import Batch, Session, StepResult
    from ddmkit.registry import Registry
    from ddmkit.run.plan import Plan
    from ddmkit.stored_case import StoredCase

Progress: TypeAlias = "Callable[[str, int, int], None]"
"""(what is done, how much of it, of how much)."""


def train(  # noqa: PLR0913 - the parts of a run, each used once
    registry: Registry,
    configuration: Configuration,
    plan: Plan,
    folder: RunFolder,
    *,
    resume: bool = False,
    skip_bad: bool = False,
    progress: Progress = lambda *_: None,
) -> Report:
    """Train from the first step, or from the last checkpoint, to `training.steps`, and return a report.

    Args:
        registry: whose plugins listen to the run.
        configuration: everything the run depends on.
        plan: from `make_plan` for this configuration.
        folder: of the run; it is begun, or its configuration rewritten, once device, cases and checkpoint are
            known to work, so that whatever fails before can be typed again.
        resume: go on from the folder's last checkpoint, or from the start where there is none yet.
        skip_bad: whether to go on without the cases that cannot be used.
        progress: told about what takes time outside the steps.

    Raises:
        InterruptedRunError: the user stopped it; a checkpoint is saved.
        DdmkitError: it failed; the last checkpoint is whole.
    """
    require_room(configuration, plan.shapes)
    state = State(0, None)
    session = open_session(configuration, logs=folder.logs)
    rehearse(configuration, session.device)
    if resume and folder.has_checkpoint("last"):
        state = read_state(folder.find_checkpoint("last"))
        session.load(folder.checkpoint(state.step))
    cases, left_out = open_cases(configuration, plan, progress, resume=resume, skip_bad=skip_bad)
    if resume:
        folder.write_configuration(configuration)
        folder.take_up(state)
    else:
        split = {part: [case.name for case in stored] for part, stored in cases.items()}
        folder.create(configuration, split, left_out)
    announcer = Announcer(registry, Run(folder.path, configuration, state.step, session.where), configuration.tracker)
    trainer = _Trainer(configuration, folder, announcer, cases, session, state, progress)
    announcer.tell("ddmkit_run_started")
    try:
        report = trainer.run()
    except BaseException as error:  # a mistake in a plugin too: who follows the run hears of its end all the same
        status: Literal["interrupted", "failed"] = "interrupted" if isinstance(error, InterruptedRunError) else "failed"
        announcer.tell("ddmkit_run_ended", report=Report(status, trainer.state.step))
        if isinstance(error, LostProcessError | PluginError) or not isinstance(error, DdmkitError):
            when = "" if isinstance(error, LostProcessError) else "once this is mended, "
            error.add_note(f"What was saved is whole; {when}go on with: ddmkit train --resume {folder.path}")
        raise
    announcer.tell("ddmkit_run_ended", report=report)
    return report


class _Trainer:
    """The mutable part of a run."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a run, each used once
        self,
        configuration: Configuration,
        folder: RunFolder,
        announcer: Announcer,
        cases: dict[str, list[StoredCase]],
        session: Session,
        state: State,
        progress: Progress,
    ) -> None:
        self.state = state
        self._configuration = configuration
        self._folder = folder
        self._announcer = announcer
        self._cases = cases
        self._progress = progress
        self._interruption = Interruption()
        self._session = session

    def run(self) -> Report:
        with self._interruption:
            if self._due(self.state.step) and self.state.validated != self.state.step:
                self._validate()
            self._steps(self.state.step + 1)
            return self._finish()

    def _steps(self, first: int) -> None:
        training = self._configuration.training
        batches = Batches(self._configuration, self._cases["train"], pinned=self._session.device.type == "cuda")
        previous = time.perf_counter()
        with closing(batches.ahead(first, training.steps)) as ahead:  # whose threads end with the run, however it ends
            for step, micro_batches in ahead:
                result = self._learn(step, micro_batches)
                seconds = time.perf_counter() - previous
                rate = learning_rate(training, step)
                self._record(StepDone(step, *result, rate, seconds, self._session.peak_memory()))
                self._after(step)
                previous = time.perf_counter()

    def _learn(self, step: int, micro_batches: list[Batch]) -> StepResult:
        configuration = self._configuration
        size, loss = configuration.training.batch_size, configuration.objective
        try:
            with torch.random.fork_rng(devices=[]):
                # A network that draws (dropout) draws the same in this step, whatever was drawn before.
                torch.manual_seed(seed_of(configuration.seed, "network", step))
                return self._session.step(micro_batches, size, loss, step)
        except DivergedError as error:
            self._folder.distrust_last(step - 1)
            raise DivergedError(self._advice(error)) from error

    def _record(self, done: StepDone) -> None:
        self.state = self.state._replace(step=done.step)
        self._folder.append_metrics({"kind": "step", **done._asdict()})
        self._announcer.tell("ddmkit_step_done", step=done)

    def _after(self, step: int) -> None:
        """Save and validate where it is due; stop where the user asked to.

        Weights are saved before they are judged, so that nothing is lost if the judging is stopped.
        """
        due = self._due(step)
        if due or self._interruption.asked or step % self._configuration.training.checkpoint_every == 0:
            folder = self._folder.save_checkpoint(self.state, self._session.save)
            self._announcer.tell("ddmkit_checkpoint_saved", step=step, folder=folder)
        self._stop_if_asked()
        if due:
            self._validate()

    def _due(self, step: int) -> bool:
        every, steps = self._configuration.validation.every, self._configuration.training.steps
        return step > 0 and (step % every == 0 or step >= steps)

    def _stop_if_asked(self) -> None:
        if self._interruption.asked:
            step, folder = self.state.step, self._folder.path
            msg = f"Stopped after step {step}, which is saved. Go on with: ddmkit train --resume {folder}"
            raise InterruptedRunError(msg)

    def _validate(self) -> None:
        cases = self._cases["validation"][: self._configuration.validation.cases]
        validation = self._score("validation", cases)
        value, figure, step = decisive(validation.summary, validation.figures), validation.figures[0], self.state.step
        before = self.state.best
        # Of equals the later: a network that has not learned anything yet may be right about a healthy case.
        best = before is None or goodness(value, figure) >= goodness(before.value, figure)
        self._write_down(validation._replace(best=best))
        self.state = State(step, Best(step, value) if best else before, validated=step)
        self._folder.update_state(self.state)
        self._announcer.tell("ddmkit_validated", validation=validation._replace(best=best))

    def _score(self, split: Literal["validation", "test"], cases: list[StoredCase]) -> Validation:
        progress = self._stoppable(f"{split} cases sampled")
        try:
            return validate(self._model, cases, step=self.state.step, split=split, progress=progress)
        except DivergedError as error:
            if split == "test":  # of the best checkpoint, which says nothing about the last
                raise
            self._folder.distrust_last(self.state.step)
            raise DivergedError(self._advice(error)) from error

    def _write_down(self, validation: Validation) -> None:
        scoring = validation.scoring
        plain = {
            "scores": [score._asdict() for score in validation.scores],
            "scoring": scoring.model_dump(mode="json"),
            "figures": [figure._asdict() for figure in validation.figures],
            "definition": self._configuration.task.judge(scoring).definition(),
        }
        self._folder.append_metrics({**validation._asdict(), "kind": validation.split, **plain})

    def _written_down(self, step: int) -> Validation | None:
        """Return the validation of a step, which may have been done before the run was gone on with."""
        for record in self._folder.records():
            if record["kind"] == "validation" and record["step"] == step:
                scores, scoring = [Score(**score) for score in record["scores"]], Scoring(**record["scoring"])
                seconds, best = record["seconds"], record["best"]
                figures = [Figure(**figure) for figure in record["figures"]]
                return Validation(step, "validation", scores, record["summary"], scoring, seconds, best, figures)
        return None

    def _finish(self) -> Report:
        """Go back to the best checkpoint, score the test cases if asked, and picture a case."""
        best = self.state.best
        assert best is not None  # noqa: S101 - the last step is always validated
        self._session = open_session(self._configuration, self._folder.checkpoint(best.step), self._folder.logs)
        test = self._cases["test"] if self._configuration.validation.test else []
        final = self._test(test, best.step) if test else self._written_down(best.step)
        progress = self._stoppable("samples for the picture")
        report, unseen = Report("completed", self.state.step, best.step, final), test or self._cases["validation"]
        if isinstance(self._configuration.task, VolumeTask):
            return report._replace(samples=take_samples(self._model, unseen[0], progress=progress))
        return report._replace(picture=take_picture(self._model, unseen, progress=progress))

    def _test(self, cases: list[StoredCase], step: int) -> Validation:
        scored = self._score("test", cases)._replace(step=step)
        self._write_down(scored)
        self._announcer.tell("ddmkit_validated", validation=scored)
        return scored

    def _advice(self, error: DivergedError) -> str:
        if not self._folder.has_checkpoint("last"):
            return f"{error} No checkpoint is saved yet: start anew with a lower training.learning_rate (-o)."
        rate = self._configuration.training.learning_rate / 10
        resume = f"ddmkit train --resume {self._folder.path} -o training.learning_rate={rate:g}"
        return f"{error} The last good checkpoint is kept; go on from it with: {resume}"

    @property
    def _model(self) -> Model:
        return Model(self._configuration, self._session)

    def _stoppable(self, what: str) -> Callable[[int, int], None]:
        def progress(done: int, total: int) -> None:
            self._progress(what, done, total)
            self._stop_if_asked()

        return progress


class Opened(NamedTuple):
    """The cases of a run."""

    splits: dict[str, list[StoredCase]]
    left_out: dict[str, str]
    """Why cases are left out that cannot be used, by name."""


def open_cases(
    configuration: Configuration, plan: Plan, progress: Progress, *, resume: bool = False, skip_bad: bool = False
) -> Opened:
    """Open every case of every split in the store, building what is not there yet.

    Raises:
        DataError: cases cannot be used and may not be skipped, or too few are left.
    """
    cases = [case for part in plan.splits.values() for case in part]
    store = Store(configuration, references=configuration.task.needs_references)
    opened = store.open_all(cases, partial(progress, "cases ready"))
    if resume:  # of which no case may be left out, whatever is typed
        refuse_changed(opened.wrong)
    refuse_or_skip(opened.wrong, len(cases), Place(configuration.dataset, plan.data), skip_bad=skip_bad)
    if configuration.preprocessing.frame == "brain":  # whose boxes the plan could not know
        warn_of_windows(configuration, {case.region for case in opened.cases})
    named = {case.name: case for case in opened.cases}
    splits = {part: [named[case.name] for case in cases if case.name in named] for part, cases in plan.splits.items()}
    refuse_empty(splits)
    return Opened(splits, {**plan.left_out, **opened.wrong})


def open_session(configuration: Configuration, checkpoint: Path | None = None, logs: Path | None = None) -> Session:
    """Build the network and take it to its engine: to be trained, or from a checkpoint to predict.

    Args:
        configuration: of the run.
        checkpoint: a folder of one; None to train.
        logs: folder for what other processes say, if the engine has any.

    Raises:
        CheckpointError: the checkpoint belongs to another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(configuration.seed, "weights"))
        network = configuration.network()
    session = configuration.engine.open(network, configuration.training if checkpoint is None else None, logs)
    if checkpoint is not None:
        session.load(checkpoint)
    return session
