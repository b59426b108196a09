"""Dice, HD95 and their summary."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage

from ddmkit import DataError
from ddmkit.scoring import DEFINITION, Score, Segmentation, Spacing, dice, hausdorff95, score_case, summarise, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ddmkit.scoring import Mask

ONE_MM = (1.0, 1.0, 1.0)
PARTS = ("necrotic", "edema", "enhancing")
WHOLE = {"whole": frozenset({*PARTS, "whole"})}
REGIONS = {**WHOLE, "core": frozenset({"necrotic", "enhancing"}), "enhancing": frozenset({"enhancing"})}
BINARY = ("background", "whole")
SMALL = arrays.arrays(np.bool_, (5, 4, 3))
SPACINGS = st.tuples(*[st.sampled_from([0.5, 1.0, 1.7, 3.0])] * 3)


def box(shape: tuple[int, int, int], *spans: tuple[int, int]) -> Mask:
    """Return a mask that is True in the box of half-open spans."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


def blob(seed: int, shape: tuple[int, int, int] = (30, 26, 22)) -> Mask:
    """Return a random smooth shape, in several pieces and touching the borders."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    mask: Mask = noise > np.quantile(noise, 0.8)
    return mask


def surface_by_definition(mask: Mask) -> list[tuple[int, ...]]:
    """List the voxels of a mask with a face neighbour outside it, one by one."""
    inside = {tuple(map(int, voxel)) for voxel in np.argwhere(mask)}
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return [v for v in inside if any((v[0] + x, v[1] + y, v[2] + z) not in inside for x, y, z in steps)]


def hausdorff95_by_definition(prediction: Mask, reference: Mask, spacing: Spacing) -> float:
    """Compute the pooled 95th percentile with loops over all pairs of surface voxels."""
    ends = [
        [tuple(i * s for i, s in zip(voxel, spacing, strict=True)) for voxel in surface_by_definition(mask)]
        for mask in (prediction, reference)
    ]
    pooled = sorted(min(math.dist(a, b) for b in ends[1 - side]) for side in (0, 1) for a in ends[side])
    rank = 0.95 * (len(pooled) - 1)
    below = pooled[math.floor(rank)]
    return below + (rank - math.floor(rank)) * (pooled[math.ceil(rank)] - below)


def test_cubes_shifted_by_two_voxels_score_what_counting_says() -> None:
    here, there = (box((20, 20, 20), (x, x + 10), (5, 15), (5, 15)) for x in (4, 6))
    assert dice(here, there) == pytest.approx(0.8)  # 800 of 1000 voxels shared
    assert hausdorff95(here, there, ONE_MM) == 2  # for 136 of the 488 surface voxels of either


def test_distances_are_in_millimetres() -> None:
    here, there = (box((20, 20, 20), (x, x + 10), (5, 15), (5, 15)) for x in (4, 6))
    assert hausdorff95(here, there, (3.0, 1.0, 1.0)) == 6


@pytest.mark.parametrize("axis", range(3))
def test_two_sheets_are_as_far_apart_as_their_gap(axis: int) -> None:
    here, there = np.zeros((2, 9, 9, 9), dtype=bool)
    np.moveaxis(here, axis, 0)[1] = True
    np.moveaxis(there, axis, 0)[5] = True
    spacing = (0.5, 1.25, 3.0)
    assert hausdorff95(here, there, spacing) == pytest.approx(4 * spacing[axis])
    assert dice(here, there) == 0


def test_both_directions_are_pooled_before_the_percentile() -> None:
    reference = box((12, 1, 1), (0, 1), (0, 1), (0, 1))
    prediction = reference | box((12, 1, 1), (10, 11), (0, 1), (0, 1))
    # Distances 0 and 10 one way, 0 the other. Pooled: 9; the larger of the two directed percentiles would be 9.5.
    assert hausdorff95(prediction, reference, ONE_MM) == pytest.approx(9)


def test_the_inside_of_a_mask_does_not_count() -> None:
    solid = box((11, 11, 11), (0, 11), (0, 11), (0, 11))
    hollow = solid & ~box((11, 11, 11), (1, 10), (1, 10), (1, 10))
    # The hollow's surface is the shell, which is the solid's too: outside of the array is background.
    assert hausdorff95(solid, hollow, ONE_MM) == 0


def test_a_mask_agrees_with_itself() -> None:
    assert dice(blob(0), blob(0)) == 1
    assert hausdorff95(blob(0), blob(0), ONE_MM) == 0


@settings(deadline=None)
@given(prediction=SMALL, reference=SMALL, spacing=SPACINGS)
def test_hd95_is_what_loops_over_all_surface_voxels_find(prediction: Mask, reference: Mask, spacing: Spacing) -> None:
    prediction[0, 0, 0] = reference[4, 3, 2] = True
    truth = hausdorff95_by_definition(prediction, reference, spacing)
    assert hausdorff95(prediction, reference, spacing) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("spacing", [ONE_MM, (0.7, 1.3, 4.0)])
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_hd95_is_the_percentile_of_monais_surface_distances(seeds: tuple[int, int], spacing: Spacing) -> None:
    prediction, reference = map(blob, seeds)
    edges = get_mask_edges(prediction, reference, crop=False)
    pooled = [get_surface_distance(a, b, "euclidean", spacing) for a, b in (edges, reversed(edges))]
    assert hausdorff95(prediction, reference, spacing) == pytest.approx(np.percentile(np.hstack(pooled), 95))


@settings(deadline=None, max_examples=50)
@given(
    prediction=SMALL,
    reference=SMALL,
    spacing=SPACINGS,
    margins=st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3),
)
def test_empty_space_around_changes_nothing(
    prediction: Mask, reference: Mask, spacing: Spacing, margins: tuple[tuple[int, int], ...]
) -> None:
    prediction[0, 0, 0] = reference[4, 3, 2] = True
    wider, wider_reference = np.pad(prediction, margins), np.pad(reference, margins)
    assert hausdorff95(wider, wider_reference, spacing) == hausdorff95(prediction, reference, spacing)
    assert dice(wider, wider_reference) == dice(prediction, reference)


@settings(deadline=None, max_examples=50)
@given(prediction=SMALL, reference=SMALL)
def test_swapping_the_sides_changes_nothing(prediction: Mask, reference: Mask) -> None:
    assert dice(prediction, reference) == dice(reference, prediction)
    there, back = hausdorff95(prediction, reference, ONE_MM), hausdorff95(reference, prediction, ONE_MM)
    assert there == pytest.approx(back, rel=1e-12)


def test_memory_order_changes_nothing() -> None:
    prediction, reference = blob(0), blob(1)
    turned, turned_reference = np.asfortranarray(prediction), np.asfortranarray(reference)
    assert hausdorff95(turned, turned_reference, (1.0, 2.0, 3.0)) == hausdorff95(prediction, reference, (1.0, 2.0, 3.0))


def test_two_empty_masks_agree() -> None:
    empty = np.zeros((3, 4, 5), dtype=bool)
    assert dice(empty, empty) == 1
    assert hausdorff95(empty, empty, ONE_MM) == 0


@pytest.mark.parametrize("turn", [1, -1])
def test_one_empty_mask_is_as_far_away_as_the_volume_is_wide(turn: int) -> None:
    tumour = box((240, 240, 155), (50, 60), (50, 60), (50, 60))
    prediction, reference = (tumour, np.zeros_like(tumour))[::turn]
    assert dice(prediction, reference) == 0
    assert hausdorff95(prediction, reference, ONE_MM) == pytest.approx(373.13, abs=0.005)
    assert hausdorff95(prediction, reference, (2.0, 2.0, 2.0)) == pytest.approx(746.26, abs=0.005)


@pytest.mark.parametrize("score", [dice, lambda a, b: hausdorff95(a, b, ONE_MM)])
def test_masks_on_different_grids_are_refused_with_both_shapes(score: object) -> None:
    assert callable(score)
    with pytest.raises(DataError, match=r"3 x 4 x 5 voxels and the reference 3 x 4 x 6"):
        score(np.zeros((3, 4, 5), dtype=bool), np.zeros((3, 4, 6), dtype=bool))


@pytest.mark.parametrize("spacing", [(1.0, 0.0, 1.0), (1.0, math.nan, 1.0), (-1.0, 1.0, 1.0), (math.inf, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: Spacing) -> None:
    with pytest.raises(DataError, match="three positive lengths in mm"):
        hausdorff95(blob(0), blob(1), spacing)


def labels(*indices: int) -> NDArray[np.uint8]:
    return np.array(indices, dtype=np.uint8).reshape(-1, 1, 1)


def test_classes_of_both_sides_are_matched_by_name() -> None:
    prediction = Segmentation(labels(0, 1, 1, 0, 0), BINARY)
    reference = Segmentation(labels(0, 2, 3, 1, 0), ("background", "enhancing", "necrotic", "edema"))
    (score,) = score_case("a", prediction, reference, WHOLE, ONE_MM)
    assert score.dice == pytest.approx(4 / 5)
    assert score.hd95 == pytest.approx(4 / 5)  # of the distances 0, 0, 0, 0, 1
    assert (score.case, score.region, score.note) == ("a", "whole", None)


def test_each_region_is_scored_apart_and_in_order() -> None:
    classes = ("background", *PARTS)
    prediction, reference = Segmentation(labels(1, 2, 3, 0), classes), Segmentation(labels(1, 1, 3, 2), classes)
    whole, core, enhancing = score_case("a", prediction, reference, REGIONS, ONE_MM)
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
    (score,) = score_case("a", Segmentation(found, BINARY), Segmentation(truth, BINARY), WHOLE, ONE_MM)
    assert score.note == note


def test_a_reference_that_cannot_tell_a_region_is_refused() -> None:
    prediction, reference = Segmentation(labels(1), ("background", "necrotic")), Segmentation(labels(1), BINARY)
    sentence = "reference of case a has the classes background, whole, none of which belongs to the region 'core'"
    with pytest.raises(DataError, match=sentence):
        score_case("a", prediction, reference, REGIONS, ONE_MM)


def test_a_prediction_with_a_class_that_lies_partly_inside_a_region_is_refused() -> None:
    prediction, reference = (
        Segmentation(labels(1, 2), ("background", *classes)) for classes in (("whole", "enhancing"), PARTS)
    )
    sentence = r"prediction of case a has the classes .*, of which 'whole' may lie partly inside the region 'core'"
    with pytest.raises(DataError, match=sentence):
        score_case("a", prediction, reference, REGIONS, ONE_MM)


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
        score_case("a", Segmentation(labels(0, 1), BINARY), Segmentation(labels(0, 1, 1), BINARY), WHOLE, ONE_MM)


def test_a_summary_is_mean_and_sample_deviation_of_each_region() -> None:
    scores = [
        Score("a", "whole", 0.9, 2.0, None),
        Score("b", "whole", 0.7, 6.0, None),
        Score("a", "core", 0.5, 1.0, None),
    ]
    summary = summarise(scores)
    assert list(summary) == ["whole", "core"]
    assert summary["whole"] == pytest.approx(
        {"n": 2, "dice_mean": 0.8, "dice_std": 0.02**0.5, "hd95_mean": 4, "hd95_std": 8**0.5, "missed": 0}
    )
    assert summary["core"] == {"n": 1, "dice_mean": 0.5, "dice_std": 0, "hd95_mean": 1, "hd95_std": 0, "missed": 0}


def test_missed_cases_count_in_the_mean_and_are_told() -> None:
    something, nothing = (Segmentation(labels(value, 0), BINARY) for value in (1, 0))
    sides = itertools.product([something, nothing], repeat=2)
    scores = [s for i, (p, r) in enumerate(sides) for s in score_case(str(i), p, r, WHOLE, ONE_MM)]
    apart = Score("4", "whole", 0.0, 9.0, None)  # both found something, but nowhere the same
    summary = summarise([*scores, apart])["whole"]
    assert summary["n"] == 5
    assert summary["missed"] == 2
    assert summary["dice_mean"] == pytest.approx(2 / 5)


def test_results_are_json_without_nan() -> None:
    nothing = Segmentation(labels(0, 0), BINARY)
    scores = score_case("a", nothing, nothing, WHOLE, ONE_MM)
    document = {"definition": DEFINITION, "cases": [s._asdict() for s in scores], "summary": summarise(scores)}
    read = json.loads(json.dumps(document, allow_nan=False))
    assert set(read["cases"][0]) == {"case", "region", "dice", "hd95", "note"}
    assert set(read["summary"]["whole"]) == {"n", "dice_mean", "dice_std", "hd95_mean", "hd95_std", "missed"}


def test_no_scores_have_no_summary() -> None:
    assert summarise([]) == {}


def test_the_definition_tells_the_conventions_apart() -> None:
    assert "pooled" in DEFINITION["hd95"]
    assert "spacing" in DEFINITION["distance"]
    assert "373.13" in DEFINITION["one_empty"]
