"""Dice, HD95 and surface Dice against what they are defined as and what MONAI computes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage
from scipy.spatial.distance import cdist

from ddmkit import DataError
from ddmkit.definition import Scoring
from ddmkit.measures import Spacing, dice, surface_dice, surface_distances

if TYPE_CHECKING:
    from ddmkit.measures import Directions, Mask

ONE_MM = (1.0, 1.0, 1.0)
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


def distances_by_definition(prediction: Mask, reference: Mask, spacing: Spacing) -> list[np.ndarray]:
    """Measure from every surface voxel to all of the other side's, in both directions."""
    found, truth = (np.array(surface_by_definition(mask)) * spacing for mask in (prediction, reference))
    pairs = cdist(found, truth)
    return [pairs.min(axis=1), pairs.min(axis=0)]


def hausdorff95_by_definition(distances: list[np.ndarray], directions: Directions) -> float:
    """Compute the 95th percentile by its rank among the sorted distances."""
    if directions == "pooled":
        return percentile95(np.concatenate(distances))
    there, back = map(percentile95, distances)
    return max(there, back) if directions == "maximum" else (there + back) / 2


def percentile95(values: np.ndarray) -> float:
    ordered = sorted(values.tolist())
    rank = 0.95 * (len(ordered) - 1)
    below: float = ordered[math.floor(rank)]
    above: float = ordered[math.ceil(rank)]
    return below + (rank - math.floor(rank)) * (above - below)


def hd95(prediction: Mask, reference: Mask, spacing: Spacing, directions: Directions = "pooled") -> float:
    return Scoring(hd95=directions).measure(prediction, reference, spacing).hd95


def hard_pairs() -> dict[str, tuple[Mask, Mask]]:
    """Return pairs of masks that are random, thin, small, full, far apart or cut by the border."""
    shape, generator = (14, 11, 9), np.random.default_rng(0)
    noise = generator.random((2, *shape))
    thin, slanted, tip, full = np.zeros((4, *shape), dtype=bool)
    thin[:, 5, 4] = True
    steps = np.arange(9)
    slanted[steps, steps, steps] = True
    tip[-1, -1, -1] = full[:] = True
    return {
        "random": (noise[0] > 0.5, noise[1] > 0.5),
        "sparse": (noise[0] > 0.99, noise[1] > 0.98),
        "thin": (thin, slanted),
        "a voxel in the corner": (tip, slanted),
        "full": (full, noise[0] > 0.7),
        "blobs at the border": (blob(0, shape), blob(1, shape)),
        "a plane at the border": (box(shape, (0, 14), (0, 1), (0, 9)), box(shape, (0, 14), (10, 11), (0, 9))),
        "one inside the other": (full, box(shape, (6, 8), (4, 6), (4, 5))),
    }


