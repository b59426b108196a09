"""Windows of a stored case: where they lie, what they show, and the way back to the file's own grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from tests.core.heads import AFFINE, HALF_A_LEVEL, by_hand, head, marked, save_case, small_case, voxels
from torch.nn import functional

from ddmkit import Case, DataError, Window
from ddmkit.building import LOCATIONS
from ddmkit.preprocessing import centred
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Shape
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]

SHAPE, FRAME = (7, 9, 6), (13, 12, 11)
BEFORE = (3, 1, 2)  # of 6, 3 and 5 voxels of padding


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small_case(tmp_path / "case", SHAPE)


@pytest.fixture
def framed(configured: Configured, case: Case) -> StoredCase:
    return Store(configured(f"preprocessing.frame={','.join(map(str, FRAME))}")).open(case)


def padded() -> tuple[np.ndarray, np.ndarray]:
    """Return the whole frame's images and labels, made by hand."""
    after = [whole - own - before for whole, own, before in zip(FRAME, SHAPE, BEFORE, strict=True)]
    sides = list(zip(BEFORE, after, strict=True))
    images = np.stack([by_hand(head(SHAPE)), by_hand(head(SHAPE, 100))])
    return np.pad(images, [(0, 0), *sides]), np.pad(np.searchsorted([0, 1, 2, 4], marked(SHAPE)), sides)


def labels_of(stored: StoredCase, window: Window) -> np.ndarray:
    labels = stored.read(window).labels
    assert labels is not None
    array: np.ndarray = labels.numpy()
    return array


