"""Dice and HD95, per case and region, with every convention said.

A bare "HD95" says nothing: on one pair of masks the common definitions differ by a third. `DEFINITION` states ours;
it is that of the BraTS evaluation and of medpy.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict

import numpy as np
from scipy import ndimage

from ddmkit.errors import DataError
from ddmkit.normalisation import box_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

Mask: TypeAlias = "NDArray[np.bool_]"
"""Shape (X, Y, Z); True inside."""
Spacing: TypeAlias = tuple[float, float, float]
"""Lengths of a voxel in mm, along X, Y, Z."""
Regions: TypeAlias = "Mapping[str, frozenset[str]]"
"""Unions of classes, by name."""

DEFINITION: dict[str, str] = {
    "dice": "2 |P and R| / (|P| + |R|) over the voxels of the whole volume, P the prediction, R the reference",
    "hd95": "95th percentile (linear interpolation) of the distances in mm from each surface voxel of P to the nearest "
    "surface voxel of R and from each surface voxel of R to the nearest of P, both directions pooled",
    "surface": "the voxels of a mask that have a face neighbour outside it; what lies outside the volume is outside",
    "distance": "Euclidean, between voxel centres, with the voxel spacing of the reference",
    "both_empty": "dice 1, hd95 0",
    "one_empty": "dice 0, hd95 the diagonal of the volume in mm (373.13 for 240x240x155 voxels of 1 mm)",
    "std": "sample standard deviation over cases (divided by n - 1), 0 for one case",
    "missed": "number of cases where exactly one of P and R is empty; they count in every mean",
}
"""What the numbers mean, in words; written beside them."""


class Segmentation(NamedTuple):
    """A label map and what its indices mean."""

    indices: NDArray[np.uint8]
    """Shape (X, Y, Z): indices into `classes`."""
    classes: tuple[str, ...]
    """The first is "background"."""


class Score(NamedTuple):
    """How well one region of one case was found."""

    case: str
    region: str
    dice: float
    """0 to 1."""
    hd95: float
    """In mm."""
    note: str | None
    """Which side is empty, where one is or both are."""

    @property
    def missed(self) -> bool:
        """Whether exactly one side is empty."""
        return self.note is not None and self.dice == 0


class Summary(TypedDict):
    """Scores of one region over all cases."""

    n: int
    dice_mean: float
    dice_std: float
    hd95_mean: float
    hd95_std: float
    missed: int


def dice(prediction: Mask, reference: Mask) -> float:
    """Return 2 |P and R| / (|P| + |R|); 1 where both are empty.

    Raises:
        DataError: the shapes differ.
    """
    _check_shapes(prediction, reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else 1.0


def hausdorff95(prediction: Mask, reference: Mask, spacing: Spacing) -> float:
    """Return the 95th percentile of surface distances, both directions pooled, in mm.

    Two empty masks have the distance 0, an empty and another one the diagonal of the volume.

    Raises:
        DataError: the shapes differ, or the spacing is not three positive numbers.
    """
    _check_shapes(prediction, reference)
    _check_spacing(spacing)
    if prediction.any() != reference.any():
        return math.hypot(*(side * step for side, step in zip(prediction.shape, spacing, strict=True)))
    either = prediction | reference
    if not either.any():
        return 0.0
    box = box_of(either).slices
    # Every surface voxel lies in the box, and none beyond it is inside: surfaces and distances are those of the whole.
    found, truth = _surface(prediction[box]), _surface(reference[box])
    there, back = _distances(found, truth, spacing), _distances(truth, found, spacing)
    return float(np.percentile(np.concatenate([there, back]), 95))


def told(regions: Regions, *classes: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the regions that each of the given tuples of classes can tell, in the order of `regions`.

    Classes tell a region where one of them belongs to it and none blurs it: labels that mean only "whole" tell the
    whole tumour but not its core, labels of the core's parts tell both. With background or without is the same.
    """
    return {
        region: members
        for region, members in regions.items()
        if all(_doubt(regions, region, names) is None for names in classes)
    }


def blurs(name: str, region: str, regions: Regions) -> bool:
    """Return whether voxels of a class may lie inside a region as well as outside it.

    They may where the class is another region unresolved: it has its name, shares classes with the region asked for
    and does not belong to that.
    """
    members = regions[region]
    return name in regions and name not in members and not members.isdisjoint(regions[name])


