"""Tables that commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from ddmkit.summary import CONFIDENCE, summarise
from ddmkit_cli.console import out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ddmkit.comparison import Comparison
    from ddmkit.definition import Scoring
    from ddmkit.events import Validation
    from ddmkit.judging import Figure, PairJudge, Summary
    from ddmkit.scoring import Score


def table_of(title: str, *headings: str) -> Table:
    """Return an empty table; what is too long for its column is folded, never cut."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def print_scores(title: str, scores: Sequence[Score], figures: Sequence[Figure]) -> None:
    """Print the scores of each case and region, and below them what they come to."""
    out.print(score_table(title, scores, figures))
    mean = f"Mean ± standard deviation over cases; below it the mean's {CONFIDENCE:.0%} interval"
    out.print(summary_table(mean, "region", summarise(scores), figures))


def print_validation(title: str, validation: Validation) -> None:
    """Print what sampled volumes were judged as: case by case where they were, else the set."""
    if validation.scores:
        print_scores(title, validation.scores, validation.figures)
    else:
        out.print(summary_table(title, "set", validation.summary, validation.figures))


def score_table(title: str, scores: Sequence[Score], figures: Sequence[Figure]) -> Table:
    """Return a row for each case and region."""
    headings = [figure.heading for figure in figures]
    table = table_of(title, "case", "region", *headings, "note")
    justify(table, headings, width=8)
    for score in scores:
        numbers = (figure.text(getattr(score, figure.name)) for figure in figures)
        table.add_row(score.case, score.region, *numbers, score.note or "")
    return table


def case_table(title: str, judge: PairJudge) -> Table:
    """Return a row for each case."""
    headings = [figure.heading for figure in judge.figures]
    table = table_of(title, "case", *headings)
    justify(table, headings)
    for case, values in judge.by_case().items():
        table.add_row(case, *(figure.text(values[figure.name]) for figure in judge.figures))
    return table


def summary_table(title: str, rows: str, summary: Summary, figures: Sequence[Figure]) -> Table:
    """Return a row for each region or set; of figures that each case has, the mean, its spread and its interval.

    Args:
        title: of the table.
        rows: what each row is of, "region" or "set".
        summary: the figures by row.
        figures: what they are.
    """
    counts = {"n": "cases", "missed": "missed"}
    there = {key: name for key, name in counts.items() if all(key in row for row in summary.values())}
    headings = [*there.values(), *(figure.heading for figure in figures)]
    table = table_of(title, rows, *headings)
    justify(table, headings)
    for name, row in summary.items():
        numbers = (_spread(row, figure) if figure.by_case else figure.text(row[figure.key]) for figure in figures)
        table.add_row(name, *(str(row[key]) for key in there), *numbers)
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


def _spread(row: Mapping[str, Any], figure: Figure) -> str:
    mean, std, interval = (row[key] for key in figure.keys)
    return f"{figure.text(mean)} ± {figure.text(std)}{_interval(interval, figure.decimals)}"


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
