"""`ddmkit calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddmkit_cli.console import out, result, say
from ddmkit_cli.options import layout_of, refuse_fixed
from ddmkit_cli.predictions import Predictions, References, open_predictions
from ddmkit_cli.reliability import Measured, measure, reliability_table, sampled_task
from ddmkit_cli.tables import print_definition

if TYPE_CHECKING:
    from ddmkit import Registry
    from ddmkit.calibration import Curve
    from ddmkit.reliability import Counts, Reliability

EXAMPLES = (
    "Example: [bold]ddmkit sample runs/mine --input BraTS2020/ --split validation --ensemble 15 --out kept/[/bold], "
    "[bold]ddmkit calibrate kept/ --reference BraTS2020/ --out calibration.json[/bold], "
    "[bold]ddmkit sample runs/mine --input BraTS2020/ --split test --ensemble 15 --calibration calibration.json "
    "--out answers/[/bold]"
)
_FREE = ("dataset",)
_BEFORE, _AFTER, _OTHERS = "mean", "calibrated", "other half"


def calibrate(
    answers: Annotated[Path, typer.Argument(help="Folder that ddmkit sample wrote.", metavar="ANSWERS")],
    reference: Annotated[Path, typer.Option(help="Folder of cases with references.", metavar="PATH")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the calibration goes, as JSON.", metavar="FILE")],
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the reference folder. [default: told by looking]", metavar="D")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="KIND.FIELD=VALUE", help="Settings of the layout. Repeatable."),
    ] = None,
    *,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without cases that cannot be used.")] = False,
) -> None:
    """Learn from validation cases how often a voxel is foreground where the ensemble's mean says so much.

    The mean of an ensemble is between 0 and 1, but is no probability: where it says 0.8, more or fewer than 8 of 10
    voxels may be foreground. ddmkit sample --calibration FILE writes beside the mean what it stands for.
    """
    from ddmkit import Registry
    from ddmkit.calibration import CALIBRATION_DEFINITION, fit
    from ddmkit.reliability import RELIABILITY_DEFINITION, together

    registry, options = Registry(), option or []
    refuse_fixed(options, _FREE, "is no setting of the layout")
    layout = layout_of(registry, reference, dataset, options)
    side = open_predictions(registry, answers, References.under(layout, reference), None, skip_bad=skip_bad)
    measured = _measure(registry, side, skip_bad=skip_bad)
    _note_splits(side, measured)
    by_channel = measured.by_map()["mean"]
    curves = {channel: fit(together(counts)) for channel, counts in by_channel.items()}
    rows = {channel: _compare(counts, curves[channel]) for channel, counts in by_channel.items()}
    flat = {(channel, what): row for channel, of_channel in rows.items() for what, row in of_channel.items()}
    out.print(reliability_table(f"Calibration fitted to {answers} against {reference}", flat))
    definition = RELIABILITY_DEFINITION | CALIBRATION_DEFINITION
    print_definition(definition)
    _write(out_file, side, measured, curves, {"reliability": rows, "definition": definition})
    result(f"Wrote {out_file}: sample alike with --calibration {out_file}.")


def _measure(registry: Registry, side: Predictions, *, skip_bad: bool) -> Measured:
    """Count the mean maps of all cases.

    Raises:
        DataError: there are none, or some cannot be counted and may not be skipped.
    """
    from ddmkit import DataError
    from ddmkit.run.cases import few

    task = sampled_task(registry, side)
    if task is None:
        msg = f"{side.path} has no sample.json, which says how its answers were sampled: give what ddmkit sample wrote."
        raise DataError(msg)
    measured = measure(side, task, side.pairs)
    if measured.left_out and not (skip_bad and measured.counts):
        named = few([f"{name} ({reason})" for name, reason in measured.left_out.items()])
        msg = (
            f"{len(measured.left_out)} of {len(side.pairs)} cases in {side.path} cannot be counted: {named}; mend "
            "them, or go on without them by adding --skip-bad."
        )
        raise DataError(msg)
    if not measured.counts:
        msg = f"{side.path} holds no mean maps of masks (CASE_mean.nii.gz): give what ddmkit sample wrote."
        raise DataError(msg)
    for name, reason in measured.left_out.items():
        say(f"warning: left out {name}: {reason}")
    return measured


def _note_splits(side: Predictions, measured: Measured) -> None:
    """Warn of cases that are no validation cases of the run."""
    from ddmkit.run.cases import few

    for split, harm in (
        ("train", "the network knows them, and its means are surer there than on new cases"),
        ("test", "scores of calibrated maps on them will say nothing about new cases"),
    ):
        said = side.record.cases
        names = [name for name in measured.counts if name in said and said[name].split == split]
        if names:
            say(
                f"warning: {len(names)} of the {len(measured.counts)} cases are {split} cases of the run: "
                f"{few(names)}; {harm}. Sample with --split validation for cases that are kept for this."
            )


def _compare(counts: list[Counts], curve: Curve) -> dict[str, Reliability]:
    """Return the reliability of a channel before and after, after also of cases that a curve does not know."""
    from ddmkit.calibration import calibrated, on_other_halves
    from ddmkit.reliability import together

    total = together(counts)
    rows = {_BEFORE: total.reliability(), _AFTER: calibrated(total, curve).reliability()}
    others = on_other_halves(counts)
    if others is None:
        say("warning: there is a single case, so nothing tells how well the calibration fits others.")
        return rows
    return {**rows, _OTHERS: others}


def _write(path: Path, side: Predictions, measured: Measured, curves: dict[str, Curve], found: dict[str, Any]) -> None:
    from ddmkit.calibration import Calibration, deciding, write_calibration

    facts = side.record.facts
    calibration = Calibration(made_by=deciding(facts), cases=tuple(measured.counts), curves=curves)
    told = {what: facts.get(what) for what in ("run", "checkpoint")} | {"left_out": measured.left_out} | found
    write_calibration(path, calibration, told)
