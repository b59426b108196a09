"""Cases normalised once, of which windows are read without their volume."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from ddmkit import Case, DataError, Window
from ddmkit.store import Store, StoredCase, cache_folder, normalise
from ddmkit.volume import read_array, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Shape
    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

SHAPE, FRAME = (7, 9, 6), (13, 12, 11)
BEFORE = (3, 1, 2)  # of 6, 3 and 5 voxels of padding
HALF = 2.0**-11
"""The largest relative rounding error of float16, and near it the largest absolute one between 0.5 and 1."""


def first_case(configuration: Configuration, root: Path) -> Case:
    return configuration.dataset.cases(root)[0]


def by_hand(image: np.ndarray, low: float = 1, high: float = 99) -> np.ndarray:
    """Normalise an image whose background is 0."""
    foreground = np.sort(image[image != 0]).astype(np.float64)
    bottom, top = (
        np.interp(share / 100 * (len(foreground) - 1), range(len(foreground)), foreground) for share in (low, high)
    )
    scaled = np.clip((image - bottom) / (top - bottom), 0, 1)
    scaled[image == 0] = 0
    return scaled


@pytest.fixture
def case(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> Case:
    return first_case(configured(), write_cases(tmp_path, count=1, shape=SHAPE))


@pytest.fixture
def framed(configured: Configured, case: Case) -> StoredCase:
    return Store(configured(f"preprocessing.frame={','.join(map(str, FRAME))}")).open(case)


def padded(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole frame's images and labels, made from the files by hand."""
    after = [whole - own - before for whole, own, before in zip(FRAME, SHAPE, BEFORE, strict=True)]
    sides = list(zip(BEFORE, after, strict=True))
    images = np.stack([by_hand(read_array(case.images[name])) for name in ("t1", "flair")])
    assert case.labels is not None
    labels = np.searchsorted([0, 1, 2, 4], read_array(case.labels))
    return np.pad(images, [(0, 0), *sides]), np.pad(labels, sides)


def spans(side: int) -> st.SearchStrategy[tuple[int, int]]:
    """Draw a start and a size within a side."""
    return st.integers(0, side - 1).flatmap(lambda first: st.tuples(st.just(first), st.integers(1, side - first)))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    (x, width), (y, depth), (z, height) = (draw(spans(side)) for side in FRAME)
    return Window((x, y, z), (width, depth, height), FRAME)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=windows())
def test_a_window_is_cut_from_the_padded_normalised_whole(framed: StoredCase, case: Case, window: Window) -> None:
    images, labels = padded(case)
    x, y, z = (slice(first, first + n) for first, n in zip(window.start, window.size, strict=True))
    example = framed.read(window)
    assert example.window == window
    assert example.images.dtype == torch.float32
    assert np.allclose(example.images, images[:, x, y, z], rtol=HALF, atol=1e-6)
    assert example.labels is not None
    assert example.labels.dtype == torch.uint8
    assert np.array_equal(example.labels, labels[x, y, z])


@pytest.mark.parametrize("start", [(0, 0, 0), (11, 0, 0), (0, 11, 9)])
def test_a_window_wholly_in_the_padding_is_background(framed: StoredCase, start: Shape) -> None:
    example = framed.read(Window(start, (2, 1, 2), FRAME))
    assert example.images.shape == (2, 2, 1, 2)
    assert not example.images.any()
    assert example.labels is not None
    assert not example.labels.any()


def test_what_is_read_differs_from_float64_by_half_a_float16_step_at_most(framed: StoredCase, case: Case) -> None:
    images, _ = padded(case)
    stored = framed.read(Window.whole(FRAME)).images.numpy()
    assert 0 < np.abs(stored - images).max() <= HALF / 2 + 1e-6  # the step below 1 is 2^-11


def test_padding_is_that_of_the_official_code() -> None:
    stored = StoredCase(
        "a", cache_folder(), (240, 240, 155), (256, 256, 256), (), labelled=False, affine=((1, 0, 0, 0),) * 4
    )
    assert stored.offset == (8, 8, 50)
    array = np.arange(256)[None, None, :].repeat(256, 0).repeat(256, 1)
    cut = stored.unpad(array[None])
    assert cut.shape == (1, 240, 240, 155)
    assert (cut[0, 0, 0, 0], cut[0, 0, 0, -1]) == (50, 256 - 51 - 1)


def test_unpadding_undoes_padding(framed: StoredCase, case: Case) -> None:
    whole, labels = framed.read(Window.whole(FRAME)), framed.labels()
    assert case.labels is not None
    assert whole.labels is not None
    assert labels is not None
    assert np.array_equal(labels, read_labels(case.labels, {1: "core", 2: "edema", 4: "enhancing"}))
    assert np.array_equal(framed.unpad(whole.labels.numpy()), labels)
    assert framed.unpad(whole.images.numpy()).shape == (2, *SHAPE)


def test_a_frame_smaller_than_the_case_cuts_nothing_off(configured: Configured, case: Case) -> None:
    stored = Store(configured("preprocessing.frame=2,2,20")).open(case)
    assert stored.frame == (7, 9, 20)


def test_a_window_larger_than_the_case_pads_it(configured: Configured, case: Case) -> None:
    assert Store(configured("patch.sides=8,5,4")).open(case).frame == (8, 9, 6)


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
    stored = Store(configured()).open(case._replace(labels=None))
    assert not stored.labelled
    assert stored.labels() is None
    assert stored.read(Window.whole(stored.frame)).labels is None


def test_a_case_keeps_its_name_its_classes_and_its_spacing(framed: StoredCase) -> None:
    assert framed.name == "BraTS20_Training_001"
    assert framed.classes == ("background", "core", "edema", "enhancing")
    assert framed.spacing == pytest.approx((np.hypot(0.9, 0.2), np.sqrt(0.1**2 + 1.1**2 + 0.1**2), np.hypot(0.1, 1.5)))
    assert (framed.shape, framed.frame) == (SHAPE, FRAME)


