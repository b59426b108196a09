"""Each voxel of an answer lies where the network saw it, whatever is done to the case on its way there and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tests.core.heads import HALF_A_LEVEL, by_hand, save_case, small_case, voxels
from tests.core.knowing import Tasks, copying, knowing

from ddmkit import Registry, Window
from ddmkit.measures import dice
from ddmkit.preprocessing import centred
from ddmkit.sampling import answer_case
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Case
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]

HEAD = (13, 12, 11)
GRIDS = [
    ("native", "null"),
    ("16,15,11", "null"),
    ("brain", "null"),
    ("native", "SPL"),
    ("16,15,14", "RPI"),
    ("brain", "PIR"),
]
"""Frames and orientations."""


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, Tasks())


def reference_of(case: Case) -> np.ndarray:
    """Return the numbers in the case's label file."""
    assert case.reference is not None
    return voxels(case.reference)


@pytest.fixture
def head_case(tmp_path: Path) -> Case:
    return small_case(tmp_path / "head", HEAD)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize(("frame", "orientation"), GRIDS)
def test_a_perfect_denoiser_gives_the_reference_back_on_the_cases_own_grid(
    configured: Configured, head_case: Case, prediction: Literal["eps", "x0", "v"], frame: str, orientation: str
) -> None:
    configuration = configured(
        f"diffusion.prediction={prediction}",
        f"preprocessing.frame={frame}",
        f"preprocessing.orientation={orientation}",
    )
    case = Store(configuration).open(head_case)
    answer = answer_case(knowing(configuration, case), case, ensemble=2, seed=0)
    reference = reference_of(head_case) > 0
    assert answer.labels.shape == HEAD
    assert answer.labels.dtype == np.uint8
    assert np.array_equal(answer.labels, reference)
    assert answer.mean.shape == answer.variance.shape == (1, *HEAD)
    assert answer.mean.dtype == answer.variance.dtype == np.float32
    assert np.allclose(answer.mean[0], reference, atol=1e-5)
    assert np.allclose(answer.variance, 0, atol=1e-9)


@pytest.mark.parametrize(("frame", "orientation"), GRIDS)
def test_an_answer_holds_indices_of_the_tasks_answers_whatever_the_files_numbers_are(
    configured: Configured, head_case: Case, frame: str, orientation: str
) -> None:
    configuration = configured(
        "task.name=parts", f"preprocessing.frame={frame}", f"preprocessing.orientation={orientation}"
    )
    case = Store(configuration).open(head_case)
    answer = answer_case(knowing(configuration, case), case, ensemble=1, seed=0)
    # In the file, 1 is the core, 2 edema and 4 what the task does not ask for; its answers are edema and core.
    numbers = reference_of(head_case)
    assert {1, 2, 4} <= set(numbers.ravel().tolist())
    assert np.array_equal(answer.labels, np.select([numbers == 2, numbers == 1], [1, 2], 0))
    assert answer.mean.shape == answer.variance.shape == (2, *HEAD)


@pytest.mark.parametrize(("frame", "orientation"), GRIDS)
def test_what_the_network_sees_in_a_voxel_is_answered_in_that_voxel(
    configured: Configured, head_case: Case, frame: str, orientation: str
) -> None:
    configuration = configured(
        "diffusion.prediction=x0", f"preprocessing.frame={frame}", f"preprocessing.orientation={orientation}"
    )
    answer = answer_case(copying(configuration), Store(configuration).open(head_case), ensemble=2, seed=0)
    image = by_hand(voxels(head_case.images["flair"].path))
    assert np.abs(answer.mean[0] - image).max() <= HALF_A_LEVEL
    assert np.array_equal(answer.labels, answer.mean[0] > 0.5)
    assert not answer.variance.any()


BUMP = (20, 25, 16)


def bump_case(folder: Path) -> Case:
    """Write a case that shows a bump that stands out of the middle, in voxels of 1.5 by 1 by 2.2 mm."""
    places = [np.arange(side) - 0.45 * side for side in BUMP]
    widths = [side / 7 for side in BUMP]
    squares = (place**2 / width**2 for place, width in zip(np.ix_(*places), widths, strict=True))
    bump = np.exp(-sum(squares) / 2)
    bump[bump < 1e-3] = 0
    turn = np.array([[0, 1, 0, 5], [-1.5, 0, 0, 6], [0, 0, 2.2, 7], [0, 0, 0, 1]])
    return save_case(folder, {"t1": bump, "flair": bump}, (bump > 0.4).astype(np.uint8), turn)


