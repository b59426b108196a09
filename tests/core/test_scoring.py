"""Segmentations are scored by region, and classes tell some regions only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddmkit import DataError
from ddmkit.definition import Scoring
from ddmkit.scoring import Segmentation, score_case, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONE_MM = (1.0, 1.0, 1.0)
PARTS = ("necrotic", "edema", "enhancing")
WHOLE = {"whole": frozenset({*PARTS, "whole"})}
REGIONS = {**WHOLE, "core": frozenset({"necrotic", "enhancing"}), "enhancing": frozenset({"enhancing"})}
BINARY = ("background", "whole")


def labels(*indices: int) -> NDArray[np.uint8]:
    return np.array(indices, dtype=np.uint8).reshape(-1, 1, 1)


def test_classes_of_both_sides_are_matched_by_name() -> None:
    prediction = Segmentation(labels(0, 1, 1, 0, 0), BINARY)
    reference = Segmentation(labels(0, 2, 3, 1, 0), ("background", "enhancing", "necrotic", "edema"))
    (score,) = score_case("a", prediction, reference, WHOLE, ONE_MM, Scoring())
    assert score.dice == pytest.approx(4 / 5)
    assert score.hd95 == pytest.approx(4 / 5)  # of the distances 0, 0, 0, 0, 1
    assert (score.case, score.region, score.note) == ("a", "whole", None)


def test_each_region_is_scored_apart_and_in_order() -> None:
    classes = ("background", *PARTS)
    prediction, reference = Segmentation(labels(1, 2, 3, 0), classes), Segmentation(labels(1, 1, 3, 2), classes)
    whole, core, enhancing = score_case("a", prediction, reference, REGIONS, ONE_MM, Scoring())
    assert (whole.region, core.region, enhancing.region) == ("whole", "core", "enhancing")
    assert whole.dice == pytest.approx(6 / 7)
    assert core.dice == pytest.approx(4 / 5)
    assert enhancing.dice == 1


@pytest.mark.parametrize(
    ("found", "truth", "note"),
    [
        (labels(0, 0, 0), labels(1, 1, 0), "prediction is empty, reference has 2 voxels"),
        (labels(1, 0, 0), labels(0, 0, 0), "reference is empty, prediction has 1 voxel"),
        (labels(0, 0, 0), labels(0, 0, 0), "prediction and reference are empty"),
        (labels(1, 0, 0), labels(0, 1, 0), None),
    ],
)
def test_a_note_says_which_side_is_empty(found: NDArray[np.uint8], truth: NDArray[np.uint8], note: str | None) -> None:
    (score,) = score_case("a", Segmentation(found, BINARY), Segmentation(truth, BINARY), WHOLE, ONE_MM, Scoring())
    assert score.note == note


def test_a_reference_that_cannot_tell_a_region_is_refused() -> None:
    prediction, reference = Segmentation(labels(1), ("background", "necrotic")), Segmentation(labels(1), BINARY)
    sentence = "reference of case a has the classes background, whole, none of which belongs to the region 'core'"
    with pytest.raises(DataError, match=sentence):
        score_case("a", prediction, reference, REGIONS, ONE_MM, Scoring())


def test_a_prediction_with_a_class_that_lies_partly_inside_a_region_is_refused() -> None:
    prediction, reference = (
        Segmentation(labels(1, 2), ("background", *classes)) for classes in (("whole", "enhancing"), PARTS)
    )
    sentence = r"prediction of case a has the classes .*, of which 'whole' may lie partly inside the region 'core'"
    with pytest.raises(DataError, match=sentence):
        score_case("a", prediction, reference, REGIONS, ONE_MM, Scoring())


@pytest.mark.parametrize(
    ("classes", "regions"),
    [
        (("background", *PARTS), ["whole", "core", "enhancing"]),
        (("enhancing", "cavity", "edema", "necrotic", "background"), ["whole", "core", "enhancing"]),
        (("background", "whole"), ["whole"]),
        (("whole",), ["whole"]),
        (("background", "whole", "enhancing"), ["whole"]),
        (("background", "cavity"), []),
        (("liver",), []),
        ((), []),
    ],
)
def test_classes_tell_some_regions(classes: tuple[str, ...], regions: list[str]) -> None:
    assert list(told(REGIONS, classes)) == regions


def test_what_is_told_is_told_by_both_sides() -> None:
    assert told(REGIONS, ("whole",), PARTS) == told(REGIONS, PARTS, ("whole",)) == WHOLE
    assert told(REGIONS, PARTS, PARTS) == told(REGIONS) == REGIONS
    assert told(REGIONS, PARTS, ("cavity",)) == {}


def right_however_labelled(classes: frozenset[str], region: str) -> bool:
    """Try out whether every part of a tumour, labelled as itself or as "whole", is counted where it belongs."""
    members = REGIONS[region]
    return all((label in members) == (part in members) for part in PARTS for label in {part, "whole"} & classes)


@given(st.frozensets(st.sampled_from([*PARTS, "whole"])).filter(lambda classes: "whole" in classes or len(classes) > 2))
def test_a_region_is_told_if_no_way_to_label_all_of_a_tumour_gets_it_wrong(classes: frozenset[str]) -> None:
    right = [region for region in REGIONS if right_however_labelled(classes, region)]
    assert list(told(REGIONS, sorted(classes))) == right


def test_a_case_on_another_grid_is_named() -> None:
    with pytest.raises(DataError, match="case a has 2 x 1 x 1 voxels and the reference 3 x 1 x 1"):
        score_case(
            "a", Segmentation(labels(0, 1), BINARY), Segmentation(labels(0, 1, 1), BINARY), WHOLE, ONE_MM, Scoring()
        )
