"""Which definitions scores follow, as settings that say themselves in words and measure two masks.

A bare "HD95" says nothing: on one pair of masks the common definitions differ by a third.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from ddmkit.component import Settings
from ddmkit.judging import Figure
from ddmkit.summary import SUMMARY_DEFINITION

if TYPE_CHECKING:
    from ddmkit.measures import Mask, Spacing

_PERCENTILE = "95th percentile (linear interpolation)"
_WAYS = (
    "the distances in mm from each surface voxel of P to the nearest surface voxel of R and from each surface voxel of "
    "R to the nearest of P"
)
_HD95 = {
    "pooled": f"{_PERCENTILE} of {_WAYS}, both directions pooled (as medpy and the BraTS evaluation)",
    "maximum": f"{_PERCENTILE} of {_WAYS}, the larger of the two directions' percentiles (as MONAI)",
    "mean": f"{_PERCENTILE} of {_WAYS}, the mean of the two directions' percentiles",
}


class Measures(NamedTuple):
    """How well one mask matches another."""

    dice: float
    """0 to 1."""
    hd95: float
    """In mm."""
    surface_dice: float
    """0 to 1."""


class Scoring(Settings):
    """Which definitions of HD95 and of surface Dice the scores follow."""

    hd95: Literal["pooled", "maximum", "mean"] = Field(
        default="pooled",
        description="How the surface distances of both directions become one number. pooled: their common 95th "
        "percentile, as medpy and BraTS; maximum: the larger of the two directions' percentiles, as MONAI; mean: the "
        "mean of these two.",
    )
    tolerance: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="Millimetres within which surface Dice takes a surface voxel as found.",
    )

    def definition(self) -> dict[str, str]:
        """Return what the numbers mean, in words; they are written beside them."""
        return {
            "dice": "2 |P and R| / (|P| + |R|) over the voxels of the whole volume, P the prediction, R the reference",
            "hd95": _HD95[self.hd95],
            "surface_dice": f"share of the surface voxels of P and of R, both counted together, that lie within "
            f"{self.tolerance:g} mm of the other's surface (Nikolov et al. 2021, by voxels; a distance that exceeds "
            "the tolerance by a hundred-thousandth, as rounded headers do, is within)",
            "surface": "the voxels of a mask that have a face neighbour outside it; what lies outside the volume is "
            "outside",
            "distance": "Euclidean, between voxel centres, with the voxel spacing of the reference",
            "both_empty": "dice 1, hd95 0, surface_dice 1",
            "one_empty": "dice 0, hd95 the diagonal of the volume in mm (373.13 for 240x240x155 voxels of 1 mm), "
            "surface_dice 0",
            **SUMMARY_DEFINITION,
        }

    def figures(self) -> tuple[Figure, ...]:
        """Return what each number is called and which way it is better, in the order of `Measures`."""
        return (
            Figure("dice", "Dice", higher_is_better=True, largest=1, by_case=True),
            Figure("hd95", f"HD95 {self.hd95}", higher_is_better=False, unit="mm", decimals=2, by_case=True),
            Figure(
                "surface_dice", f"surface Dice {self.tolerance:g} mm", higher_is_better=True, largest=1, by_case=True
            ),
        )

    def titles(self) -> dict[str, str]:
        """Return what each number is called in a table, with its unit, by its name."""
        return {figure.name: figure.heading for figure in self.figures()}

    def measure(self, prediction: Mask, reference: Mask, spacing: Spacing) -> Measures:
        """Compare two masks.

        Args:
            prediction: shape (X, Y, Z).
            reference: shape (X, Y, Z).
            spacing: lengths of a voxel in mm.

        Raises:
            DataError: the shapes differ, or the spacing is not three positive numbers.
        """
        from ddmkit.measures import diagonal, dice, hausdorff95, surface_dice, surface_distances

        overlap = dice(prediction, reference)
        if prediction.any() != reference.any():
            return Measures(overlap, diagonal(prediction.shape, spacing), 0.0)
        if not prediction.any():
            return Measures(overlap, 0.0, 1.0)
        distances = surface_distances(prediction, reference, spacing)
        return Measures(overlap, hausdorff95(distances, self.hd95), surface_dice(distances, self.tolerance))
