"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit.scoring import Score, Summary


def table_of(title: str, *headings: str) -> Table:
    """Return an empty table; what is too long for its column is folded, never cut."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def score_table(title: str, scores: Sequence[Score], summary: Mapping[str, Summary]) -> Table:
    """Return Dice and HD95 per case and region, with mean ± standard deviation below."""
    table = table_of(title, "case", "region", "Dice", "HD95 [mm]", "note")
    for column in table.columns[2:4]:
        column.justify = "right"
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
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table
