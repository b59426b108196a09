"""Volumes turned and resampled for a network, and back onto the voxels they came from."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nibabel.affines import voxel_sizes
from scipy import linalg, ndimage
from scipy.spatial.transform import Rotation

from ddmkit.grid import Grid, check_orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.floating[Any]]

ORIENTATIONS = [
    "".join(letters) for order in itertools.permutations(("LR", "AP", "IS")) for letters in itertools.product(*order)
]
ANGLES = st.floats(-180, 180).map(lambda angle: round(angle, 1))
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.9, 1.0, 1.3, 1.7, 3.0])] * 3)


@st.composite
def affines(draw: st.DrawFn) -> Array:
    """Draw an affine: any rotation, or none, of axes in any order and direction, at times sheared."""
    turn = Rotation.from_euler("xyz", draw(st.tuples(ANGLES, ANGLES, ANGLES)), degrees=True).as_matrix()
    order = np.eye(3)[list(draw(st.permutations(range(3))))]
    signs = np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    shear = np.eye(3)
    shear[0, 1] = draw(st.sampled_from([0, 0, 0.1]))
    affine = np.eye(4)
    affine[:3, :3] = (turn if draw(st.booleans()) else np.eye(3)) @ shear @ order @ signs @ np.diag(draw(SPACINGS))
    affine[:3, 3] = draw(st.tuples(*[st.sampled_from([-90.5, -0.0, 126.0])] * 3))
    return affine


def shapes(least: int = 1, most: int = 9) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(least, most)] * 3)


def orientations() -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(ORIENTATIONS)


def world(affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the place in mm of each voxel, (3, X, Y, Z)."""
    return np.tensordot(affine[:3, :3], np.indices(shape), axes=1) + affine[:3, 3].reshape(3, 1, 1, 1)


def places_among(other: Array, affine: Array, shape: tuple[int, ...]) -> Array:
    """Return where each voxel of a grid lies among those of another, in its voxels, by way of the millimetres."""
    places = world(affine, shape).reshape(3, -1)
    found: Array = np.linalg.solve(other, np.vstack([places, np.ones(places.shape[1])]))[:3]
    return found.reshape(3, *shape)


def interpolated(image: Array, affine: Array, onto: Array, shape: tuple[int, ...]) -> Array:
    """Return an image on another grid: smoothed as far as that is coarser, then interpolated in millimetres."""
    sigma = np.maximum(np.abs(np.linalg.inv(affine) @ onto)[:3, :3].max(axis=1) - 1, 0) / 2
    smooth = ndimage.gaussian_filter(image, sigma, mode="nearest")
    found: Array = ndimage.map_coordinates(smooth, places_among(affine, onto, shape), order=1, mode="nearest")
    return found


