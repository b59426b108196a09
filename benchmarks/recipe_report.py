"""What `benchmarks.recipe` found, as tables and a picture."""

from __future__ import annotations

import statistics
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.machine import slug, write
from benchmarks.recipe_arms import ABLATION, ARMS, MAIN, PLUS, SUPERVISED
from ddmkit.figures import colour, save

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FEW, MANY = 5, 50
"""Sampling steps."""
_TICKS = (0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Values of Dice that are marked in the picture."""
_LEAST = 0.016
"""What is missing from a Dice of 1, at least, to be seen there."""
_COLUMNS = (
    "whole volumes",
    "window by window",
    "with a tumour: whole volumes",
    "window by window",
    "gap",
    "healthy ones marked",
    f"{MANY} steps instead of {FEW}",
    "training steps",
    "seconds a step",
)
_EXPLAINED = (
    f"Dice: mean over unseen cases, sampled in {FEW} steps, and over seeds, ± standard deviation of the seeds' means. "
    "A healthy case counts 1 where nothing is marked and 0 where anything is, which moves a mean over few cases much: "
    "cases with a tumour are therefore given apart, with the gap, window by window minus whole volumes, and how many "
    "of the healthy ones, of all seeds together, were marked in whole volumes and window by window. "
    f"{MANY} steps instead of {FEW}: what that adds to the mean of those of the first cases that have a tumour. "
    f"{SUPERVISED}: window by window is nnU-Net's sliding window."
)


class _Group(NamedTuple):
    """Arms that trained as long."""

    minutes: float
    arms: Sequence[str]


def report(found: Sequence[dict[str, Any]], arguments: dict[str, Any], out: Path) -> None:
    """Write JSON, Markdown and PNG.

    Args:
        found: results, one for each training.
        arguments: of the command, of which the minutes say what stands in which table.
        out: the folder.
    """
    groups = [_Group(arguments["minutes"], list(MAIN)), _Group(arguments["ablation_minutes"], [PLUS, *ABLATION])]
    tables = [_table(found, group) for group in groups]
    shown = {one["arm"] for one in found}
    about = "; ".join(f"{name}: {arm.about}" for name, arm in ARMS.items() if name in shown)
    text = [*filter(None, tables), f"{_EXPLAINED} What an arm is: {about}."]
    write("recipe", {"arguments": arguments, "results": list(found)}, "\n\n".join(text), out)
    _draw(found, groups, out)


def _of(found: Sequence[dict[str, Any]], name: str, minutes: float) -> list[dict[str, Any]]:
    return [one for one in found if one["arm"] == name and one["minutes"] == minutes]


def _table(found: Sequence[dict[str, Any]], group: _Group) -> str:
    """Return a table of the arms that were trained, the best first; nothing where none was."""
    arms = [seeds for name in group.arms if (seeds := _of(found, name, group.minutes))]
    arms.sort(key=lambda seeds: -sum(_means(seeds, "whole", tumour=True)) / len(seeds))
    head = f"| {' | '.join([f'{group.minutes:g} minutes', *_COLUMNS])} |\n|{'---|' * (len(_COLUMNS) + 1)}"
    return "\n".join([head, *map(row, arms)]) if arms else ""


def row(seeds: Sequence[dict[str, Any]]) -> str:
    """Return the row of an arm that was trained with one seed or several."""
    cells = [
        seeds[0]["arm"],
        *(_spread(seeds, way) for way in ("whole", "windows")),
        *(_spread(seeds, way, tumour=True) for way in ("whole", "windows")),
        _gap(seeds),
        _marked(seeds),
        _gain(seeds),
        f"{statistics.fmean(one['steps'] for one in seeds):.0f}",
        f"{seeds[0]['pace']:.3f}",
    ]
    return f"| {' | '.join(cells)} |"


def _means(seeds: Sequence[dict[str, Any]], way: str, *, tumour: bool) -> list[float]:
    """Return the mean Dice of each seed, over all cases or those with a tumour, of which there may be none."""
    chosen = [list(compress(one[way], one["tumour"])) if tumour else one[way] for one in seeds]
    return [statistics.fmean(dice) for dice in chosen if dice]


def _gap(seeds: Sequence[dict[str, Any]]) -> str:
    whole, windows = (_means(seeds, way, tumour=True) for way in ("whole", "windows"))
    return f"{statistics.fmean(windows) - statistics.fmean(whole):+.3f}" if whole else "–"


def _spread(seeds: Sequence[dict[str, Any]], way: str, *, tumour: bool = False) -> str:
    values = _means(seeds, way, tumour=tumour)
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _marked(seeds: Sequence[dict[str, Any]]) -> str:
    """Return how many healthy cases something was marked in, whole and window by window, of how many."""
    healthy = {
        way: [dice for one in seeds for dice, tumour in zip(one[way], one["tumour"], strict=True) if not tumour]
        for way in ("whole", "windows")
    }
    whole, windows = (values.count(0) for values in healthy.values())
    return f"{whole} and {windows} of {len(healthy['whole'])}"


def _gain(seeds: Sequence[dict[str, Any]]) -> str:
    """Return what more sampling steps add to the mean Dice of the cases that were sampled so too."""
    gains = [
        many - few
        for one in seeds
        for many, few, tumour in zip(one.get("many", ()), one["whole"], one["tumour"], strict=False)
        if tumour
    ]
    return f"{statistics.fmean(gains):+.3f}" if gains else "–"


def _draw(found: Sequence[dict[str, Any]], groups: Sequence[_Group], out: Path) -> None:
    """Draw a dot for each seed of each arm, on cases with a tumour; what is missing from 1 has a scale of ratios."""
    from matplotlib.figure import Figure

    rows = [(name, group.minutes) for group in groups for name in group.arms if _of(found, name, group.minutes)]
    figure = Figure(figsize=(8, 1.1 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (name, minutes) in enumerate(rows):
        for way, shade, label, beside in (
            ("whole", colour(0), "whole volumes", -0.14),
            ("windows", colour(1), "window by window", 0.14),
        ):
            missing = [max(1 - dice, _LEAST) for dice in _means(_of(found, name, minutes), way, tumour=True)]
            heights = [place + beside] * len(missing)
            axes.scatter(missing, heights, color=shade, label=label if place == 0 else None, zorder=3)
    axes.set_yticks(range(len(rows)), [f"{name}, {minutes:g} min" for name, minutes in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.4)
    axes.set_xlabel("mean Dice over unseen synthetic cases with a tumour; a dot for each seed")
    axes.set_xscale("log")
    axes.set_xlim(1.15, 0.015)
    axes.set_xticks([1 - dice for dice in _TICKS], [f"{dice:g}" for dice in _TICKS])
    axes.minorticks_off()
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    save(figure, out / f"recipe-{slug()}.png")
