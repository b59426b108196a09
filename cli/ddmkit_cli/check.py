"""`ddmkit check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ddmkit.sizes import sides_of
from ddmkit_cli.console import bars, out, say
from ddmkit_cli.options import layout_of, refuse_fixed
from ddmkit_cli.tables import table_of

if TYPE_CHECKING:
    from ddmkit import Case

EXAMPLES = "Examples: [bold]ddmkit check BraTS2020/[/bold] · [bold]ddmkit check mine/ --json report.json[/bold]"
_HEADINGS = ("case", "modalities", "shape", "spacing [mm]", "axes", "labels: voxels", "what is wrong")
_THREADS = 4
"""Each holds a case in memory."""


def check(
    path: Annotated[Path, typer.Argument(help="Folder of cases.", metavar="PATH")],
    dataset: Annotated[
        str | None, typer.Option(help="Layout of that folder. [default: told by looking]", metavar="D")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write what was found here.", metavar="FILE")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("-o", metavar="DATASET.FIELD=VALUE", help="Settings of the layout. Repeatable.")
    ] = None,
) -> None:
    """Read every case under a path, every voxel of it, and say what is wrong; change nothing.

    What makes a case unusable here makes train and sample refuse it; a warning does not.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ddmkit import DataError, Registry
    from ddmkit.files import write_text
    from ddmkit.run.cases import find_cases

    refuse_fixed(option or [], ("dataset",), "is no setting of the data's layout")
    layout = layout_of(Registry(), path, dataset, option or [])
    cases, broken = find_cases(layout, path)
    say(f"{path} is laid out as {layout.name!r}: {len(cases) + len(broken)} cases.")
    findings = [_Finding(name, error=reason) for name, reason in broken.items()]
    with bars() as progress, ThreadPoolExecutor(_THREADS) as pool:
        for finding in pool.map(_look_at, cases):
            findings.append(finding)
            progress("cases read", len(findings), len(cases) + len(broken))
    findings.sort(key=lambda finding: finding.case)
    _print(f"{len(findings)} cases under {path}, laid out as {layout.name!r}", findings)
    if json_file is not None:
        report = {"dataset": layout.name, "cases": [finding._asdict() for finding in findings]}
        write_text(json_file, json.dumps(report, indent=2) + "\n")
    if wrong := sum(1 for finding in findings if finding.error):
        msg = f"{wrong} of {len(findings)} cases cannot be used as they are; the table says why."
        raise DataError(msg)


class _Finding(NamedTuple):
    """What there is to say of a case."""

    case: str
    modalities: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axes: str = ""
    labels: tuple[dict[str, Any], ...] | None = None
    """Meaning, numbers and count of voxels of each class; None without a reference."""
    warnings: tuple[str, ...] = ()
    error: str | None = None
    rule: str | None = None
    """Which of `ddmkit.rules` the error is a breach of, if it is of one."""

    def row(self) -> tuple[str, ...]:
        """Return the finding as it stands in the table."""
        wrong = " ".join([*([self.error] if self.error else []), *(f"Warning: {said}" for said in self.warnings)])
        labels = "no reference" if self.labels is None else _words(self.labels)
        return (
            self.case,
            " ".join(self.modalities),
            sides_of(self.shape),
            sides_of(f"{side:.3g}" for side in self.spacing),
            self.axes,
            labels if self.shape else "",
            wrong,
        )


def _words(labels: tuple[dict[str, Any], ...]) -> str:
    return ", ".join(
        f"{' or '.join(map(str, label['numbers']))} {label['meaning']}: {label['voxels']}" for label in labels
    )


def _print(title: str, findings: list[_Finding]) -> None:
    table = table_of(title, *_HEADINGS)
    for finding in findings:
        table.add_row(*finding.row())
    out.print(table)


def _look_at(case: Case) -> _Finding:
    import numpy as np

    from ddmkit import DataError
    from ddmkit.errors import RefusedDataError
    from ddmkit.volume import orientation_of, read_volume, spacing_of

    warnings: list[str] = []
    modalities = tuple(case.images)
    try:
        volume = read_volume(case, modalities, warnings.append)
    except DataError as error:
        rule = error.rule if isinstance(error, RefusedDataError) else None
        return _Finding(case.name, modalities, warnings=tuple(warnings), error=str(error), rule=rule)
    labels = None
    if volume.labels is not None:
        counts = np.bincount(volume.labels.ravel(), minlength=len(volume.classes)).tolist()
        labels = tuple(
            {"meaning": meaning, "numbers": [n for n, name in case.labels.items() if name == meaning], "voxels": count}
            for meaning, count in zip(volume.classes[1:], counts[1:], strict=True)
        )
    return _Finding(
        case.name,
        modalities,
        volume.images.shape[1:],
        spacing_of(volume.affine),
        orientation_of(volume.affine),
        labels,
        tuple(warnings),
    )