def numbered(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a volume of which no two voxels are alike."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def inner(shape: tuple[int, ...], margins: Array) -> tuple[slice, ...]:
    """Return the part of an array that is at least so many voxels away from its ends."""
    return tuple(
        slice(int(np.ceil(margin)), max(0, side - int(np.ceil(margin))))
        for side, margin in zip(shape, margins, strict=True)
    )


def sides(affine: Array) -> Array:
    lengths: Array = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    return lengths


def ratio_along_file_axes(grid: Grid) -> Array:
    """Return how many voxels of the file one seen voxel is long, for each axis of the file."""
    ratio: Array = np.abs(np.linalg.inv(np.array(grid.affine)) @ grid.seen_affine)[:3, :3].max(axis=1)
    return ratio


def reach(ratio: Array) -> Array:
    """Return how far, in voxels of the grid that is read, those lie that make a voxel of another so much coarser."""
    return 1 + np.ceil(4 * np.maximum(ratio - 1, 0) / 2)


@given(affines(), shapes(), orientations())
def test_turning_keeps_the_place_in_millimetres_of_each_voxel(
    affine: Array, shape: tuple[int, ...], orientation: str | None
) -> None:
    grid = Grid.of(shape, affine, orientation, None)
    seen = grid.enter(numbered(shape))
    assert seen.shape == grid.seen_shape
    origin = np.array(np.unravel_index(seen.astype(int), shape))
    expected = np.tensordot(affine[:3, :3], origin, axes=1) + affine[:3, 3].reshape(3, 1, 1, 1)
    np.testing.assert_allclose(world(grid.seen_affine, grid.seen_shape), expected, atol=1e-9)


@given(affines(), shapes(), st.sampled_from(ORIENTATIONS), st.none() | SPACINGS)
def test_axes_run_where_they_were_asked_to(
    affine: Array, shape: tuple[int, ...], orientation: str, spacing: tuple[float, float, float] | None
) -> None:
    directions = np.sort(np.abs(linalg.polar(affine[:3, :3] / sides(affine))[0]), axis=0)
    assume((directions[2] - directions[1] > 1e-6).all())  # halfway between two axes either is the closest
    assume((directions[2] > 0.72).all())  # nor do two axes of the file want the same one
    grid = Grid.of(shape, affine, orientation, spacing)
    assert "".join(nib.aff2axcodes(grid.seen_affine)) == orientation
    if spacing is not None:
        np.testing.assert_allclose(voxel_sizes(grid.seen_affine), spacing, rtol=1e-9)


@given(affines(), shapes(), orientations())
def test_what_is_only_turned_comes_back_bit_by_bit(
    affine: Array, shape: tuple[int, ...], orientation: str | None
) -> None:
    grid = Grid.of(shape, affine, orientation, None)
    assert not grid.resampled
    image = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    seen = grid.enter(image)
    assert seen.flags.c_contiguous
    np.testing.assert_array_equal(grid.leave(seen), image)
    labels = numbered(shape).astype(np.uint8)
    assert grid.enter_labels(labels).dtype == np.uint8
    np.testing.assert_array_equal(grid.leave(grid.enter_labels(labels)), labels)


def test_a_grid_that_is_as_asked_for_costs_nothing() -> None:
    affine = np.array([[-1, 0, 0, 0.1], [0, -1, 0, 239.3], [0, 0, 1.0004, -0.0], [0, 0, 0, 1]])
    grid = Grid.of((4, 5, 6), affine, "LPS", (1.0, 1.0, 1.0))
    image = numbered((4, 5, 6))
    for given_back in (grid.enter(image), grid.leave(image), grid.enter_labels(image)):
        assert np.shares_memory(given_back, image)
        np.testing.assert_array_equal(given_back, image)
    assert grid.seen_shape == (4, 5, 6)
    np.testing.assert_array_equal(grid.seen_affine, affine)
    np.testing.assert_allclose(voxel_sizes(grid.seen_affine), (1, 1, 1.0004))


def test_a_turn_worked_out_by_hand() -> None:
    affine = np.array([[0, 2.0, 0, -5], [0, 0, -3.0, 7], [1.0, 0, 0, 0], [0, 0, 0, 1]])  # axes run to S, R, P
    grid = Grid.of((2, 3, 4), affine, "LPS", None)
    image = numbered((2, 3, 4))
    expected = np.empty((3, 4, 2))
    for x, y, z in np.ndindex(2, 3, 4):
        expected[2 - y, z, x] = image[x, y, z]
    np.testing.assert_array_equal(grid.enter(image), expected)
    np.testing.assert_array_equal(
        grid.seen_affine, [[-2, 0, 0, -1], [0, -3, 0, 7], [0, 0, 1, 0], [0, 0, 0, 1]]
    )  # its first voxel was at index (0, 2, 0): -5 + 2 * 2 = -1 mm


@given(affines(), shapes(), st.sampled_from(ORIENTATIONS), SPACINGS, st.sampled_from(ORIENTATIONS))
def test_the_same_volume_stored_in_another_voxel_order_looks_the_same(
    affine: Array, shape: tuple[int, ...], orientation: str, spacing: tuple[float, float, float], other: str
) -> None:
    directions = np.abs(linalg.polar(affine[:3, :3] / sides(affine))[0])
    assume((directions.max(axis=0) > 0.72).all())
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(other))
    again = nib.orientations.apply_orientation(image, change)
    one = Grid.of(shape, affine, orientation, spacing)
    two = Grid.of(again.shape, affine @ nib.orientations.inv_ornt_aff(change, shape), orientation, spacing)
    np.testing.assert_allclose(two.seen_affine, one.seen_affine, atol=1e-9)
    np.testing.assert_allclose(two.enter(again), one.enter(image), atol=1e-5)
    np.testing.assert_array_equal(two.enter_labels(again), one.enter_labels(image))


