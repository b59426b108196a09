"""Segmentations scored by region and case: which regions classes can tell, and how well each was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import override

from ddmkit.errors import DataError
from ddmkit.judging import Judge
from ddmkit.measures import check_shapes
from ddmkit.summary import summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ddmkit.definition import Scoring
    from ddmkit.judging import Figure, Summary
    from ddmkit.measures import Mask, Spacing

Regions: TypeAlias = "Mapping[str, frozenset[str]]"
"""Unions of classes, by name."""


class Segmentation(NamedTuple):
    """A label map and what its indices mean."""

    indices: NDArray[np.uint8]
    """Shape (X, Y, Z): indices into `classes`."""
    classes: tuple[str, ...]
    """The first is "background"."""


class Score(NamedTuple):
    """How well one region of one case was found."""

    case: str
    """Its name."""
    region: str
    """One of `LabelTask.regions`."""
    dice: float
    """0 to 1."""
    hd95: float
    """In mm."""
    surface_dice: float
    """0 to 1."""
    note: str | None
    """Which side is empty, where one is or both are."""

    @property
    def missed(self) -> bool:
        """Whether exactly one side is empty."""
        return self.note is not None and self.dice == 0


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


def score_case(  # noqa: PLR0913, PLR0917 - what is compared, and how
    case: str,
    prediction: Segmentation,
    reference: Segmentation,
    regions: Regions,
    spacing: Spacing,
    scoring: Scoring,
) -> list[Score]:
    """Score every region of one case, in the order of `regions`.

    Args:
        case: its name.
        prediction: on the grid of the reference.
        reference: the truth.
        regions: those to score.
        spacing: lengths of a voxel in mm.
        scoring: the definitions that the scores follow.

    Raises:
        DataError: the shapes differ, or one side cannot tell a region; `told` says which ones both can.
    """
    check_shapes(prediction.indices, reference.indices, f" of case {case}")
    scores = []
    for region in regions:
        found = _mask(prediction, region, regions, f"The prediction of case {case}")
        truth = _mask(reference, region, regions, f"The reference of case {case}")
        scores.append(Score(case, region, *scoring.measure(found, truth, spacing), _note(found, truth)))
    return scores


class RegionJudge(Judge):
    """Judges label maps by Dice, HD95 and surface Dice of each region.

    Args:
        regions: everything that can be scored.
        scoring: the definitions that the scores follow.
    """

    def __init__(self, regions: Regions, scoring: Scoring) -> None:
        self._regions = regions
        self._scoring = scoring
        self._scores: list[Score] = []

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return self._scoring.figures()

    @override
    def definition(self) -> dict[str, str]:
        return self._scoring.definition()

    @property
    @override
    def scores(self) -> Sequence[Score]:
        return self._scores

    @override
    def summary(self) -> Summary:
        return summarise(self._scores)

    def add(self, case: str, prediction: Segmentation, reference: Segmentation, spacing: Spacing) -> list[Score]:
        """Score a case in every region that both sides tell, and return that.

        Args:
            case: its name.
            prediction: on the grid of the reference.
            reference: the truth.
            spacing: lengths of a voxel in mm.

        Raises:
            DataError: the shapes differ.
        """
        regions = told(self._regions, prediction.classes, reference.classes)
        scores = score_case(case, prediction, reference, regions, spacing, self._scoring)
        self._scores += scores
        return scores


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
