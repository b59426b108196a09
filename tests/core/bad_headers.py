"""Headers that say what cannot be."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from tests.core.breaches import LABELS, Breaches, labels, volume, whole_case
from tests.core.niftis import SHAPE, header_of, oblique, save, store, voxels

from ddmkit import Case, Image

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])

breaks = Breaches()


@breaks("not-nifti")
def text(folder: Path) -> Path:
    return store(folder / "a.nii", b"no image\n" * 100)


@breaks("not-nifti")
def text_with_the_name_of_something_compressed(folder: Path) -> Path:
    (folder / "a.nii.gz").write_text("<html>Not found</html>", encoding="utf-8")
    return folder / "a.nii.gz"


@breaks("not-nifti")
def compressed_text(folder: Path) -> Path:
    return store(folder / "a.nii.gz", b"no image\n" * 100)


@breaks("not-nifti")
def dicom(folder: Path) -> Path:
    return store(folder / "a.nii", bytes(128) + b"DICM" + bytes(500))


@breaks("not-nifti")
def mgh(folder: Path) -> Path:
    array: Any = voxels()
    image = nib.MGHImage(array, oblique())
    nib.save(image, folder / "a.mgz")
    return folder / "a.mgz"


@breaks("not-nifti")
def analyze(folder: Path) -> Path:
    image: Any = nib.Spm99AnalyzeImage(voxels(), np.diag([-1, 1, 1, 1]))
    nib.save(image, folder / "a.hdr")
    return folder / "a.hdr"


@breaks("voxel-type")
def colours(folder: Path) -> Path:
    return save(folder / "a.nii", np.zeros(SHAPE, dtype=RGB))


@breaks("voxel-type")
def complex_numbers(folder: Path) -> Path:
    return save(folder / "a.nii", voxels().astype(np.complex64))


@breaks("voxel-type")
def single_bits(folder: Path) -> Path:
    return save(folder / "a.nii", datatype=1)


@breaks("voxel-type")
def a_type_that_does_not_exist(folder: Path) -> Path:
    return save(folder / "a.nii", datatype=999)


@breaks("absurd-dimensions")
def a_side_of_none(folder: Path) -> Path:
    return save(folder / "a.nii", dim=[3, 5, 0, 7, 1, 1, 1, 1])


@breaks("absurd-dimensions")
def a_negative_side(folder: Path) -> Path:
    return save(folder / "a.nii", dim=[3, -1, 1, 1, 1, 1, 1, 1], glmin=1 << 30)  # a vector, says FreeSurfer


@breaks("absurd-dimensions")
def sides_that_overflow(folder: Path) -> Path:
    return save(folder / "a.nii", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])


@breaks("absurd-dimensions")
def sides_that_overflow_64_bits(folder: Path) -> Path:
    return save(folder / "a.nii.gz", version=2, dim=[3, 1 << 62, 4, 1, 1, 1, 1, 1])


@breaks("absurd-dimensions")
def no_axes(folder: Path) -> Path:
    return save(folder / "a.nii", dim=[0, 5, 6, 7, 1, 1, 1, 1])


@breaks("absurd-dimensions")
def more_axes_than_nifti_has(folder: Path) -> Path:
    return save(folder / "a.nii", dim=[8, 5, 6, 7, 1, 1, 1, 1])


@breaks("too-few-axes")
def a_slice(folder: Path) -> Path:
    return save(folder / "a.nii", np.zeros((4, 5)))


@breaks("too-many-axes")
def a_vector_image(folder: Path) -> Path:
    return save(folder / "a.nii", voxels(shape=(*SHAPE, 1, 3)))


@breaks("voxel-offset")
def voxels_in_the_header(folder: Path) -> Path:
    return save(folder / "a.nii", vox_offset=0)


@breaks("voxel-offset")
def voxels_in_the_longer_header_of_nifti_2(folder: Path) -> Path:
    return save(folder / "a.nii", version=2, vox_offset=352)


@breaks("voxel-offset")
def voxels_far_behind(folder: Path) -> Path:
    return save(folder / "a.nii.gz", vox_offset=1e9)


@breaks("voxel-offset")
def voxels_before_the_start(folder: Path) -> Path:
    return save(folder / "a.nii", version=2, vox_offset=-1)


@breaks("voxel-offset")
def voxels_nowhere(folder: Path) -> Path:
    return save(folder / "a.nii", vox_offset=np.nan)


@breaks("voxel-offset")
def voxels_at_half_a_byte(folder: Path) -> Path:
    return save(folder / "a.nii", vox_offset=352.5)


def with_extension(path: Path, length: int, endianness: str = "<") -> Path:
    header = bytearray(header_of(voxels(), vox_offset=352 + 32, endianness=endianness))
    header[-4] = 1
    extension = struct.pack(f"{endianness}ii", length, 6).ljust(32, b"x")
    return store(path, bytes(header) + extension + voxels().astype(f"{endianness}f4").tobytes(order="F"))


@breaks("extension")
def extension_into_the_voxels(folder: Path) -> Path:
    return with_extension(folder / "a.nii", 48)


@breaks("extension")
def extension_that_does_not_end(folder: Path) -> Path:
    return with_extension(folder / "a.nii.gz", 0)


@breaks("extension")
def extension_backwards(folder: Path) -> Path:
    return with_extension(folder / "a.nii", -16, ">")


@breaks("scaling")
def scale_of_no_number(folder: Path) -> Path:
    return save(folder / "a.nii", scl_slope=np.nan, scl_inter=np.nan)


@breaks("scaling")
def infinite_intercept(folder: Path) -> Path:
    return save(folder / "a.nii", scl_inter=np.inf)


@breaks("spacing")
def flat_voxels(folder: Path) -> Path:
    return save(folder / "a.nii", sform_code=0, pixdim=[1, 1, 0, 1, 0, 0, 0, 0])


@breaks("spacing")
def voxels_of_no_size(folder: Path) -> Path:
    return save(folder / "a.nii", sform_code=0, qform_code=0, pixdim=[1, 1, np.nan, 1, 0, 0, 0, 0])


@breaks("spacing")
def voxels_of_negative_size(folder: Path) -> Path:
    return save(folder / "a.nii", sform_code=0, pixdim=[1, 1, 1, -1, 0, 0, 0, 0])


@breaks("unused-spacing")
def flat_voxels_beside_an_sform(folder: Path) -> Path:
    return save(folder / "a.nii", pixdim=[1, 0, 0, 0, 0, 0, 0, 0])


@breaks("affine")
def affine_of_no_number(folder: Path) -> Path:
    return save(folder / "a.nii", srow_x=[np.nan, 0, 0, 0])


@breaks("affine")
def affine_with_an_infinite_origin(folder: Path) -> Path:
    return save(folder / "a.nii", srow_y=[0, 1, 0, np.inf])


@breaks("affine")
def flat_affine(folder: Path) -> Path:
    return save(folder / "a.nii", srow_x=[0, 0, 0, 0])


@breaks("affine")
def affine_of_two_equal_axes(folder: Path) -> Path:
    return save(folder / "a.nii", srow_x=[1, 1, 0, 0], srow_y=[1, 1, 0, 0], srow_z=[0, 0, 1, 0])


@breaks("affine")
def affine_beyond_all_numbers(folder: Path) -> Path:
    return save(folder / "a.nii", version=2, srow_x=[1e300, 0, 0, 0])


@breaks("affine")
def qform_that_is_no_rotation(folder: Path) -> Path:
    return save(folder / "a.nii", sform_code=0, quatern_b=1, quatern_c=1)


@breaks("affine")
def qform_of_no_number(folder: Path) -> Path:
    return save(folder / "a.nii", sform_code=0, quatern_b=np.nan)


@breaks("no-transform")
def nothing_that_says_where(folder: Path) -> Path:
    return save(folder / "a.nii", qform_code=0, sform_code=0)


@breaks("units")
def micrometres(folder: Path) -> Path:
    return save(folder / "a.nii", xyzt_units=3 + 8)


# Which of its volumes.


@breaks("4d-for-3d")
def several_volumes(folder: Path) -> Path:
    return save(folder / "a.nii", voxels(shape=(*SHAPE, 2)))


@breaks("4d-for-3d", labels)
def several_label_volumes(folder: Path) -> Path:
    return save(folder / "seg.nii", np.ones((*SHAPE, 2), dtype=np.uint8))


@breaks("3d-for-4d", volume(1))
def one_volume(folder: Path) -> Path:
    return save(folder / "a.nii.gz")


@breaks("3d-for-4d", whole_case)
def a_case_of_several_volumes_that_has_one(folder: Path) -> Case:
    path = save(folder / "A1.nii.gz", voxels(shape=(*SHAPE, 1)))
    return Case("A1", {"t1": Image(path, 0), "t2": Image(path, 1)}, LABELS)


@breaks("no-such-volume", volume(2))
def a_volume_behind_the_last(folder: Path) -> Path:
    return save(folder / "a.nii.gz", voxels(shape=(*SHAPE, 2)))


@breaks("no-such-volume", volume(-1))
def a_volume_before_the_first(folder: Path) -> Path:
    return save(folder / "a.nii.gz", voxels(shape=(*SHAPE, 2)))