def score_case(
    case: str, prediction: Segmentation, reference: Segmentation, regions: Regions, spacing: Spacing
) -> list[Score]:
    """Score every region of one case, in the order of `regions`.

    Raises:
        DataError: the shapes differ, or one side cannot tell a region; `told` says which ones both can.
    """
    _check_shapes(prediction.indices, reference.indices, f" of case {case}")
    scores = []
    for region in regions:
        found = _mask(prediction, region, regions, f"The prediction of case {case}")
        truth = _mask(reference, region, regions, f"The reference of case {case}")
        overlap, distance = dice(found, truth), hausdorff95(found, truth, spacing)
        scores.append(Score(case, region, overlap, distance, _note(found, truth)))
    return scores


def summarise(scores: Iterable[Score]) -> dict[str, Summary]:
    """Return mean and spread over the cases of each region, in order of first appearance; never NaN."""
    by_region: dict[str, list[Score]] = {}
    for score in scores:
        by_region.setdefault(score.region, []).append(score)
    return {region: _summary(members) for region, members in by_region.items()}


def _summary(scores: list[Score]) -> Summary:
    dices, distances = [score.dice for score in scores], [score.hd95 for score in scores]
    several = len(scores) > 1
    return Summary(
        n=len(scores),
        dice_mean=fmean(dices),
        dice_std=stdev(dices) if several else 0.0,
        hd95_mean=fmean(distances),
        hd95_std=stdev(distances) if several else 0.0,
        missed=sum(score.missed for score in scores),
    )


def _mask(segmentation: Segmentation, region: str, regions: Regions, owner: str) -> Mask:
    """Return where a region is."""
    members = regions[region]
    doubt = _doubt(regions, region, segmentation.classes)
    if doubt is not None:
        msg = (
            f"{owner} has the classes {', '.join(segmentation.classes)}, {doubt} the region {region!r} "
            f"({', '.join(sorted(members))}): compare segmentations that mean the same."
        )
        raise DataError(msg)
    mask: Mask = np.array([name in members for name in segmentation.classes])[segmentation.indices]
    return mask


def _doubt(regions: Regions, region: str, classes: Sequence[str]) -> str | None:
    """Return why classes cannot tell a region, as the words before its name; None where they can."""
    if regions[region].isdisjoint(classes):
        return "none of which belongs to"
    blurring = [name for name in classes if blurs(name, region, regions)]
    return f"of which {blurring[0]!r} may lie partly inside" if blurring else None


def _note(prediction: Mask, reference: Mask) -> str | None:
    found, truth = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    if found and truth:
        return None
    if found or truth:
        empty, other = ("reference", "prediction") if found else ("prediction", "reference")
        return f"{empty} is empty, {other} has {_voxels(found + truth)}"
    return "prediction and reference are empty"


def _voxels(count: int) -> str:
    return "1 voxel" if count == 1 else f"{count} voxels"


def _surface(mask: Mask) -> Mask:
    """Return the voxels of a mask with a face neighbour outside it."""
    return mask & ~ndimage.binary_erosion(mask)


def _distances(start: Mask, end: Mask, spacing: Spacing) -> NDArray[np.float64]:
    """Return the distance in mm from each voxel of `start` to the nearest voxel of `end`.

    Only the nearest voxels' positions are computed everywhere, the distances only where they are asked for: half the
    time and a third of the memory of a whole distance map.
    """
    nearest: Any = ndimage.distance_transform_edt(~end, sampling=spacing, return_distances=False, return_indices=True)
    places = np.nonzero(start)
    squares = [
        ((nearest[axis][places] - place) * step) ** 2
        for axis, (place, step) in enumerate(zip(places, spacing, strict=True))
    ]
    distances: NDArray[np.float64] = np.sqrt(np.sum(squares, axis=0))
    return distances


def _check_shapes(prediction: NDArray[Any], reference: NDArray[Any], of_case: str = "") -> None:
    if prediction.shape != reference.shape:
        msg = (
            f"The prediction{of_case} has {_product(prediction.shape)} voxels and the reference "
            f"{_product(reference.shape)}: give files that lie on one grid."
        )
        raise DataError(msg)


def _product(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _check_spacing(spacing: Spacing) -> None:
    if not all(math.isfinite(step) and step > 0 for step in spacing):
        msg = f"The voxel spacing {spacing} is not three positive lengths in mm: correct the reference's header."
        raise DataError(msg)