def test_an_affine_that_is_flat_up_to_rounding_still_has_three_axes() -> None:
    affine = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1e-17, 0], [0, 0, 0, 1]])
    grid = Grid.of((2, 3, 4), affine, "LPS", None)
    image = numbered((2, 3, 4))
    np.testing.assert_array_equal(grid.leave(grid.enter(image)), image)


@given(affines(), shapes(), orientations(), SPACINGS)
def test_both_volumes_have_one_centre_and_about_one_extent(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float]
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    middle = (np.array(grid.seen_shape) - 1) / 2
    np.testing.assert_allclose(
        grid.seen_affine[:3, :3] @ middle + grid.seen_affine[:3, 3],
        affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3],
        atol=1e-9,
    )
    unit = np.abs(np.linalg.inv(affine)[:3, :3] @ grid.seen_affine[:3, :3])  # seen voxels in voxels of the file
    extent = unit @ grid.seen_shape
    assert (np.abs(extent - shape) <= np.maximum(unit.sum(axis=1) / 2, unit.sum(axis=1) - shape) + 1e-9).all()


@given(affines(), shapes(), orientations(), SPACINGS)
def test_a_voxel_is_interpolated_where_it_lies_on_the_way_there_and_back(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float]
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    image = np.random.default_rng(2).random(shape)
    there = grid.enter(np.stack([image, 2 * image]))
    expected = interpolated(image, affine, grid.seen_affine, grid.seen_shape)
    np.testing.assert_allclose(there, [expected, 2 * expected], atol=1e-5)
    back = grid.leave(there)
    np.testing.assert_allclose(
        back, [interpolated(channel.astype(float), grid.seen_affine, affine, shape) for channel in there], atol=1e-5
    )
    assert there.dtype == back.dtype == np.float32


@given(affines(), shapes(), orientations(), SPACINGS)
def test_a_seen_label_is_that_of_a_nearest_voxel(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float]
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    taken = np.array(np.unravel_index(grid.enter_labels(numbered(shape)).astype(int), shape))
    places = places_among(affine, grid.seen_affine, grid.seen_shape)
    ends = np.reshape(shape, (3, 1, 1, 1)) - 1
    nearest = np.abs(places - np.clip(np.rint(places), 0, ends))
    np.testing.assert_allclose(np.abs(places - taken), nearest, atol=1e-5)


def test_labels_between_two_voxels_do_not_depend_on_how_a_header_rounds() -> None:
    labels = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    seen = [
        Grid.of(labels.shape, np.diag([side, side, side, 1]), None, (2, 2, 2)).enter_labels(labels)
        for side in (1 - 3e-8, 1, 1 + 3e-8)
    ]
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])


@settings(max_examples=60)
@given(affines(), shapes(14, 20), orientations(), SPACINGS)
def test_a_linear_function_of_the_place_is_the_same_function_on_both_grids(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float]
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    slope = np.array([0.7, -1.1, 0.4])
    there, here = (
        np.tensordot(slope, world(*on), axes=1) for on in ((affine, shape), (grid.seen_affine, grid.seen_shape))
    )
    tolerance = 1e-6 * max(np.abs(there).max(), np.abs(here).max())
    ratio = ratio_along_file_axes(grid)
    ends, margin = np.reshape(shape, (3, 1, 1, 1)) - 1, reach(ratio).reshape(3, 1, 1, 1)
    places = places_among(affine, grid.seen_affine, grid.seen_shape)
    inside = ((places >= margin) & (places <= ends - margin)).all(axis=0)
    np.testing.assert_allclose(grid.enter(there)[inside], here[inside], atol=tolerance)
    part = inner(shape, (reach(1 / ratio) + 1) * ratio)
    np.testing.assert_allclose(grid.leave(here)[part], there[part], atol=tolerance)