def spans(side: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw a start and a size within a side."""
    return st.integers(0, side - 1).flatmap(lambda first: st.tuples(st.just(first), st.integers(1, side - first)))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    (x, width), (y, depth), (z, height) = (draw(spans(side)) for side in FRAME)
    return Window((x, y, z), (width, depth, height), FRAME)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=windows())
def test_a_window_is_cut_from_the_padded_normalised_whole(framed: StoredCase, window: Window) -> None:
    images, labels = padded()
    example = framed.read(window)
    assert example.window == window
    assert example.images.dtype == torch.float32
    assert np.abs(example.images.numpy() - images[:, *window.slices]).max() <= HALF_A_LEVEL
    assert example.labels is not None
    assert example.labels.dtype == torch.uint8
    assert np.array_equal(example.labels, labels[window.slices])


@pytest.mark.parametrize("start", [(0, 0, 0), (11, 0, 0), (0, 11, 9)])
def test_a_window_wholly_in_the_padding_is_background(framed: StoredCase, start: Shape) -> None:
    example = framed.read(Window(start, (2, 1, 2), FRAME))
    assert example.images.shape == (2, 2, 1, 2)
    assert not example.images.any()
    assert example.labels is not None
    assert not example.labels.any()


def test_locations_are_labelled_voxels_of_the_frame_and_of_each_class_as_many(framed: StoredCase) -> None:
    found = framed.locations()
    labels = padded()[1][tuple(found.T)]
    present = set(np.unique(padded()[1])) - {0}
    assert {index: int((labels == index).sum()) for index in present} == dict.fromkeys(present, LOCATIONS)
    everywhere = {tuple(voxel) for voxel in np.argwhere(padded()[1] > 0).tolist()}
    drawn = {tuple(voxel) for voxel in found.tolist()}
    assert drawn <= everywhere
    assert len(drawn) > 0.9 * len(everywhere)  # of so few, nearly all


def test_locations_in_the_brains_region_are_labelled_voxels_of_it(configured: Configured, off_centre: Case) -> None:
    stored = Store(configured("preprocessing.frame=brain")).open(off_centre)
    assert min(stored.region.start) > 0
    found = stored.locations()
    assert len(found)
    assert (labels_of(stored, stored.whole())[tuple(found.T)] > 0).all()


def test_a_case_without_labels_has_no_locations(configured: Configured, case: Case) -> None:
    stored = Store(configured()).open(case._replace(reference=None))
    assert stored.locations().shape == (0, 3)


def test_a_frame_smaller_than_the_case_cuts_nothing_off(configured: Configured, case: Case) -> None:
    assert Store(configured("preprocessing.frame=2,2,20")).open(case).whole() == Window.whole((7, 9, 20))


def test_a_window_larger_than_the_case_pads_it(configured: Configured, case: Case) -> None:
    stored = Store(configured("patch.sides=8,5,4")).open(case)
    assert stored.whole() == Window.whole((8, 9, 6))
    images = stored.leave(stored.read(stored.whole()).images.numpy())
    assert np.abs(images[0] - by_hand(head(SHAPE))).max() <= HALF_A_LEVEL


@pytest.mark.parametrize("window", [Window.whole(FRAME, 2), Window((2, 4, 0), (8, 7, 5), FRAME, 2)])
def test_half_resolution_is_average_pooling_and_every_second_label(framed: StoredCase, window: Window) -> None:
    full, half = framed.read(window._replace(factor=1)), framed.read(window)
    odd = [side % 2 for side in reversed(window.size)]
    filled = functional.pad(full.images, [n for side in odd for n in (0, side)])
    assert half.images.shape[1:] == window.shape
    assert torch.allclose(half.images, functional.avg_pool3d(filled, 2), atol=1e-6)
    assert full.labels is not None
    assert half.labels is not None
    assert torch.equal(half.labels, full.labels[::2, ::2, ::2])


def test_a_case_without_reference_is_read_without_labels(configured: Configured, case: Case) -> None:
    stored = Store(configured()).open(case._replace(reference=None))
    assert stored.reference() is None
    assert stored.read(stored.whole()).labels is None


def test_a_case_keeps_its_name_its_classes_its_affine_and_its_spacing(framed: StoredCase) -> None:
    assert framed.name == "a"
    assert framed.read(Window((0, 0, 0), (1, 1, 1), FRAME)).classes == ("background", "core", "edema", "enhancing")
    assert np.allclose(framed.affine, AFFINE, atol=1e-6)
    assert framed.spacing == pytest.approx((np.hypot(0.9, 0.2), np.sqrt(0.1**2 + 1.1**2 + 0.1**2), np.hypot(0.1, 1.5)))


@pytest.mark.parametrize("option", ["orientation=null", "orientation=RSP", "spacing=2,1,1", "frame=brain"])
def test_the_reference_is_the_files_own_whatever_was_done_to_the_case(
    configured: Configured, case: Case, option: str
) -> None:
    reference = Store(configured(f"preprocessing.{option}")).open(case).reference()
    assert reference is not None
    assert np.array_equal(reference, np.searchsorted([0, 1, 2, 4], marked(SHAPE)))


def test_reading_the_reference_of_a_file_that_was_damaged_since_is_a_data_error(framed: StoredCase) -> None:
    assert framed.case.reference is not None
    framed.case.reference.write_bytes(b"no image")
    with pytest.raises(DataError, match="a_seg"):
        framed.reference()


# The frame "brain": the smallest box around the brain, at its place in the paper's frame.

LARGE = (20, 18, 16)


@pytest.fixture
def off_centre(tmp_path: Path) -> Case:
    """Return a case whose brain is a small part of the volume."""
    images = {}
    for seed, name in enumerate(("t1", "flair")):
        images[name] = np.zeros(LARGE)
        images[name][3:12, 8:15, 1:9] = np.random.default_rng(seed).random((9, 7, 8)) + 1
    labels = np.zeros(LARGE, dtype=np.uint8)
    labels[5:8, 9:12, 2:6] = 4
    return save_case(tmp_path, images, labels)


def paper_and_brain(configured: Configured, case: Case, *options: str) -> tuple[StoredCase, StoredCase]:
    paper, brain = (
        Store(configured(f"preprocessing.frame={frame}", *options)).open(case) for frame in ("paper", "brain")
    )
    return paper, brain


def test_the_brains_region_is_its_smallest_box_at_its_place_in_the_papers_frame(
    configured: Configured, off_centre: Case
) -> None:
    paper, brain = paper_and_brain(configured, off_centre)
    assert paper.region == Window.whole((256, 256, 256))
    assert brain.region == Window((118 + 3, 119 + 8, 120 + 1), (9, 7, 8), (256, 256, 256))


@pytest.mark.parametrize("orientation", ["null", "LPS", "SRA"])
def test_a_voxel_of_the_brain_has_the_content_and_the_place_that_it_has_in_the_papers_frame(
    configured: Configured, off_centre: Case, orientation: str
) -> None:
    paper, brain = paper_and_brain(configured, off_centre, f"preprocessing.orientation={orientation}")
    window = Window((2, 1, 0), (3, 4, 5), brain.region.size).within(brain.region)
    mine, theirs = brain.read(window), paper.read(window)
    assert mine.images.any()
    assert torch.equal(mine.images, theirs.images)
    assert np.array_equal(labels_of(brain, window), labels_of(paper, window))
    assert mine.window == theirs.window
    encode = configured().encoding.encode
    assert torch.equal(encode(mine.window), encode(paper.whole())[:, *window.slices])


def test_both_frames_are_served_by_one_file(configured: Configured, off_centre: Case) -> None:
    paper, brain = paper_and_brain(configured, off_centre)
    assert paper.path == brain.path


@pytest.mark.parametrize("patch", ["sides=14,3,3", "sides=18,16,16"])
def test_the_brains_region_grows_to_hold_a_window_and_keeps_the_brain(
    configured: Configured, off_centre: Case, patch: str
) -> None:
    _, brain = paper_and_brain(configured, off_centre, f"patch.{patch}")
    least = tuple(int(side) for side in patch.removeprefix("sides=").split(","))
    assert brain.region.size == tuple(np.maximum(least, (9, 7, 8)))
    images = brain.leave(brain.read(brain.whole()).images.numpy())
    expected = by_hand(voxels(off_centre.images["t1"].path))
    assert np.abs(images[0] - expected).max() <= HALF_A_LEVEL


@pytest.mark.parametrize("orientation", ["null", "LPS", "IPR"])
def test_what_leaves_the_brains_region_lies_on_the_files_grid_with_0_outside(
    configured: Configured, off_centre: Case, orientation: str
) -> None:
    _, brain = paper_and_brain(configured, off_centre, f"preprocessing.orientation={orientation}")
    given = np.random.default_rng(0).random((2, 3, *brain.region.size), dtype=np.float32) + 1
    left = brain.leave(given)
    assert left.shape == (2, 3, *LARGE)
    assert left.dtype == np.float32
    assert np.array_equal(np.sort(left[left != 0]), np.sort(given.ravel()))
    expected = np.zeros(LARGE, dtype=bool)
    expected[3:12, 8:15, 1:9] = True
    assert np.array_equal(left[1, 2] != 0, expected)


@pytest.mark.parametrize("frame", ["native", "paper", "brain", "25,25,25"])
@pytest.mark.parametrize("orientation", ["null", "LPS", "PIR"])
def test_what_was_read_whole_leaves_as_the_normalised_original(
    configured: Configured, off_centre: Case, frame: str, orientation: str
) -> None:
    options = (f"preprocessing.frame={frame}", f"preprocessing.orientation={orientation}")
    stored = Store(configured(*options)).open(off_centre)
    left = stored.leave(stored.read(stored.whole()).images.numpy())
    for channel, name in zip(left, ("t1", "flair"), strict=True):
        assert np.abs(channel - by_hand(voxels(off_centre.images[name].path))).max() <= HALF_A_LEVEL


# Orientation and spacing.


def turned(case: Case, folder: Path, orientation: str) -> Case:
    """Return the same case stored with its axes in another order and direction, as nibabel turns images."""
    folder.mkdir()
    images = {name: image._replace(path=folder / image.path.name) for name, image in case.images.items()}
    assert case.reference is not None
    for path in [*(image.path for image in case.images.values()), case.reference]:
        image: Any = nib.load(path)
        change = ornt_transform(io_orientation(image.affine), axcodes2ornt(orientation))
        nib.save(image.as_reoriented(change), folder / path.name)
    return case._replace(images=images, reference=folder / case.reference.name)


@pytest.mark.parametrize("spacing", ["null", "1.3,1.3,1.3"])
@pytest.mark.parametrize("frame", ["native", "brain", "15,16,17"])
def test_one_case_stored_in_any_orientation_gives_the_same_windows_and_the_same_answer_in_space(
    configured: Configured, tmp_path: Path, frame: str, spacing: str
) -> None:
    case = small_case(tmp_path / "case", (12, 11, 8))
    options = [f"preprocessing.{name}" for name in ("orientation=LPS", f"frame={frame}", f"spacing={spacing}")]
    store = Store(configured(*options))
    cases = [turned(case, tmp_path / orientation, orientation) for orientation in ("LPS", "RAS", "SLA", "PIR")]
    first, *others = (store.open(one) for one in cases)
    whole = first.read(first.whole())
    assert whole.images.any()
    assert whole.labels is not None
    answer = np.random.default_rng(0).random(first.region.size, dtype=np.float32)
    for other in others:
        assert other.region == first.region
        example = other.read(other.whole())
        assert torch.allclose(example.images, whole.images, atol=2 * HALF_A_LEVEL)
        assert np.array_equal(labels_of(other, other.whole()), whole.labels)
        back = nib.Nifti1Image(other.leave(answer), np.array(other.affine))
        change: Any = ornt_transform(io_orientation(back.affine), axcodes2ornt("LPS"))
        same: Any = back.as_reoriented(change)
        assert np.allclose(same.affine, first.affine, atol=1e-4)
        assert np.allclose(same.dataobj, first.leave(answer), atol=1e-5)


def smooth(shape: Shape) -> np.ndarray:
    """Return a bump that falls to 0 well inside of the volume."""
    places = [np.linspace(-1, 1, side) for side in shape]
    distance = sum(place**2 for place in np.meshgrid(*places, indexing="ij")) / 0.8**2
    bump: np.ndarray = np.clip(1 - distance, 0, None) ** 2
    return bump


@pytest.mark.parametrize(
    ("spacing", "seen"), [("1,1,1", (30, 29, 40)), ("2,2.5,3", (15, 12, 13)), ("1.5,1,2", (20, 29, 20))]
)
def test_at_another_spacing_windows_have_the_size_it_makes_and_a_smooth_image_comes_back(
    configured: Configured, tmp_path: Path, spacing: str, seen: Shape
) -> None:
    shape = (20, 29, 16)
    image, labels = smooth(shape), (smooth(shape) > 0.4).astype(np.uint8)
    case = save_case(tmp_path, {"t1": image, "flair": 3 * image}, labels, np.diag([1.5, 1, 2.5, 1]))
    stored = Store(configured(f"preprocessing.spacing={spacing}")).open(case)
    example = stored.read(stored.whole())
    assert stored.region == Window.whole(seen)
    assert example.images.shape == (2, *seen)
    assert labels_of(stored, stored.whole()).shape == seen
    assert labels_of(stored, stored.whole()).mean() == pytest.approx(labels.mean(), rel=0.2)
    errors = np.abs(stored.leave(example.images.numpy())[1] - by_hand(image))
    assert errors.mean() < 0.01
    assert errors.max() < 0.1


def test_a_resampled_case_is_padded_like_any_other(configured: Configured, tmp_path: Path) -> None:
    case = save_case(tmp_path, {name: head((10, 12, 9)) for name in ("t1", "flair")}, affine=np.diag([2, 1, 1, 1.0]))
    plain, framed = (
        Store(configured("preprocessing.spacing=1,1,1", f"preprocessing.frame={frame}")).open(case)
        for frame in ("native", "paper")
    )
    window = centred(plain.whole(), (256, 256, 256))
    assert window == Window((118, 122, 123), (20, 12, 9), (256, 256, 256))
    assert torch.equal(framed.read(window).images, plain.read(plain.whole()).images)
