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
    """A run starts or goes on: its folder and configuration stand."""


@hookspec
def ddmkit_step_done(run: Run, step: StepDone) -> None:
    """An optimizer step is done."""


@hookspec
def ddmkit_validated(run: Run, validation: Validation) -> None:
    """Whole volumes were sampled and scored."""


@hookspec
def ddmkit_checkpoint_saved(run: Run, step: int, folder: Path) -> None:
    """A checkpoint stands on disk, whole."""


@hookspec
def ddmkit_run_ended(run: Run, report: Report) -> None:
    """A run is over: completed, interrupted or failed."""
