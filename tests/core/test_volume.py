"""Volumes read with their geometry checked, and written on the grid they came from."""

from __future__ import annotations

import gzip
import logging
import struct
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ddmkit import Case, DataError, StorageError
from ddmkit.volume import read_array, read_header, read_labels, read_volume, write_like

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (5, 6, 7)
LABELS = {1: "core", 2: "edema", 4: "enhancing"}


def oblique(*, left_handed: bool = False) -> np.ndarray:
    spacing = np.diag([-0.9 if left_handed else 0.9, 1.1, 2.5])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() @ spacing
    affine[:3, 3] = (-90.5, 126, -0.0)
    return affine


def voxels(seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return (100 * np.random.default_rng(seed).random(SHAPE)).astype(dtype)


def image_of(array: np.ndarray, affine: np.ndarray, header: object = None) -> Any:  # noqa: ANN401 - nibabel leaves it untyped
    return nib.Nifti1Image(array, affine, header)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(image_of(array, np.eye(4) if affine is None else affine), path)
    return path


def load(path: Path) -> Any:  # noqa: ANN401 - as above
    return nib.load(path)


def damaged(path: Path, offset: int, form: str, *values: float) -> Path:
    """Write a good file whose header says something else at one place (the offsets are NIfTI-1's)."""
    content = bytearray(write(path, voxels()).read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


def case_of(folder: Path, **arrays: np.ndarray) -> Case:
    files = {name: write(folder / f"{name}.nii.gz", array, oblique()) for name, array in arrays.items()}
    return Case("A1", {name: path for name, path in files.items() if name != "seg"}, files.get("seg"))


def masks() -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 4], dtype=np.uint8), SHAPE)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 4)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_answer_lies_on_its_inputs_grid(
    tmp_path: Path,
    left_handed: bool,  # noqa: FBT001 - pytest hands it over by name
    codes: tuple[int, int],
    suffix: str,
) -> None:
    affine, (qform, sform) = oblique(left_handed=left_handed), codes
    source = image_of(voxels(), affine)
    source.set_qform(affine, code=qform)
    source.set_sform(affine, code=sform)
    source.header.set_xyzt_units("mm", "sec")
    source.header.set_intent("estimate")
    like = tmp_path / f"like{suffix}"
    nib.save(source, like)
    answer = (voxels(1) > 50).astype(np.uint8)

    write_like(tmp_path / f"answer{suffix}", answer, like)

    written, given = load(tmp_path / f"answer{suffix}"), load(like)
    assert np.array_equal(np.asarray(written.dataobj), answer)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, given.affine)
    assert written.header["qform_code"] == qform
    assert written.header["sform_code"] == sform
    assert np.array_equal(written.header["pixdim"], given.header["pixdim"])
    assert written.header.get_xyzt_units() == ("mm", "sec")


def test_a_qform_that_differs_from_the_sform_is_kept(tmp_path: Path) -> None:
    source = image_of(voxels(), oblique())
    source.set_qform(oblique(left_handed=True), code=1)
    nib.save(source, tmp_path / "like.nii.gz")
    write_like(tmp_path / "answer.nii.gz", voxels(1), tmp_path / "like.nii.gz")
    written = load(tmp_path / "answer.nii.gz")
    assert np.allclose(written.get_sform(), oblique(), atol=1e-5)
    assert np.allclose(written.get_qform(), oblique(left_handed=True), atol=1e-5)


def test_a_file_without_any_transform_keeps_its_voxel_sides(tmp_path: Path) -> None:
    source = image_of(voxels(), oblique())
    source.set_qform(None, code=0)
    source.set_sform(None, code=0)
    nib.save(source, tmp_path / "like.nii")
    write_like(tmp_path / "answer.nii", voxels(1), tmp_path / "like.nii")
    header = load(tmp_path / "answer.nii").header
    assert (header["qform_code"], header["sform_code"]) == (0, 0)
    assert header.get_zooms() == pytest.approx((0.9, 1.1, 2.5))


