"""Whole runs: what they leave behind, and that nothing of them is lost however they are stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.core.run.whole_runs import (
    SMALL,
    KilledError,
    StopAt,
    ask_to_stop,
    assert_same,
    exact,
    kill,
    losses,
    tensors,
)

from ddmkit import DivergedError, InterruptedRunError, hookimpl
from ddmkit.assembly import build, read_tree
from ddmkit.measures import dice
from ddmkit.run.folder import read_state
from ddmkit.run.plan import make_plan
from ddmkit.run.trainer import open_session
from ddmkit.sampling import Model, answer_case
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.core.run.whole_runs import Runs

    from ddmkit.events import Report, Run, StepDone, Validation

EVERYTHING = ("training.ema=0.9", "training.warmup=3", "training.decay=cosine", "training.gradient_clip=0.5")


def test_a_run_leaves_metrics_checkpoints_and_pointers_that_agree(runs: Runs) -> None:
    folder, report = runs.start("a", "validation.test=true")
    lines = folder.metrics()
    kinds = ["step"] * 4 + ["validation"] + ["step"] * 4 + ["validation", "test"]
    assert [line["kind"] for line in lines] == kinds
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 9))
    validations = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in validations] == [4, 8]
    means = [np.mean([score["dice"] for score in line["scores"]]) for line in validations]
    best = 4 if means[0] > means[1] else 8
    assert folder.find_checkpoint("best").name == f"step-{best:08d}"
    assert folder.find_checkpoint("last").name == "step-00000008"
    assert [line["best"] for line in validations] == [True, best == 8]
    state = read_state(folder.find_checkpoint("last"))
    assert (state.step, state.validated) == (8, 8)
    assert state.best is not None
    assert state.best.step == best
    assert state.best.value == pytest.approx(max(means))
    assert (report.status, report.step, report.best_step) == ("completed", 8, best)
    assert report.final is not None
    assert (report.final.split, report.final.step) == ("test", best)
    assert lines[-1]["step"] == best


def test_the_later_of_two_equal_validations_is_the_best(runs: Runs) -> None:
    never_moves = "training.learning_rate=1e-30"
    folder, report = runs.start("a", never_moves, "training.weight_decay=0")
    assert report.best_step == 8
    assert folder.find_checkpoint("best").name == "step-00000008"


def test_the_test_is_scored_with_the_best_checkpoint_and_a_case_is_pictured(runs: Runs) -> None:
    options = ("validation.test=true", "training.learning_rate=1e-30", "training.weight_decay=0")
    folder, report = runs.start("a", *options)
    configuration = runs.configured(*SMALL, *options)
    plan = make_plan(configuration, runs.data)
    (case,) = [Store(configuration).open(case) for case in plan.splits["test"]]
    model = Model(configuration, open_session(configuration, folder.find_checkpoint("best")))
    reference = case.reference()
    assert reference is not None
    one = answer_case(model, case, ensemble=1, seed=0)
    assert report.final is not None
    assert report.final.scores[0].dice == dice(one.labels > 0, reference > 0)
    two = answer_case(model, case, ensemble=2, seed=0)
    assert report.picture is not None
    assert (report.picture.case, report.picture.members) == (case.name, 2)
    assert np.array_equal(report.picture.answer, two.labels > 0)
    assert np.array_equal(report.picture.reference, reference > 0)
    assert np.array_equal(report.picture.variance, two.variance[0])
    assert report.picture.image.shape == reference.shape
    assert report.picture.modality == configuration.task.modalities[-1]


def test_without_a_test_the_validation_that_chose_is_reported_and_pictured(runs: Runs) -> None:
    folder, report = runs.start("a")
    assert report.final is not None
    assert (report.final.split, report.final.step) == ("validation", report.best_step)
    written = [line for line in folder.metrics() if line["kind"] == "validation" and line["step"] == report.best_step]
    assert [score._asdict() for score in report.final.scores] == written[0]["scores"]
    assert "test" not in [line["kind"] for line in folder.metrics()]
    plan = make_plan(runs.configured(*SMALL), runs.data)
    assert report.picture is not None
    assert report.picture.case in [case.name for case in plan.splits["validation"]]


def test_a_run_learns(runs: Runs) -> None:
    folder, _ = runs.start("a", "training.steps=60", "validation.every=60")
    assert np.mean(losses(folder)[-10:]) < np.mean(losses(folder)[:10]) / 2


def test_a_saved_configuration_gives_the_same_run_bit_for_bit(runs: Runs) -> None:
    first, _ = runs.start("a", *EVERYTHING, "validation.test=true")
    again = runs.folder("b")
    configuration = build(runs.registry, read_tree(first.configuration_file))
    runs.train(again, configuration)
    assert_same(first, again)


def test_a_run_does_not_depend_on_torchs_own_generator_and_leaves_it_alone(runs: Runs) -> None:
    first, _ = runs.start("a")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    second, _ = runs.start("b")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(first, second)


@pytest.mark.parametrize(("step", "options"), [(3, ()), (1, EVERYTHING), (4, EVERYTHING), (8, EVERYTHING)])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(runs: Runs, step: int, options: tuple[str, ...]) -> None:
    whole, _ = runs.start("whole", *options)
    runs.registry.register(StopAt(step, ask_to_stop))
    with pytest.raises(InterruptedRunError) as caught:
        runs.start("stopped", *options)
    folder = runs.folder("stopped")
    assert (
        str(caught.value)
        == f"Stopped after step {step}, which is saved. Go on with: ddmkit train --resume {folder.path}"
    )
    assert read_state(folder.find_checkpoint("last")).step == step
    assert_same(whole, runs.resume("stopped", *options)[0])


@pytest.mark.parametrize("step", [4, 5])
def test_a_killed_run_goes_on_from_its_last_checkpoint_as_if_it_had_not_been(runs: Runs, step: int) -> None:
    whole, _ = runs.start("whole", *EVERYTHING)
    runs.registry.register(StopAt(step, kill))
    with pytest.raises(KilledError):
        runs.start("killed", *EVERYTHING)
    assert read_state(runs.folder("killed").find_checkpoint("last")).step == (step - 1) // 2 * 2
    assert_same(whole, runs.resume("killed", *EVERYTHING)[0])


@pytest.mark.parametrize(
    ("what", "act"),
    [
        ("validation cases sampled", ask_to_stop),
        ("validation cases sampled", kill),
        ("test cases sampled", ask_to_stop),
        ("samples for the picture", kill),
    ],
)
def test_a_run_that_is_stopped_while_it_samples_loses_nothing(runs: Runs, what: str, act: Callable[[], None]) -> None:
    whole, _ = runs.start("whole", "validation.test=true")
    acted: list[str] = []

    def progress(doing: str, _done: int, _total: int) -> None:
        if doing == what and not acted:
            acted.append(doing)
            act()

    with pytest.raises((InterruptedRunError, KilledError)):
        runs.start("stopped", "validation.test=true", progress=progress)
    assert acted
    assert read_state(runs.folder("stopped").find_checkpoint("last")).step == (4 if "validation" in what else 8)
    assert_same(whole, runs.resume("stopped", "validation.test=true")[0])


def test_more_steps_may_be_asked_for_of_a_run_that_is_over(runs: Runs) -> None:
    whole, _ = runs.start("whole")
    runs.start("short", "training.steps=4")
    assert_same(whole, runs.resume("short")[0])


def test_resuming_a_run_that_is_over_only_scores_the_test_again(runs: Runs) -> None:
    folder, first = runs.start("a", "validation.test=true")
    before, weights = exact(folder), tensors(folder)
    _, second = runs.resume("a", "validation.test=true")
    assert exact(folder) == before
    assert all(torch.equal(weights[name], tensor) for name, tensor in tensors(folder).items())
    assert first.final is not None
    assert second.final is not None
    assert second.final.scores == first.final.scores


def test_resuming_with_fewer_steps_than_are_done_validates_and_ends(runs: Runs) -> None:
    runs.registry.register(StopAt(3, ask_to_stop))
    with pytest.raises(InterruptedRunError):
        runs.start("a")
    folder, report = runs.resume("a", "training.steps=2")
    assert (report.status, report.step, report.best_step) == ("completed", 3, 3)
    assert [line["kind"] for line in folder.metrics()] == ["step", "step", "step", "validation"]


def test_micro_batches_give_the_losses_of_the_batch_to_1e_6(runs: Runs) -> None:
    at_once, _ = runs.start("a")
    in_parts, _ = runs.start("b", "engine.micro_batch=1")
    assert losses(in_parts) == pytest.approx(losses(at_once), abs=1e-6)


@pytest.mark.parametrize("options", [("engine.precision=bfloat16",), ("engine.channels_last=true",)])
def test_other_arithmetic_trains_nearly_the_same(runs: Runs, options: tuple[str, ...]) -> None:
    plain, _ = runs.start("a")
    other, report = runs.start("b", *options)
    assert report.status == "completed"
    assert losses(other) == pytest.approx(losses(plain), rel=0.05)
    assert {tensor.dtype for tensor in tensors(other).values()} == {torch.float32}


class Diary:
    """Writes down what a run tells."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []
        self.status = ""

    @hookimpl
    def ddmkit_run_started(self, run: Run) -> None:
        self.heard.append(("started", run.first_step))

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        self.heard.append(("step", step.step))

    @hookimpl
    def ddmkit_checkpoint_saved(self, step: int, folder: Path) -> None:
        assert read_state(folder).step == step
        self.heard.append(("saved", step))

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        self.heard.append((validation.split, validation.step))

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        self.heard.append(("ended", report.step))
        self.status = report.status


