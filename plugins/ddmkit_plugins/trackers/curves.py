"""Read from a run's `metrics.jsonl` what its curves show, however long the run."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddmkit import Figure

if TYPE_CHECKING:
    from ddmkit.run.folder import RunFolder


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
    """Of the figure, V of them by region; NaN where it could not be worked out, or a validation told nothing of the
    region."""


def read_curves(folder: RunFolder) -> Curves:
    """Read line by line; a step takes 16 bytes, so that millions fit.

    Args:
        folder: of a run; where it has no `metrics.jsonl`, the curves are empty.
    """
    steps, losses = array("q"), array("d")
    validated: list[int] = []
    figure: Figure | None = None
    rows: list[dict[str, float | None]] = []
    for record in folder.records():
        if record["kind"] == "step":
            steps.append(record["step"])
            losses.append(record["loss"])
        elif record["kind"] == "validation":
            validated.append(record["step"])
            figure = Figure(**record["figures"][0])
            rows.append({region: row[figure.key] for region, row in record["summary"].items()})
    regions = dict.fromkeys(region for row in rows for region in row)  # in the order of their first validation
    values = {region: [_number(row.get(region)) for row in rows] for region in regions}
    return Curves(np.array(steps), np.array(losses), validated, figure, values)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


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