def test_a_fourth_axis_of_one_is_dropped_in_reading_and_kept_in_writing(tmp_path: Path) -> None:
    like = write(tmp_path / "like.nii.gz", voxels()[..., None], oblique())
    assert load(like).shape == (*SHAPE, 1)
    assert read_header(like).shape == SHAPE
    assert np.array_equal(read_array(like), voxels())
    write_like(tmp_path / "answer.nii.gz", voxels(1), like)
    assert load(tmp_path / "answer.nii.gz").shape == (*SHAPE, 1)


def test_scaled_integers_are_read_as_their_values_and_an_answer_is_not_scaled(tmp_path: Path) -> None:
    source = image_of(voxels(dtype="int16"), oblique())
    source.header.set_slope_inter(0.25, -3)
    content = bytearray(source.to_bytes())
    struct.pack_into("<ff", content, 112, 0.25, -3)  # nibabel would otherwise choose a scale of its own
    like = tmp_path / "like.nii"
    like.write_bytes(content)
    assert np.allclose(read_array(like), voxels(dtype="int16") * 0.25 - 3)
    write_like(tmp_path / "answer.nii", masks(), like)
    assert np.array_equal(np.asarray(load(tmp_path / "answer.nii").dataobj), masks())


def test_big_endian_files_are_read_and_answered(tmp_path: Path) -> None:
    header: Any = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">f4"))
    nib.save(image_of(voxels(), oblique(), header), tmp_path / "like.nii")
    assert struct.unpack_from(">i", (tmp_path / "like.nii").read_bytes())[0] == 348
    assert np.array_equal(read_array(tmp_path / "like.nii"), voxels())
    assert np.allclose(read_header(tmp_path / "like.nii").affine, oblique(), atol=1e-5)
    write_like(tmp_path / "answer.nii", voxels(1), tmp_path / "like.nii")
    assert np.array_equal(read_array(tmp_path / "answer.nii"), voxels(1))


def test_a_header_is_read_with_the_spacing_of_its_affine(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), seg=masks())
    volume = read_volume(case, ["t1"], LABELS)
    assert volume.spacing == pytest.approx((0.9, 1.1, 2.5), abs=1e-5)
    assert np.allclose(volume.affine, oblique(), atol=1e-5)
    assert volume.affine.dtype == np.float64


def test_modalities_come_in_the_order_asked_for_and_labels_as_indices(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(1), flair=voxels(2), t2=voxels(3), seg=masks())
    volume = read_volume(case, ["flair", "t1"], LABELS)
    assert np.array_equal(volume.images, np.stack([voxels(2), voxels(1)]))
    assert volume.classes == ("background", "core", "edema", "enhancing")
    assert volume.labels is not None
    assert np.array_equal(volume.labels, np.select([masks() == 1, masks() == 2, masks() == 4], [1, 2, 3], 0))


def test_a_case_without_reference_has_no_labels(tmp_path: Path) -> None:
    assert read_volume(case_of(tmp_path, t1=voxels()), ["t1"], LABELS).labels is None


