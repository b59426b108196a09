"""`ddmkit phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ddmkit_cli.console import bars, propose, result

EXAMPLES = "Example: [bold]ddmkit phantom phantoms/ --cases 20 --shape 120,120,80 --seed 1[/bold]"


def phantom(
    folder: Annotated[Path, typer.Argument(help="Where the cases go.", metavar="OUT")],
    cases: Annotated[int, typer.Option(help="How many.", min=1)] = 40,
    shape: Annotated[str, typer.Option(help="Voxels X,Y,Z of 1 mm, up to 240,240,155.", metavar="X,Y,Z")] = "64,64,48",
    seed: Annotated[int, typer.Option(help="The same seed and shape give the same cases.", min=0)] = 0,
) -> None:
    """Write synthetic cases in BraTS2020's names: four contrasts and a reference each.

    They look like brains with tumours, but no patient ever had them: they are for trying things out, and say nothing
    about how well a method works on patients.
    """
    from ddmkit.assembly import make
    from ddmkit_plugins.datasets.phantom import Phantom
    from ddmkit_plugins.datasets.phantom_files import write_phantoms

    sides = [part.strip() for part in shape.split(",")]
    asked = make(Phantom, "phantom", {"count": cases, "shape": sides, "seed": seed})
    with bars() as progress:
        write_phantoms(folder, asked.count, asked.shape, asked.seed, progress)
    result(f"{cases} cases in {folder}")
    propose("train", "--data", folder)
