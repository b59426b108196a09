"""Maps beside answers are compared with what a read-out should be, which the task itself says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.core.knowing import Parts
from typing_extensions import override

from ddmkit import Case, DataError, Example
from ddmkit.run.evaluation import Pair
from ddmkit.run.maps import count_maps, has_maps, masks_of

if TYPE_CHECKING:
    from torch import Tensor

CLASSES = ("background", "liver", "lesion")
LABELS = np.array([0, 1, 2, 2], np.uint8).reshape(4, 1, 1)


class Organ(Parts):
    """Find the liver with what is in it, and the lesions: x_0 is -0.7 outside and 0.4 inside."""

    name: ClassVar[str] = "organ"

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("liver", "lesion")

    @override
    def x0(self, example: Example) -> Tensor:
        assert example.labels is not None
        return torch.stack([example.labels > 0, example.labels > 1]) * 1.1 - 0.7

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 + 0.7) / 1.1


class Picture(Organ):
    """Generate the image itself."""

    name: ClassVar[str] = "picture"

    @override
    def x0(self, example: Example) -> Tensor:
        return example.images


def save(path: Path, array: np.ndarray, shift: float = 0) -> Path:
    affine = np.eye(4)
    affine[0, 3] = shift
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def pair(folder: Path) -> Pair:
    reference = save(folder / "reference.nii.gz", LABELS)
    return Pair(folder / "anna_seg.nii.gz", Case("anna", {}, {1: "liver", 2: "lesion"}, reference))


def test_the_masks_are_those_that_the_task_learns_whatever_its_values() -> None:
    masks = masks_of(Organ(), LABELS, CLASSES)
    assert masks is not None
    assert masks[:, :, 0, 0].tolist() == [[False, True, True, True], [False, False, True, True]]


def test_a_task_whose_channels_are_no_masks_has_none() -> None:
    assert masks_of(Picture(), LABELS, CLASSES) is None


def test_each_channels_maps_are_counted_against_its_own_mask(tmp_path: Path) -> None:
    of = pair(tmp_path)
    assert not has_maps(of, Organ(), "mean")
    liver, lesion = np.array([[0.2, 0.6, 0.7, 1], [0, 0, 0.4, 1]], np.float32).reshape(2, 4, 1, 1)
    for channel, mean in {"liver": liver, "lesion": lesion}.items():
        save(tmp_path / f"anna_mean_{channel}.nii.gz", mean)
    counts = count_maps(of, Organ())
    assert list(counts) == ["mean"]
    rows = {channel: found.reliability() for channel, found in counts["mean"].items()}
    assert rows["liver"]["ece"] == pytest.approx((0.2 + 0.4 + 0.3 + 0) / 4)
    assert rows["lesion"]["voxels"] == 2
    assert rows["lesion"]["ece"] == pytest.approx(0.6 / 2)
    for channel in ("liver", "lesion"):
        save(tmp_path / f"anna_prob_{channel}.nii.gz", np.full((4, 1, 1), 0.5, np.float32))
    prob = count_maps(of, Organ())["prob"]["lesion"].reliability()
    assert prob["voxels"] == 2
    assert prob["ece"] == pytest.approx(0.5)


def test_a_map_on_another_grid_is_refused(tmp_path: Path) -> None:
    of = pair(tmp_path)
    for channel in ("liver", "lesion"):
        save(tmp_path / f"anna_mean_{channel}.nii.gz", np.zeros((4, 1, 1), np.float32), shift=3)
    with pytest.raises(DataError, match="anna_mean_liver"):
        count_maps(of, Organ())