def truncated(path: Path) -> Path:
    whole = write(path, np.random.default_rng(0).random((30, 30, 30))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def with_wrong_checksum(path: Path) -> Path:
    content = bytearray(write(path, voxels()).read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)
    return path


def text(path: Path) -> Path:
    path.write_text("no image\n" * 100, encoding="utf-8")
    return path


def compressed_text(path: Path) -> Path:
    path.write_bytes(gzip.compress(b"no image\n" * 100))
    return path


def with_nan(path: Path) -> Path:
    array = voxels()
    array[1, 2, 3], array[2, 2, 2] = np.nan, np.inf
    return write(path, array)


def in_another_format(path: Path) -> Path:
    other = path.with_name("a.mgz")
    array: Any = voxels()
    nib.save(nib.MGHImage(array, np.eye(4)), other)
    return other


RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (truncated, "a.nii.gz", "whole"),
        (with_wrong_checksum, "a.nii.gz", "CRC"),
        (text, "a.nii.gz", "not a gzip file"),
        (text, "a.nii", "NIfTI image"),
        (compressed_text, "a.nii.gz", "NIfTI image"),
        (lambda path: path, "missing.nii", "No such file"),
        (in_another_format, "a.nii", "convert it to NIfTI"),
        (with_nan, "a.nii.gz", "2 voxels that are NaN or infinite"),
        (lambda path: write(path, np.full(SHAPE, 1e300)), "a.nii", "infinite"),
        (lambda path: write(path, voxels().astype(np.complex64)), "a.nii", "complex64"),
        (lambda path: write(path, np.zeros(SHAPE, dtype=RGB)), "a.nii", "one real number a voxel"),
        (lambda path: write(path, np.zeros((4, 5, 6, 2))), "a.nii", r"shape \(4, 5, 6, 2\); one 3D volume"),
        (lambda path: write(path, np.zeros((4, 5))), "a.nii", r"shape \(4, 5\); one 3D volume"),
        (lambda path: damaged(path, 42, "<h", 0), "a.nii", "one 3D volume"),
        (lambda path: damaged(path, 42, "<h", -5), "a.nii", "one 3D volume"),
        (lambda path: damaged(path, 70, "<h", 999), "a.nii", "data code 999"),
    ],
)
def test_what_is_no_readable_volume_is_one_sentence_with_its_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], Path], name: str, reason: str
) -> None:
    path = make(tmp_path / name)
    with pytest.raises(DataError, match=reason) as caught:
        read_array(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("row", [(float("nan"), 0, 0, 0), (0, 0, 0, 0)], ids=["NaN", "singular"])
def test_an_affine_that_places_no_voxel_is_refused(tmp_path: Path, row: tuple[float, ...]) -> None:
    path = damaged(tmp_path / "a.nii", 280, "<4f", *row)
    with pytest.raises(DataError, match="affine that is singular or not finite"):
        read_header(path)


def test_what_nibabel_mends_in_a_header_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = damaged(tmp_path / "a.nii", 80, "<3f", 0, 0, 0)  # pixdim: mended to 1
    with caplog.at_level(logging.DEBUG):
        read_header(path)
        read_array(path)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_shapes_that_disagree_within_a_case_are_named(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels()[:4])
    with pytest.raises(DataError, match=r"^Case A1: t2.nii.gz has shape \(4, 6, 7\) but t1.nii.gz has \(5, 6, 7\)"):
        read_volume(case, ["t1", "t2"], LABELS)


def test_affines_that_disagree_within_a_case_are_named(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), seg=masks())
    moved = oblique()
    moved[0, 3] += 2
    write(tmp_path / "seg.nii.gz", masks(), moved)
    with pytest.raises(DataError, match=r"^Case A1: the affines of seg.nii.gz and t1.nii.gz differ by up to 2;"):
        read_volume(case, ["t1"], LABELS)


def test_one_grid_said_by_qform_in_one_file_and_by_sform_in_another_is_one_grid(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(1), t2=voxels(2))
    source = image_of(voxels(2), oblique())
    source.set_qform(oblique(), code=1)
    source.set_sform(None, code=0)
    nib.save(source, tmp_path / "t2.nii.gz")
    assert not np.array_equal(load(tmp_path / "t2.nii.gz").affine, load(tmp_path / "t1.nii.gz").affine)
    assert np.array_equal(read_volume(case, ["t1", "t2"], LABELS).images[1], voxels(2))


@pytest.mark.parametrize("strange", [3, 2.5, -1])
def test_a_label_without_a_meaning_is_named_with_those_that_have_one(tmp_path: Path, strange: float) -> None:
    array = masks().astype(np.float32)
    array[0, 0, 0] = strange
    path = write(tmp_path / "seg.nii.gz", array)
    with pytest.raises(DataError, match=rf"label {strange:g}, .* 0 \(background\), 1 \(core\), 2 \(edema\), 4 \(enh"):
        read_labels(path, LABELS)


def test_a_modality_that_a_case_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels())
    with pytest.raises(DataError, match=r"^Case A1 has no flair image; it has t1, t2\.$"):
        read_volume(case, ["t1", "flair"], LABELS)


def test_an_answer_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    like = write(tmp_path / "like.nii", voxels())
    with pytest.raises(StorageError, match="Cannot write"):
        write_like(like / "answer.nii", voxels(), like)
