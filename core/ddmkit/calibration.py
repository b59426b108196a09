"""Calibration after the fact: what share of foreground there was, on cases kept aside, where an ensemble's mean was m.

The map from one to the other is fitted by isotonic regression (Zadrozny and Elkan 2002).
"""

from __future__ import annotations

import hashlib
import json
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from ddmkit.component import Settings
from ddmkit.errors import ConfigurationError, DataError
from ddmkit.files import write_text
from ddmkit.reliability import Reliability, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ddmkit.reliability import Bins, Counts

HALVINGS = 10
"""How often cases are halved to tell how well a calibration fits others."""
MADE_BY = ("task", "weights", "sampler", "ensemble", "tolerance", "most")
"""What decides the means, of all that a sampling writes down: a calibration holds for answers that share it."""
CALIBRATION_DEFINITION: dict[str, str] = {
    "calibrated": "isotonic regression of the share of foreground on the mean, weighed by voxels, judged on the cases "
    "that it was fitted to",
    "other half": "half of the cases, with the curve that is fitted to the other half; the mean over "
    f"{HALVINGS} random halvings, seed 0, both ways",
}
"""What rows of numbers are of, in words."""


class Curve(Settings):
    """A probability for each mean: straight between knots, level beyond them."""

    mean: tuple[float, ...] = Field(min_length=1)
    """Of the knots, rising."""
    probability: tuple[float, ...]
    """Of the knots, never falling."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        mean, probability = np.array(self.mean), np.array(self.probability)
        rises = mean.shape == probability.shape and (np.diff(mean) > 0).all() and (np.diff(probability) >= 0).all()
        if not rises or not (0 <= probability[0] <= probability[-1] <= 1):
            msg = "a curve goes from mean to probability, which rise together and stay within 0 to 1"
            raise ValueError(msg)
        return self

    def of(self, mean: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities of a map of means, such as (X, Y, Z)."""
        found = np.empty(mean.shape, np.float32)
        for plane, values in zip(
            np.atleast_2d(found), np.atleast_2d(mean), strict=True
        ):  # which bounds memory: interpolation is float64
            plane[...] = np.interp(values, self.mean, self.probability)
        return found

    def moved(self, bins: Bins) -> Bins:
        """Return counts of voxels as they would be with this curve, to the width of a bin."""
        return bins.moved(np.interp(bins.confidence(), self.mean, self.probability))


class Calibration(Settings):
    """A curve for each channel, and what answers it was fitted to."""

    made_by: dict[str, Any]
    """What decides their means; plain values."""
    cases: tuple[str, ...]
    """That it was fitted to."""
    curves: dict[str, Curve]
    """By channel."""

    @property
    def digest(self) -> str:
        """A name for what this calibration says, whatever its file is called."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def check(self, made_by: Mapping[str, Any]) -> None:
        """Make sure that answers are made as those that this was fitted to.

        Raises:
            ConfigurationError: they are not.
        """
        now = deciding(made_by)
        for what in MADE_BY:
            if self.made_by.get(what) != now.get(what):
                msg = (
                    f"The calibration was fitted to answers that were sampled otherwise ({what} was "
                    f"{self.made_by.get(what)}, now {now.get(what)}): sample alike, or fit another to the validation "
                    "cases sampled as now, with ddmkit calibrate."
                )
                raise ConfigurationError(msg)


def deciding(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return, of all that is written down about a sampling, what decides the means; as plain values."""
    known: dict[str, Any] = json.loads(json.dumps({what: made_by[what] for what in MADE_BY if what in made_by}))
    return known


def fit(counts: Counts) -> Curve:
    """Fit the curve that never falls and comes nearest to the observed shares of foreground.

    Each bin is a point, weighed by its voxels; of bins that come to one level the outermost are kept.
    """
    from scipy.optimize import isotonic_regression

    bins = counts.everywhere()
    there = bins.voxels > 0
    mean, voxels = bins.confidence()[there], bins.voxels[there]
    level = isotonic_regression(bins.foreground[there] / voxels, weights=voxels).x
    changes = np.diff(level) > 0
    kept = np.concatenate([[True], changes]) | np.concatenate([changes, [True]])
    return Curve(mean=tuple(mean[kept].tolist()), probability=tuple(level[kept].clip(0, 1).tolist()))


def calibrated(counts: Counts, curve: Curve) -> Counts:
    """Return counts as they would be with a curve, to the width of a bin."""
    return counts._replace(counted=curve.moved(counts.counted), certain=curve.moved(counts.certain))


def on_other_halves(counts: Sequence[Counts]) -> Reliability | None:
    """Return the mean reliability of half the cases with the curve fitted to the other half; None for a single case.

    Cases are halved at random, always alike. The counts of cases left out one by one must not be added up instead: what
    a curve says too much of one case, those of the others say too little of theirs, and it cancels.
    """
    if len(counts) == 1:
        return None
    random, rows = np.random.default_rng(0), []
    for _ in range(HALVINGS):
        order = [counts[place] for place in random.permutation(len(counts))]
        halves = together(order[::2]), together(order[1::2])
        rows += [calibrated(judged, fit(known)).reliability() for judged, known in (halves, halves[::-1])]
    whole = together(counts).reliability()
    return Reliability(
        cases=whole["cases"],
        voxels=whole["voxels"],
        foreground=whole["foreground"],
        ece=_mean(row["ece"] for row in rows),
        mce=_mean(row["mce"] for row in rows),
        brier=_mean(row["brier"] for row in rows),
        ece_volume=fmean(row["ece_volume"] for row in rows),
        unseen=whole["unseen"],
        bins=[],
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def write_calibration(path: Path, calibration: Calibration, told: Mapping[str, Any]) -> None:
    """Write a calibration as JSON.

    Args:
        path: of the file.
        calibration: what is read again.
        told: what else its reader may want to know; plain values.

    Raises:
        StorageError: it cannot be written.
    """
    tree = {"calibration": calibration.model_dump(mode="json"), **told}
    write_text(path, json.dumps(tree, indent=2, allow_nan=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        DataError: it is not there, or not one.
    """
    try:
        return Calibration.model_validate(json.loads(path.read_text(encoding="utf-8"))["calibration"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it is no file that ddmkit calibrate wrote"
        msg = f"Cannot read the calibration {path}: {reason}; fit one with ddmkit calibrate ANSWERS --reference PATH."
        raise DataError(msg) from error
