"""`ddmkit check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ddmkit_cli.console import bars, out
from ddmkit_cli.tables import table_of

if TYPE_CHECKING:
    from ddmkit import Case, Dataset

_Row: TypeAlias = tuple[str, str, str, str, str]
_HEADINGS = ("case", "shape", "spacing [mm]", "labels (voxels)", "what is wrong")
EXAMPLES = "Example: [bold]ddmkit check BraTS2020/[/bold]"


def check(
    path: Annotated[Path, typer.Argument(help="Folder of cases.", metavar="PATH")],
    dataset: Annotated[str, typer.Option(help="Layout of that folder.")] = "brats",
) -> None:
    """Read every case under a path and say what is wrong; change nothing."""
    from ddmkit import DataError, Dataset, Registry
    from ddmkit.assembly import make
    from ddmkit.run.plan import find_cases

    layout = make(Registry().get(Dataset, dataset), "dataset", {})
    cases, broken = layout.survey(path)
    if not broken:
        cases = find_cases(layout, path)  # says what was looked for if there are none
    rows: list[_Row] = [(name, "", "", "", reason) for name, reason in broken.items()]
    total = len(cases) + len(broken)
    with bars() as progress:
        for number, case in enumerate(cases, start=len(broken) + 1):
            rows.append(_row(case, layout))
            progress("cases read", number, total)
    table = table_of(f"{total} cases under {path}", *_HEADINGS)
    for row in sorted(rows):
        table.add_row(*row)
    out.print(table)
    if wrong := sum(1 for row in rows if row[-1]):
        msg = f"{wrong} of {total} cases cannot be used as they are; the table says why."
        raise DataError(msg)


def _row(case: Case, dataset: Dataset) -> _Row:
    import numpy as np

    from ddmkit import DataError
    from ddmkit.volume import read_volume

    try:
        volume = read_volume(case, tuple(case.images), dataset.labels)
    except DataError as error:
        return case.name, "", "", "", str(error)
    shape = "×".join(map(str, volume.images.shape[1:]))
    spacing = "×".join(f"{side:.3g}" for side in volume.spacing)
    if volume.labels is None:
        return case.name, shape, spacing, "no reference", ""
    counts = np.bincount(volume.labels.ravel(), minlength=len(volume.classes))
    labels = ", ".join(f"{name} {count}" for name, count in zip(volume.classes[1:], counts[1:], strict=True))
    return case.name, shape, spacing, labels, ""
