"""Pictures of a run: the loss over its steps, how its validations were judged, one case as it was answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit import hookimpl

if TYPE_CHECKING:
    from ddmkit.events import Report, Run, Validation

ddmkit_contained = True


@hookimpl
def ddmkit_validated(run: Run, validation: Validation) -> None:
    if validation.split == "validation":
        _draw_curves(run)


@hookimpl
def ddmkit_run_ended(run: Run, report: Report) -> None:
    from ddmkit_plugins.trackers.drawing import draw_case, draw_samples

    # A run that came to its end in this process validated its last step in it, which drew them.
    if report.status != "completed" or run.first_step >= report.step:
        _draw_curves(run)
    pictures = run.folder / "pictures"
    if report.picture is not None:
        draw_case(report.picture, pictures / f"{report.picture.case}.png")
    if report.samples is not None:
        draw_samples(report.samples, pictures / f"{report.samples.case}.png")


def _draw_curves(run: Run) -> None:
    from ddmkit.run.folder import RunFolder
    from ddmkit_plugins.trackers.curves import read_curves
    from ddmkit_plugins.trackers.drawing import draw_curves

    folder = RunFolder(run.folder)
    draw_curves(read_curves(folder), folder.pictures / "curves.png")