def centre(image: np.ndarray) -> np.ndarray:
    """Return where the middle of what an image shows lies, in voxels."""
    return np.array(ndimage.center_of_mass(image))


@pytest.mark.parametrize("spacing", ["1,1,1", "2.5,2,3", "1.5,2,2.2"])
@pytest.mark.parametrize(("frame", "orientation"), [("native", "null"), ("brain", "LPS"), ("40,40,40", "SAR")])
def test_a_resampled_volume_is_answered_where_it_was(
    configured: Configured, tmp_path: Path, frame: str, orientation: str, spacing: str
) -> None:
    found = bump_case(tmp_path)
    configuration = configured(
        "diffusion.prediction=x0",
        f"preprocessing.frame={frame}",
        f"preprocessing.orientation={orientation}",
        f"preprocessing.spacing={spacing}",
    )
    case = Store(configuration).open(found)
    copied = answer_case(copying(configuration), case, ensemble=1, seed=0)
    image = by_hand(voxels(found.images["flair"].path))
    assert copied.mean.shape == (1, *BUMP)
    assert np.abs(centre(copied.mean[0]) - centre(image)).max() < 0.05
    assert np.abs(copied.mean[0] - image).mean() < 0.01
    answer = answer_case(knowing(configuration, case), case, ensemble=1, seed=0)
    reference = reference_of(found) > 0
    assert answer.labels.shape == BUMP
    overlap = dice(answer.labels > 0, reference)
    assert overlap == 1 if spacing == "1,1,1" else overlap > 0.75  # where voxels are coarser, some labels are lost


def over_region(array: np.ndarray, case: StoredCase, orientation: str | None) -> np.ndarray:
    """Lay an array over the case's own grid into its region, turned by nibabel; NaN where the case does not reach."""
    image = nib.Nifti1Image(array, np.array(case.affine))
    if orientation is not None:
        change: Any = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(orientation)
        )
        image = image.as_reoriented(change)
    turned = np.asarray(image.dataobj)
    own = centred(Window.whole(turned.shape), case.region.frame)
    places = [
        np.arange(start, start + size) - first
        for start, size, first in zip(case.region.start, case.region.size, own.start, strict=True)
    ]
    inside = [(place >= 0) & (place < side) for place, side in zip(places, turned.shape, strict=True)]
    laid = np.full(case.region.size, np.nan)
    laid[np.ix_(*inside)] = turned[np.ix_(*(place[there] for place, there in zip(places, inside, strict=True)))]
    return laid


@pytest.mark.parametrize(("frame", "orientation"), GRIDS)
def test_at_half_resolution_every_second_voxel_of_the_reference_comes_back(
    configured: Configured, head_case: Case, frame: str, orientation: str
) -> None:
    configuration = configured(
        "patch.name=coarse", f"preprocessing.frame={frame}", f"preprocessing.orientation={orientation}"
    )
    case = Store(configuration).open(head_case)
    answer = answer_case(knowing(configuration, case), case, ensemble=1, seed=0)
    asked = None if orientation == "null" else orientation
    found, truth = (
        over_region(array, case, asked)[::2, ::2, ::2]
        for array in (answer.mean[0], (reference_of(head_case) > 0).astype(np.float32))
    )
    assert np.array_equal(np.isnan(found), np.isnan(truth))
    assert np.nansum(truth) > 5
    assert np.allclose(found, truth, atol=1e-5, equal_nan=True)
    assert answer.labels.shape == HEAD


@pytest.mark.parametrize("frame", ["native", "brain", "24,27,21"])
@pytest.mark.parametrize("spacing", ["null", "1,1,1"])
def test_at_half_resolution_an_image_comes_back_half_a_voxel_before_where_it_was(
    configured: Configured, tmp_path: Path, frame: str, spacing: str
) -> None:
    """Labels are those of the first voxel of eight, images the mean of all eight: the network learns what lies between.

    An answer is put where labels come from, as in the test above.
    """
    found = bump_case(tmp_path)
    configuration = configured(
        "patch.name=coarse",
        "diffusion.prediction=x0",
        f"preprocessing.frame={frame}",
        f"preprocessing.spacing={spacing}",
    )
    case = Store(configuration).open(found)
    answer = answer_case(copying(configuration), case, ensemble=1, seed=0)
    image = by_hand(voxels(found.images["flair"].path))
    half = np.array([0.5, 0.5, 0.5]) if spacing == "null" else 0.5 / np.array([1.5, 1, 2.2])
    assert answer.mean.shape == (1, *BUMP)
    assert np.abs(centre(image) - half - centre(answer.mean[0])).max() < 0.05