def image(seed: int = 0) -> np.ndarray:
    """Return an image with a border of background 0."""
    inside = np.random.default_rng(seed).normal(100, 30, (6, 7, 8)).astype(np.float32)
    return np.pad(inside, 1)


@pytest.mark.parametrize("percentiles", [(1.0, 99.0), (0.0, 100.0), (10.0, 60.0)])
def test_normalisation_maps_the_foregrounds_percentiles_to_0_and_1(percentiles: tuple[float, float]) -> None:
    found = normalise(image(), percentiles)
    assert found.dtype == np.float32
    assert np.allclose(found, by_hand(image(), *percentiles), atol=1e-6)


def test_normalisation_does_not_depend_on_the_number_that_means_background() -> None:
    moved = np.where(image() == 0, np.float32(-1), image())
    assert np.array_equal(normalise(moved, (1, 99)), normalise(image(), (1, 99)))


def test_voxels_of_the_foreground_may_be_negative() -> None:
    moved = np.where(image() == 0, np.float32(0), image() - 100)
    assert np.allclose(normalise(moved, (1, 99)), by_hand(image()), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, -1.0, 7.0])
def test_an_image_of_one_value_is_all_background(value: float) -> None:
    assert not normalise(np.full((3, 4, 5), value, dtype=np.float32), (1, 99)).any()


def test_a_constant_foreground_is_0() -> None:
    constant = np.pad(np.full((3, 4, 5), 7, dtype=np.float32), 1)
    assert not normalise(constant, (1, 99)).any()


def test_an_image_of_one_slice_is_normalised() -> None:
    flat = image()[:, :, 4:5]
    assert np.allclose(normalise(flat, (1, 99)), by_hand(flat), atol=1e-6)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "store").iterdir())


def test_a_case_is_stored_once_and_found_again(configured: Configured, case: Case) -> None:
    first = Store(configured()).open(case)
    written = first.path.stat().st_mtime_ns
    again = Store(configured("training.steps=7", "patch.sides=3,3,3")).open(case)
    assert again == first
    assert again.path.stat().st_mtime_ns == written
    assert files(cache_folder()) == [first.path]


def test_changed_percentiles_are_stored_anew(configured: Configured, case: Case) -> None:
    first, second = Store(configured()).open(case), Store(configured("preprocessing.percentiles=5,95")).open(case)
    assert first.path != second.path
    whole = Window.whole(first.frame)
    assert not torch.equal(first.read(whole).images, second.read(whole).images)


@pytest.mark.parametrize("edited", ["t1", "seg"])
def test_an_edited_file_is_never_served_stale(configured: Configured, case: Case, edited: str) -> None:
    first = Store(configured()).open(case)
    path = case.labels if edited == "seg" else case.images[edited]
    assert path is not None
    source: Any = nib.load(path)
    nib.save(type(source)(np.flip(read_array(path), 0), source.affine), path)
    os.utime(path, ns=(1, 1))
    second = Store(configured()).open(case)
    assert first.path != second.path
    before, after = (stored.read(Window.whole(stored.frame)) for stored in (first, second))
    assert torch.equal(before.images, after.images) == (edited == "seg")
    assert before.labels is not None
    assert after.labels is not None
    assert torch.equal(before.labels, after.labels) == (edited == "t1")


def test_a_file_written_again_in_the_same_size_is_never_served_stale(configured: Configured, case: Case) -> None:
    first = Store(configured()).open(case)
    path = case.images["flair"]
    written = path.stat().st_mtime_ns
    os.utime(path, ns=(written, written + 1))
    assert Store(configured()).open(case).path != first.path


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_store_file_cut_short_is_built_anew(configured: Configured, case: Case, keep: int) -> None:
    first = Store(configured()).open(case)
    before = first.read(Window.whole(first.frame))
    first.path.write_bytes(first.path.read_bytes()[:keep])
    again = Store(configured()).open(case)
    assert torch.equal(again.read(Window.whole(first.frame)).images, before.images)


def test_a_store_file_that_vanishes_while_it_is_used_is_one_sentence(configured: Configured, case: Case) -> None:
    stored = Store(configured()).open(case)
    stored.path.unlink()
    for read in (lambda: stored.read(Window.whole(stored.frame)), stored.labels):
        with pytest.raises(DataError, match=r"made from case BraTS20_Training_001: .* type the same command") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_folder_of_ones_own_may_hold_the_store(configured: Configured, case: Case, tmp_path: Path) -> None:
    assert Store(configured(), tmp_path / "mine").open(case).path.parent == tmp_path / "mine"


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DDMKIT_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("DDMKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "ddmkit"


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    import numpy as np, nibabel as nib
    from ddmkit import Case, StorageError
    from ddmkit.store import Store

    class Settings:
        def __getattr__(self, name): return self
        modalities, labels, percentiles = ("t1",), {}, (1.0, 99.0)

    folder = Path(sys.argv[1])
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((40, 40, 40)), np.eye(4)), folder / "a.nii")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    for _ in range(2):
        try:
            Store(Settings(), folder / "store").open(Case("a", {"t1": folder / "a.nii"}))
        except StorageError as error:
            print(error)
    print(list((folder / "store").iterdir()))
"""


def test_a_disk_that_takes_no_more_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", dedent(FULL_DISK), str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second, left = ran.stdout.splitlines()
    assert first == second
    assert first.startswith(f"Cannot write {tmp_path / 'store'}")
    assert "File too large." in first
    assert left == "[]"
    assert ran.stderr == ""
