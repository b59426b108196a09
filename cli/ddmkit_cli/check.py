"""`ddmkit check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ddmkit_cli.console import bars, out

if TYPE_CHECKING:
    from ddmkit import Case, Dataset

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
    cases = find_cases(layout, path)
    table = Table(title=f"{len(cases)} cases under {path}", title_justify="left")
    for heading in ("case", "shape", "spacing [mm]", "labels (voxels)", "what is wrong"):
        table.add_column(heading)
    wrong = 0
    with bars() as progress:
        for number, case in enumerate(cases, start=1):
            row = _row(case, layout)
            wrong += bool(row[-1])
            table.add_row(*row)
            progress("cases read", number, len(cases))
    out.print(table)
    if wrong:
        msg = f"{wrong} of {len(cases)} cases cannot be used as they are; the table says why."
        raise DataError(msg)


def _row(case: Case, dataset: Dataset) -> tuple[str, str, str, str, str]:
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