@settings(max_examples=60)
@given(affines(), shapes(24, 30), orientations(), st.sampled_from([0.5, 0.8, 1.3, 2.0]))
def test_a_smooth_function_survives_the_way_there_and_back(
    affine: Array, shape: tuple[int, ...], orientation: str | None, scale: float
) -> None:
    """The error is at most what Taylor's theorem leaves.

    Along an axis with second derivative at most M, linear interpolation between samples h apart errs by M h² / 8, and
    smoothing of standard deviation σ by M σ² / 2, where σ = (coarse - fine) / 2. Neither makes earlier errors larger.
    """
    turned = sides(Grid.of(shape, affine, orientation, None).seen_affine)
    grid = Grid.of(shape, affine, orientation, (scale * turned).tolist())
    assert grid.resampled
    waves = np.array([0.10, -0.06, 0.08])  # radians per mm
    image = np.cos(np.tensordot(waves, world(affine, shape), axes=1))
    old = sides(affine)
    second = (waves @ (affine[:3, :3] / old)) ** 2
    bound = float((second / 8 * (old**2 + (scale * old) ** 2 + (scale * old - old) ** 2)).sum())
    ratio = np.full(3, scale)
    part = inner(shape, reach(ratio) + (reach(1 / ratio) + 1) * ratio)
    assert image[part].size
    assert np.abs(grid.leave(grid.enter(image)) - image)[part].max() <= bound + 1e-5


@given(affines(), shapes(), orientations(), SPACINGS)
def test_a_constant_volume_stays_that_up_to_its_ends(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float]
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    seen = grid.enter(np.full(shape, 7, dtype=np.uint8))
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, 7, rtol=1e-6)
    back = grid.leave(seen)
    assert back.shape == shape
    np.testing.assert_allclose(back, 7, rtol=1e-6)


def test_stripes_too_fine_for_the_seen_grid_become_their_mean() -> None:
    stripes = np.zeros((48, 3, 3), dtype=np.float32)
    stripes[::2] = 1
    grid = Grid.of(stripes.shape, np.eye(4), None, (4, 1, 1))
    assert grid.seen_shape == (12, 3, 3)
    np.testing.assert_allclose(grid.enter(stripes)[2:-2], 0.5, atol=1e-3)  # exp(-π² 1.5² / 2) of them is left
    finer = Grid.of((12, 3, 3), np.diag([4, 1, 1, 1]), None, (1, 1, 1))
    np.testing.assert_allclose(finer.leave(stripes)[2:-2], 0.5, atol=1e-3)


def test_an_axis_never_loses_its_last_voxel() -> None:
    grid = Grid.of((1, 2, 9), np.eye(4), None, (5, 5, 5))
    assert grid.seen_shape == (1, 1, 2)
    seen = grid.enter_labels(np.ones((1, 2, 9), dtype=np.uint8))
    assert seen.shape == (1, 1, 2)
    assert grid.leave(seen).shape == (1, 2, 9)


@given(affines(), shapes(), orientations(), st.none() | SPACINGS)
def test_a_grid_is_the_same_after_a_journey_through_json(
    affine: Array, shape: tuple[int, ...], orientation: str | None, spacing: tuple[float, float, float] | None
) -> None:
    grid = Grid.of(shape, affine, orientation, spacing)
    again: Any = json.loads(json.dumps(grid))
    assert Grid.of(*again) == grid
    assert Grid.of(**json.loads(json.dumps(grid._asdict()))) == grid


def test_an_array_from_elsewhere_is_refused() -> None:
    grid = Grid.of((2, 3, 4), np.eye(4), "LPS", (1, 1, 2))
    for take in (grid.enter, grid.enter_labels):
        with pytest.raises(ValueError, match=r"shape \(2, 3, 5\) does not lie on a grid of shape \(2, 3, 4\)"):
            take(np.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match=r"does not lie on a grid of shape \(2, 3, 2\)"):
        grid.leave(np.zeros((2, 3, 4)))


@pytest.mark.parametrize("orientation", [*ORIENTATIONS, "lps"])
def test_each_of_the_48_orientations_may_be_asked_for(orientation: str) -> None:
    assert len(set(ORIENTATIONS)) == 48
    assert check_orientation(orientation) == orientation.upper()


@pytest.mark.parametrize("text", ["", "LP", "LPSS", "LRS", "LLL", "LPX", "RAS+", "left", "L P S", "LPP"])
def test_anything_else_says_how_an_orientation_is_written(text: str) -> None:
    with pytest.raises(ValueError, match=f"^orientation {text!r} .* such as LPS".replace("+", r"\+")):
        check_orientation(text)
