"""Read from a run's `metrics.jsonl` what its curves show, however long the run."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ddmkit import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Curves(NamedTuple):
    """Loss over steps, and what chooses the best checkpoint over validations."""

    steps: np.ndarray
    """Shape (S,), ascending."""
    losses: np.ndarray
    """Shape (S,), float64."""
    validated: list[int]
    """V steps."""
    figure: Figure | None
    """What that is; None before the first validation."""
    values: dict[str, list[float]]
    """Of the figure, V of them by region; NaN where it could not be worked out."""


def read_curves(path: Path) -> Curves:
    """Read line by line; a step takes 16 bytes, so that millions fit.

    Args:
        path: of `metrics.jsonl`; where there is none, the curves are empty.
    """
    steps, losses = array("q"), array("d")
    validated: list[int] = []
    figure: Figure | None = None
    values: dict[str, list[float]] = {}
    for record in _records(path):
        if record["kind"] == "step":
            steps.append(record["step"])
            losses.append(record["loss"])
        elif record["kind"] == "validation":
            validated.append(record["step"])
            figure = Figure(**record["figures"][0])
            for region, row in record["summary"].items():
                value = row[figure.key]
                values.setdefault(region, []).append(np.nan if value is None else value)
    return Curves(np.array(steps), np.array(losses), validated, figure, values)


def thin(values: np.ndarray, width: int) -> np.ndarray:
    """Return the means of blocks of `width` values each; the last block may be shorter."""
    starts = np.arange(0, len(values), width)
    means: np.ndarray = np.add.reduceat(values, starts) / np.diff(starts, append=len(values))
    return means


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Return the mean of each value and the `width` - 1 before it; shape (S - `width` + 1,)."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means: np.ndarray = (sums[width:] - sums[:-width]) / width
    return means


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines; one cut short by a kill is passed over."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                continue