def test_a_run_tells_its_events_in_order(runs: Runs) -> None:
    diary = Diary()
    runs.registry.register(diary)
    runs.start("a", "training.steps=3", "validation.every=5")
    steps = [("step", 1), ("step", 2), ("saved", 2), ("step", 3), ("saved", 3)]
    assert diary.heard == [("started", 0), *steps, ("validation", 3), ("ended", 3)]
    assert diary.status == "completed"
    diary.heard.clear()
    runs.registry.register(StopAt(5, ask_to_stop))
    with pytest.raises(InterruptedRunError):
        runs.resume("a")
    assert diary.heard == [
        ("started", 3),
        ("step", 4),
        ("saved", 4),
        ("validation", 4),
        ("step", 5),
        ("saved", 5),
        ("ended", 5),
    ]
    assert diary.status == "interrupted"


def test_a_loss_that_is_not_finite_ends_the_run_at_its_step_and_keeps_the_last_checkpoint(runs: Runs) -> None:
    diary = Diary()
    runs.registry.register(diary)
    said = r"^The (loss|gradient's norm) is (nan|inf) at step 2: .*--resume .*/a -o training"
    with pytest.raises(DivergedError, match=said):
        runs.start("a", "training.learning_rate=1e20", "training.checkpoint_every=1")
    folder = runs.folder("a")
    assert folder.find_checkpoint("last").name == "step-00000001"
    assert all(tensor.isfinite().all() for tensor in tensors(folder).values())
    assert [line["step"] for line in folder.metrics()] == [1]
    assert (diary.status, diary.heard[-1]) == ("failed", ("ended", 1))


