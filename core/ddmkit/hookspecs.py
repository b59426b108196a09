"""The hooks a plugin may implement: one offers components, one offers presets, the others tell of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit.component import Component
    from ddmkit.events import Report, Run, StepDone, Validation

hookspec = pluggy.HookspecMarker("ddmkit")
hookimpl = pluggy.HookimplMarker("ddmkit")
"""Marks a plugin's function, or a listener's method, as the hook that it is named after."""


@hookspec
def ddmkit_components() -> list[type[Component]]:  # type: ignore[empty-body]  # pluggy never calls a specification
    """Return the component classes this plugin offers.

    Each is filed under its `kind` and `name`. Import heavy libraries inside the components' methods, not at the
    top of their files: every `ddmkit plugins list` runs this hook.
    """


@hookspec
def ddmkit_presets() -> Path:  # type: ignore[empty-body]  # pluggy never calls a specification
    """Return a folder of presets: partial configurations, one `NAME.yaml` each; its first comment is its help."""


@hookspec
def ddmkit_run_started(run: Run) -> None:
    """A run starts or goes on: its folder and configuration stand.

    It comes first, once the cases are read and the network is where it will learn, before any step. Of a run that
    goes on, `run.first_step` is the step of the checkpoint that it goes on from. For example::

        @hookimpl
        def ddmkit_run_started(run: Run) -> None:
            print(f"{run.folder} begins at step {run.first_step} on {run.where or 'this machine'}")
    """


@hookspec
def ddmkit_step_done(run: Run, step: StepDone) -> None:
    """An optimizer step is done.

    It comes after every step, before the checkpoint and the validation that may be due. The run waits for it, so it
    should be quick. For example::

        @hookimpl
        def ddmkit_step_done(step: StepDone) -> None:
            print(f"step {step.step}: loss {step.loss:.4f}, {step.seconds:.2f} s")
    """


@hookspec
def ddmkit_validated(run: Run, validation: Validation) -> None:
    """Whole volumes were sampled and scored.

    It comes every `validation.every` steps and after the last one, with the cases that choose the best checkpoint, and
    once more at the end with those that were kept for the test (`validation.split`). For example::

        @hookimpl
        def ddmkit_validated(validation: Validation) -> None:
            first = validation.figures[0]
            for row, values in validation.summary.items():
                print(f"{validation.split} at step {validation.step}: {row} {first.text(values[first.key])}")
    """


@hookspec
def ddmkit_checkpoint_saved(run: Run, step: int, folder: Path) -> None:
    """A checkpoint stands on disk, whole.

    It comes every `training.checkpoint_every` steps, before each validation, and when a run is stopped. `step` is the
    number of steps done, `folder` holds `model.safetensors` and what else resuming needs; older checkpoints may be
    removed later. For example::

        @hookimpl
        def ddmkit_checkpoint_saved(step: int, folder: Path) -> None:
            print(f"{folder.name} is safe: {len(list(folder.iterdir()))} files after step {step}")
    """


@hookspec
def ddmkit_run_ended(run: Run, report: Report) -> None:
    """A run is over: completed, interrupted or failed.

    It comes last, whatever ended the run, an error that ddmkit names or a mistake in a plugin's code included; only
    not where the process is killed. For example::

        @hookimpl
        def ddmkit_run_ended(report: Report) -> None:
            print(f"{report.status} after step {report.step}; the best checkpoint is of step {report.best_step}")
    """