def for_monai(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()


hard = pytest.mark.parametrize("pair", hard_pairs().values(), ids=hard_pairs().keys())
monais = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges:FutureWarning")  # it warns of itself
spaced = pytest.mark.parametrize("spacing", [ONE_MM, (0.7, 1.3, 4.0)])


@hard
@spaced
@pytest.mark.parametrize("directions", ["pooled", "maximum", "mean"])
def test_hd95_is_what_measuring_all_pairs_of_surface_voxels_finds(
    pair: tuple[Mask, Mask], spacing: Spacing, directions: Directions
) -> None:
    truth = hausdorff95_by_definition(distances_by_definition(*pair, spacing), directions)
    assert hd95(*pair, spacing, directions) == pytest.approx(truth, rel=1e-12)


@hard
@spaced
@monais
def test_the_maximum_of_both_directions_is_monais_hd95(pair: tuple[Mask, Mask], spacing: Spacing) -> None:
    found, truth = map(for_monai, pair)
    monai = compute_hausdorff_distance(found, truth, include_background=True, percentile=95, spacing=list(spacing))
    assert hd95(*pair, spacing, "maximum") == pytest.approx(monai.item(), abs=1e-5)


@hard
@spaced
@monais
@pytest.mark.parametrize("tolerance", [0.0, 0.9, 2.5, 6.0])
def test_surface_dice_is_monais_and_what_measuring_all_pairs_finds(
    pair: tuple[Mask, Mask], spacing: Spacing, tolerance: float
) -> None:
    prediction, reference = map(for_monai, pair)
    monai = compute_surface_dice(
        prediction, reference, class_thresholds=[tolerance], include_background=True, spacing=list(spacing)
    )
    found = Scoring(tolerance=tolerance).measure(*pair, spacing).surface_dice
    counted = np.concatenate(distances_by_definition(*pair, spacing)) <= tolerance
    assert found == pytest.approx(counted.sum() / counted.size)
    assert found == pytest.approx(monai.item(), abs=1e-6)


def test_surface_dice_of_shifted_cubes_is_what_counting_says() -> None:
    here, there = (box((20, 20, 20), (x, x + 10), (5, 15), (5, 15)) for x in (4, 6))
    distances = surface_distances(here, there, ONE_MM)
    # Of 488 surface voxels, the 100 of one face and the inner 36 of the opposite one lie 2 mm from the other surface.
    assert surface_dice(distances, 1.0) == pytest.approx(352 / 488)
    assert surface_dice(distances, 2.0) == 1


@pytest.mark.parametrize("step", [0.1, 0.3, 0.7, 1.0, float(np.float32(0.9)), float(np.float32(1.1))])
def test_a_voxel_at_the_tolerance_itself_is_within_it_however_the_header_rounds(step: float) -> None:
    here, there = (box((9, 1, 1), (x, x + 1), (0, 1), (0, 1)) for x in (1, 4))
    nominal = round(3 * step, 3)
    assert Scoring(tolerance=nominal).measure(here, there, (step, 1.0, 1.0)).surface_dice == 1
    assert Scoring(tolerance=0.999 * nominal).measure(here, there, (step, 1.0, 1.0)).surface_dice == 0


def test_cubes_shifted_by_two_voxels_score_what_counting_says() -> None:
    here, there = (box((20, 20, 20), (x, x + 10), (5, 15), (5, 15)) for x in (4, 6))
    assert dice(here, there) == pytest.approx(0.8)  # 800 of 1000 voxels shared
    assert hd95(here, there, ONE_MM) == 2  # for 136 of the 488 surface voxels of either


def test_distances_are_in_millimetres() -> None:
    here, there = (box((20, 20, 20), (x, x + 10), (5, 15), (5, 15)) for x in (4, 6))
    assert hd95(here, there, (3.0, 1.0, 1.0)) == 6


@pytest.mark.parametrize("axis", range(3))
def test_two_sheets_are_as_far_apart_as_their_gap(axis: int) -> None:
    here, there = np.zeros((2, 9, 9, 9), dtype=bool)
    np.moveaxis(here, axis, 0)[1] = True
    np.moveaxis(there, axis, 0)[5] = True
    spacing = (0.5, 1.25, 3.0)
    assert hd95(here, there, spacing) == pytest.approx(4 * spacing[axis])
    assert dice(here, there) == 0


def test_both_directions_are_pooled_before_the_percentile() -> None:
    reference = box((12, 1, 1), (0, 1), (0, 1), (0, 1))
    prediction = reference | box((12, 1, 1), (10, 11), (0, 1), (0, 1))
    # Distances 0 and 10 one way, whose 95th percentile is 9.5, and 0 the other.
    assert hd95(prediction, reference, ONE_MM) == pytest.approx(9)
    assert hd95(prediction, reference, ONE_MM, "maximum") == pytest.approx(9.5)
    assert hd95(prediction, reference, ONE_MM, "mean") == pytest.approx(4.75)


def test_the_inside_of_a_mask_does_not_count() -> None:
    solid = box((11, 11, 11), (0, 11), (0, 11), (0, 11))
    hollow = solid & ~box((11, 11, 11), (1, 10), (1, 10), (1, 10))
    # The hollow's surface is the shell, which is the solid's too: outside of the array is background.
    assert hd95(solid, hollow, ONE_MM) == 0


def test_a_mask_agrees_with_itself() -> None:
    assert dice(blob(0), blob(0)) == 1
    assert hd95(blob(0), blob(0), ONE_MM) == 0


@settings(deadline=None)
@given(prediction=SMALL, reference=SMALL, spacing=SPACINGS, directions=st.sampled_from(["pooled", "maximum", "mean"]))
def test_hd95_of_any_masks_is_what_measuring_all_pairs_finds(
    prediction: Mask, reference: Mask, spacing: Spacing, directions: Directions
) -> None:
    prediction[0, 0, 0] = reference[4, 3, 2] = True
    truth = hausdorff95_by_definition(distances_by_definition(prediction, reference, spacing), directions)
    assert hd95(prediction, reference, spacing, directions) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize("spacing", [ONE_MM, (0.7, 1.3, 4.0)])
@pytest.mark.parametrize("seeds", [(0, 1), (2, 3)])
def test_hd95_is_the_percentile_of_monais_surface_distances(seeds: tuple[int, int], spacing: Spacing) -> None:
    prediction, reference = map(blob, seeds)
    edges = get_mask_edges(prediction, reference, crop=False)
    pooled = [get_surface_distance(a, b, "euclidean", spacing) for a, b in (edges, reversed(edges))]
    assert hd95(prediction, reference, spacing) == pytest.approx(np.percentile(np.hstack(pooled), 95))


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
    assert hd95(wider, wider_reference, spacing) == hd95(prediction, reference, spacing)
    assert dice(wider, wider_reference) == dice(prediction, reference)


@settings(deadline=None, max_examples=50)
@given(prediction=SMALL, reference=SMALL)
def test_swapping_the_sides_changes_nothing(prediction: Mask, reference: Mask) -> None:
    assert dice(prediction, reference) == dice(reference, prediction)
    there, back = hd95(prediction, reference, ONE_MM), hd95(reference, prediction, ONE_MM)
    assert there == pytest.approx(back, rel=1e-12)


def test_memory_order_changes_nothing() -> None:
    prediction, reference = blob(0), blob(1)
    turned, turned_reference = np.asfortranarray(prediction), np.asfortranarray(reference)
    assert hd95(turned, turned_reference, (1.0, 2.0, 3.0)) == hd95(prediction, reference, (1.0, 2.0, 3.0))


def test_two_empty_masks_agree() -> None:
    empty = np.zeros((3, 4, 5), dtype=bool)
    assert dice(empty, empty) == 1
    assert Scoring().measure(empty, empty, ONE_MM) == (1, 0, 1)


@pytest.mark.parametrize("turn", [1, -1])
def test_one_empty_mask_is_as_far_away_as_the_volume_is_wide(turn: int) -> None:
    tumour = box((240, 240, 155), (50, 60), (50, 60), (50, 60))
    prediction, reference = (tumour, np.zeros_like(tumour))[::turn]
    found = Scoring().measure(prediction, reference, ONE_MM)
    assert (found.dice, found.surface_dice) == (0, 0)
    assert found.hd95 == pytest.approx(373.13, abs=0.005)
    assert hd95(prediction, reference, (2.0, 2.0, 2.0)) == pytest.approx(746.26, abs=0.005)


@pytest.mark.parametrize("score", [dice, lambda a, b: hd95(a, b, ONE_MM)])
def test_masks_on_different_grids_are_refused_with_both_shapes(score: object) -> None:
    assert callable(score)
    with pytest.raises(DataError, match=r"3 x 4 x 5 voxels and the reference 3 x 4 x 6"):
        score(np.zeros((3, 4, 5), dtype=bool), np.zeros((3, 4, 6), dtype=bool))


@pytest.mark.parametrize("spacing", [(1.0, 0.0, 1.0), (1.0, math.nan, 1.0), (-1.0, 1.0, 1.0), (math.inf, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: Spacing) -> None:
    with pytest.raises(DataError, match="three positive lengths in mm"):
        hd95(blob(0), blob(1), spacing)