def test_a_mistake_in_a_plugin_ends_the_run_for_its_listeners_too(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Diary()
    runs.registry.register(diary)

    def mistaken(*_: object) -> None:
        msg = "a mistake"
        raise ValueError(msg)

    monkeypatch.setattr("ddmkit.run.trainer._Trainer._steps", mistaken)
    said = r"^a mistake\nWhat was saved is whole; once this is mended, go on with: ddmkit train --resume \S+/a$"
    with pytest.raises(ValueError, match=said):
        runs.start("a")
    assert (diary.status, diary.heard) == ("failed", [("started", 0), ("ended", 0)])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heeded_during_a_run_and_is_what_it_was_before_and_after(
    runs: Runs, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    runs.registry.register(StopAt(1, lambda: signal.raise_signal(number)))
    with pytest.raises(InterruptedRunError):
        runs.start("a")
    assert signal.getsignal(number) == before
    runs.resume("a")
    assert signal.getsignal(number) == before


def test_a_second_signal_interrupts_at_once(runs: Runs) -> None:
    def twice() -> None:
        ask_to_stop()
        ask_to_stop()

    runs.registry.register(StopAt(3, twice))
    with pytest.raises(KeyboardInterrupt):
        runs.start("a")
    assert runs.folder("a").find_checkpoint("last").name == "step-00000002"


def loading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ddmkit-loading")]


@pytest.mark.parametrize("act", [ask_to_stop, kill])
def test_no_thread_outlives_a_run_however_it_ends(runs: Runs, act: Callable[[], None]) -> None:
    runs.registry.register(StopAt(2, act))
    with pytest.raises((InterruptedRunError, KilledError)) as caught:
        runs.start("a", "loading.prefetch=50")
    assert caught.tb is not None  # and keeps alive what the run was doing
    assert loading_threads() == []


def test_batches_are_not_pinned_for_the_cpu(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def pin(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    assert runs.start("a", "training.steps=1")[1].status == "completed"


PROGRAM = """
import sys, time
from pathlib import Path
from ddmkit import Registry, hookimpl
from ddmkit.run.folder import RunFolder
from ddmkit.run.plan import make_plan
from ddmkit.run.trainer import train
sys.path.insert(0, sys.argv[1])
from conftest import _Parts
from ddmkit_plugins.engines.single import Single

class Slow:
    @hookimpl
    def ddmkit_components(self):
        return [Single]
    @hookimpl
    def ddmkit_step_done(self):
        time.sleep(0.05)

registry, folder = Registry(_Parts(), Slow()), RunFolder(Path(sys.argv[2]))
configuration = folder.configuration(registry)
train(registry, configuration, make_plan(configuration, Path(sys.argv[3])), folder, resume=True)
"""


def test_a_program_that_is_killed_can_be_gone_on_with_as_if_it_had_not(runs: Runs, pytestconfig: pytest.Config) -> None:
    whole, _ = runs.start("whole")
    folder = runs.folder("killed")
    plan = make_plan(runs.configured(*SMALL), runs.data)
    names = {split: [case.name for case in cases] for split, cases in plan.splits.items()}
    folder.create(runs.configured(*SMALL), names)  # as if killed before its first checkpoint, too
    parts = pytestconfig.rootpath / "tests" / "core"
    command = [sys.executable, "-c", PROGRAM, str(parts), str(folder.path), str(runs.data)]
    with subprocess.Popen(command) as program:
        while not (folder.checkpoints / "last").is_file():
            assert program.poll() is None
            time.sleep(0.01)
        program.kill()
    assert 2 <= read_state(folder.find_checkpoint("last")).step < 8
    assert_same(whole, runs.resume("killed")[0])


def test_scores_keep_the_definition_they_were_made_by(runs: Runs) -> None:
    folder, report = runs.start("a", "split.test=0", "scoring.hd95=maximum", "scoring.tolerance=2")
    (line, *_) = [record for record in folder.records() if record["kind"] == "validation"]
    assert report.final is not None
    assert line["scoring"] == {"hd95": "maximum", "tolerance": 2}
    assert line["definition"] == report.final.scoring.definition()
    _, again = runs.resume("a", "split.test=0", "scoring.hd95=mean")
    assert again.final == report.final  # scored before it went on
