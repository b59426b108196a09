"""Cases whose voxels or labels are not what they should be, or whose files do not belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.core.breaches import LABELS, Breaches, case_of, labels, whole_case
from tests.core.niftis import SHAPE, oblique, save, voxels

from ddmkit import Case, Image
from ddmkit.volume import read_labels, read_volume

if TYPE_CHECKING:
    from pathlib import Path

breaks = Breaches()


# Voxels.


@breaks("not-finite")
def no_numbers(folder: Path) -> Path:
    array = voxels()
    array[1, 2, 3], array[2, 2, 2] = np.nan, np.inf
    return save(folder / "a.nii.gz", array)


@breaks("not-finite")
def too_large_for_float32(folder: Path) -> Path:
    return save(folder / "a.nii", np.full(SHAPE, 1e300))


@breaks("not-finite", labels)
def labels_of_no_number(folder: Path) -> Path:
    return save(folder / "seg.nii", np.full(SHAPE, np.nan))


@breaks("constant-image", whole_case, "t2.nii.gz")
def empty_image(folder: Path) -> Case:
    return case_of(folder, t1=voxels(), t2=np.zeros(SHAPE))


@breaks("constant-image", whole_case)
def constant_volume(folder: Path) -> Case:
    array = voxels(shape=(*SHAPE, 2))
    array[..., 1] = -1
    path = save(folder / "A1.nii.gz", array)
    return Case("A1", {"t1": Image(path, 0), "t2": Image(path, 1)}, LABELS)


# Files together.


@breaks("missing-modality", lambda case, warn: read_volume(case, ["t1", "flair"], warn))
def without_flair(folder: Path) -> Case:
    return case_of(folder, t1=voxels(), t2=voxels(1))


@breaks("one-image-twice", whole_case)
def one_file_under_two_names(folder: Path) -> Case:
    path = save(folder / "A1.nii.gz")
    (folder / "A2.nii.gz").symlink_to(path)
    return Case("A1", {"t1": Image(path), "t2": Image(folder / "A2.nii.gz")}, LABELS)


@breaks("one-image-twice", whole_case)
def one_volume_under_two_names(folder: Path) -> Case:
    path = save(folder / "A1.nii.gz", voxels(shape=(*SHAPE, 2)))
    return Case("A1", {"t1": Image(path, 1), "t2": Image(path, 1)}, LABELS)


@breaks("different-orientations", whole_case)
def mirrored(folder: Path) -> Case:
    case = case_of(folder, t1=voxels(), seg=np.ones(SHAPE, dtype=np.uint8))
    save(folder / "seg.nii.gz", np.ones(SHAPE, dtype=np.uint8), oblique(left_handed=True))
    return case


@breaks("different-orientations", whole_case)
def permuted(folder: Path) -> Case:
    case = case_of(folder, t1=voxels(), t2=voxels())
    save(folder / "t2.nii.gz", voxels().transpose(2, 0, 1), oblique()[:, [2, 0, 1, 3]])
    return case


@breaks("different-shapes", whole_case)
def cropped(folder: Path) -> Case:
    return case_of(folder, t1=voxels(), t2=voxels()[:4])


@breaks("different-shapes", whole_case)
def cropped_volumes(folder: Path) -> Case:
    return case_of(folder, t1=voxels(), seg=np.ones((5, 6, 8), dtype=np.uint8))


def moved(folder: Path, sides: float) -> Case:
    """Return a case whose labels lie some sides of the smallest voxel, which is 0.9 mm, off."""
    case = case_of(folder, t1=voxels(), seg=np.ones(SHAPE, dtype=np.uint8))
    affine = oblique()
    affine[:3, 3] += np.array([2, -1, 2]) / 3 * 0.9 * sides
    save(folder / "seg.nii.gz", np.ones(SHAPE, dtype=np.uint8), affine)
    return case


@breaks("different-affines", whole_case)
def half_a_voxel_off(folder: Path) -> Case:
    return moved(folder, 0.5)


@breaks("different-affines", whole_case)
def of_larger_voxels(folder: Path) -> Case:
    case = case_of(folder, t1=voxels(), t2=voxels())
    save(folder / "t2.nii.gz", voxels(), oblique() * 1.05)
    return case


@breaks("slightly-different-affines", whole_case)
def a_twentieth_of_a_voxel_off(folder: Path) -> Case:
    return moved(folder, 0.05)


# Labels.


@breaks("unknown-label", labels)
def a_label_of_another_year(folder: Path) -> Path:
    return save(folder / "seg.nii.gz", np.full(SHAPE, 3, dtype=np.uint8))


@breaks("unknown-label", labels)
def a_negative_label(folder: Path) -> Path:
    return save(folder / "seg.nii.gz", np.full(SHAPE, -1, dtype=np.int16))


@breaks("unknown-label", labels)
def an_enormous_label(folder: Path) -> Path:
    return save(folder / "seg.nii.gz", np.full(SHAPE, 1e30, dtype=np.float32))


@breaks("fractional-label", labels)
def interpolated(folder: Path) -> Path:
    return save(folder / "seg.nii.gz", np.full(SHAPE, 2.5, dtype=np.float32))


@breaks("too-many-classes", lambda path, warn: read_labels(path, {n: f"seg {n}" for n in range(1, 257)}, warn))
def hundreds_of_classes(folder: Path) -> Path:
    return save(folder / "seg.nii.gz", np.ones(SHAPE, dtype=np.uint8))


@breaks("labels-outside", whole_case, "seg.nii.gz")
def labels_of_another_case(folder: Path) -> Case:
    image, labels = np.full(SHAPE, -1, dtype=np.int16), np.zeros(SHAPE, dtype=np.uint8)
    image[3:5, 1:5, 1:6] = voxels(dtype="int16")[3:5, 1:5, 1:6]
    labels[2:4, 2:4, 2:4] = 1
    return case_of(folder, t1=image, seg=labels)
