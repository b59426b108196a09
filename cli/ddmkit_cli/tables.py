"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit.scoring import Score, Summary


def score_table(title: str, scores: Sequence[Score], summary: Mapping[str, Summary]) -> Table:
    """Return Dice and HD95 per case and region, with mean ± standard deviation below."""
    table = Table(title=title, title_justify="left", show_footer=False)
    table.add_column("case")
    table.add_column("region")
    table.add_column("Dice", justify="right")
    table.add_column("HD95 [mm]", justify="right")
    table.add_column("note")
    for score in scores:
        table.add_row(score.case, score.region, f"{score.dice:.3f}", f"{score.hd95:.2f}", score.note or "")
    table.add_section()
    for region, row in summary.items():
        table.add_row(
            f"mean of {row['n']}",
            region,
            f"{row['dice_mean']:.3f} ± {row['dice_std']:.3f}",
            f"{row['hd95_mean']:.2f} ± {row['hd95_std']:.2f}",
            f"{row['missed']} missed" if row["missed"] else "",
            style="bold",
        )
    return table


def fact_table(title: str, facts: Mapping[str, str]) -> Table:
    """Return names and values, one a row."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, value)
    return table
