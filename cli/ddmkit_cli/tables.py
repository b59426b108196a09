"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ddmkit.summary import CONFIDENCE, summarise
from ddmkit_cli.console import out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit.comparison import Comparison
    from ddmkit.definition import Scoring
    from ddmkit.scoring import Score
    from ddmkit.summary import Summary


def table_of(title: str, *headings: str) -> Table:
    """Return an empty table; what is too long for its column is folded, never cut."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_scores(title: str, scores: Sequence[Score], scoring: Scoring) -> None:
    """Print the scores of each case and region, and below them what they come to."""
    out.print(score_table(title, scores, scoring))
    out.print(summary_table(summarise(scores), scoring))


def score_table(title: str, scores: Sequence[Score], scoring: Scoring) -> Table:
    """Return a row for each case and region."""
    titles = scoring.titles()
    table = table_of(title, "case", "region", *titles.values(), "note")
    justify(table, list(titles.values()), width=8)
    for score in scores:
        numbers = (f"{score.dice:.3f}", f"{score.hd95:.2f}", f"{score.surface_dice:.3f}")
        table.add_row(score.case, score.region, *numbers, score.note or "")
    return table


def summary_table(summary: Mapping[str, Summary], scoring: Scoring) -> Table:
    """Return a row for each region: mean ± standard deviation, and the interval of the mean below it."""
    titles = scoring.titles()
    table = table_of("", "region", "cases", "missed", *titles.values())
    justify(table, ["cases", "missed", *titles.values()])
    for region, row in summary.items():
        numbers = (
            _spread(row["dice_mean"], row["dice_std"], row["dice_interval"], 3),
            _spread(row["hd95_mean"], row["hd95_std"], row["hd95_interval"], 2),
            _spread(row["surface_dice_mean"], row["surface_dice_std"], row["surface_dice_interval"], 3),
        )
        table.add_row(region, str(row["n"]), str(row["missed"]), *numbers)
    table.title = f"Mean ± standard deviation over cases; below it the mean's {CONFIDENCE:.0%} interval"
    return table


def comparison_table(title: str, comparison: Mapping[str, Comparison], scoring: Scoring) -> Table:
    """Return a row for each region and score: the mean difference, how sure it is, and who is better how often."""
    headings = ("mean difference", "p", "A better / equal / worse")
    table = table_of(title, "region", "score", *headings)
    justify(table, headings)
    for region, row in comparison.items():
        for difference, name, decimals in (
            (row["dice"], scoring.titles()["dice"], 3),
            (row["hd95"], scoring.titles()["hd95"], 2),
            (row["surface_dice"], scoring.titles()["surface_dice"], 3),
        ):
            mean = f"{difference['mean']:+.{decimals}f}{_interval(difference['interval'], decimals, '+')}"
            chance = "–" if difference["p"] is None else f"{difference['p']:.2g}"
            counts = f"{difference['better']} / {difference['equal']} / {difference['worse']}"
            table.add_row(region, name, mean, chance, counts)
        table.add_section()
    return table


def print_definition(definition: Mapping[str, str]) -> None:
    """Print what numbers mean, below them."""
    for name, meaning in definition.items():
        out.print(f"{name}: {meaning}", style="dim")


def justify(table: Table, headings: Sequence[str], width: int | None = None) -> None:
    """Lay columns of numbers to the right, their headings folded to a width."""
    for column in table.columns:
        if column.header in headings:
            column.justify, column.max_width = "right", width


def _spread(mean: float, std: float, interval: Sequence[float] | None, decimals: int) -> str:
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}{_interval(interval, decimals)}"


def _interval(interval: Sequence[float] | None, decimals: int, sign: str = "") -> str:
    if interval is None:
        return ""
    low, high = (f"{end:{sign}.{decimals}f}" for end in interval)
    return f"\n{low} to {high}" if sign else f"\n{low}–{high}"


def fact_table(title: str, facts: Mapping[str, str]) -> Table:
    """Return names and values, one a row."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table
