"""One NIfTI file: awkward ones are read as what they are, and an answer lies exactly on its input's grid."""

from __future__ import annotations

import gzip
import io
import logging
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension, Nifti1Header
from scipy.spatial.transform import Rotation
from tests.core.niftis import SHAPE, content_of, header_of, load, oblique, save, store, voxels

from ddmkit import StorageError
from ddmkit.errors import RefusedDataError
from ddmkit.nifti import read_array, read_header, read_volumes, write_like

if TYPE_CHECKING:
    from numpy.typing import NDArray

GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y"),
    *("qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)


def silence(sentence: str) -> None:
    pytest.fail(f"it was warned about: {sentence}")


def same(path: Path, array: NDArray[Any]) -> bool:
    """Tell whether a file is read as `array`, on the grid of `oblique`, without a warning."""
    header = read_header(path, silence)
    found = read_array(path, None, silence)
    grids = header.shape == array.shape == found.shape and np.allclose(header.affine, oblique(), atol=1e-5)
    return grids and found.dtype == np.float32 and np.array_equal(found, array.astype(np.float32))


# What is awkward and read all the same.


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII", "A.NII.GZ", "größe_脳 1.nii.gz", "W39_1998.09.19.nii"])
def test_a_file_of_any_name_is_read(tmp_path: Path, name: str) -> None:
    assert same(save(tmp_path / name), voxels())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_both_versions_and_byte_orders_of_all_types_are_read(
    tmp_path: Path, version: int, endianness: str, dtype: str
) -> None:
    array = voxels(dtype=dtype)
    if array.dtype.kind != "u":
        array -= np.array(50, dtype)
    assert same(save(tmp_path / "a.nii", array, version=version, endianness=endianness), array)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("asked", ["header", "voxels"])
@pytest.mark.parametrize(
    ("header", "data"), [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz"), ("A.HDR", "A.IMG"), ("a.hdr", "a.img.gz")]
)
def test_a_pair_of_files_is_read_by_the_name_of_either(
    tmp_path: Path, version: int, asked: str, header: str, data: str
) -> None:
    array = voxels(dtype="int16")
    array[0, 0, 0] = struct.unpack("<h", b"\x1f\x8b")[0]  # voxels that begin like gzip are not compressed for that
    store(tmp_path / header, header_of(array, version=version, single=False))
    store(tmp_path / data, array.tobytes(order="F"))
    assert same(tmp_path / (header if asked == "header" else data), array)


def test_the_voxels_of_a_pair_may_begin_anywhere_in_their_file(tmp_path: Path) -> None:
    store(tmp_path / "a.hdr", header_of(voxels(), single=False, vox_offset=100))
    store(tmp_path / "a.img.gz", bytes(100) + voxels().tobytes(order="F"))
    assert same(tmp_path / "a.hdr", voxels())


def test_bytes_tell_what_is_compressed_whatever_the_name_says(tmp_path: Path) -> None:
    (tmp_path / "plain.nii.gz").write_bytes(content_of(voxels()))
    (tmp_path / "compressed.nii").write_bytes(gzip.compress(content_of(voxels())))
    assert same(tmp_path / "plain.nii.gz", voxels())
    assert same(tmp_path / "compressed.nii", voxels())


@pytest.mark.parametrize("block", [1, 100, 700])
def test_a_file_compressed_block_by_block_is_read(tmp_path: Path, block: int) -> None:
    content = content_of(voxels())
    blocks = [gzip.compress(content[place : place + block]) for place in range(0, len(content), block)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join([*blocks, gzip.compress(b"")]))
    assert same(tmp_path / "a.nii.gz", voxels())


@given(sides=st.tuples(*[st.integers(1, 40)] * 3), level=st.integers(0, 9), noise=st.booleans())
@settings(max_examples=30, deadline=None)
def test_any_compressed_volume_is_read_as_gzip_itself_would(
    sides: tuple[int, int, int], level: int, *, noise: bool
) -> None:
    array = np.random.default_rng(0).integers(0, 256 if noise else 2, sides, dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.nii.gz"
        path.write_bytes(gzip.compress(content_of(array), level))
        assert np.array_equal(read_array(path, None, silence), array)


def test_scaled_integers_are_read_as_their_values(tmp_path: Path) -> None:
    array = voxels(dtype="int16")
    path = save(tmp_path / "a.nii", array, scl_slope=0.25, scl_inter=-3)
    assert np.array_equal(read_array(path, None, silence), (array * 0.25 - 3).astype(np.float32))
    assert np.array_equal(read_array(path), load(path).get_fdata(dtype=np.float32))


def test_a_scale_of_zero_means_none(tmp_path: Path) -> None:
    assert same(save(tmp_path / "a.nii", scl_slope=0, scl_inter=np.nan), voxels())


def test_scaling_does_not_wrap_around_or_round_to_float32(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.full(SHAPE, 250, dtype=np.uint8), scl_slope=2, scl_inter=1)
    assert np.all(read_array(path) == 501)
    large = np.full(SHAPE, 2**53, dtype=np.int64)
    path = save(tmp_path / "b.nii", large, version=2, scl_slope=1, scl_inter=-float(2**53 - 6))
    assert np.all(read_array(path) == 6)


@pytest.mark.parametrize("axes", [1, 2])
def test_axes_of_one_behind_the_third_are_dropped(tmp_path: Path, axes: int) -> None:
    path = save(tmp_path / "a.nii", voxels(shape=(*SHAPE, *(1,) * axes)))
    assert same(path, voxels())
    assert np.array_equal(read_array(path, 0), voxels())


def test_a_qform_that_disagrees_with_the_sform_is_not_used(tmp_path: Path) -> None:
    other: Any = Nifti1Header()
    other.set_qform(np.diag([2, 3, 4, 1]), code=1)
    fields: dict[str, Any] = {name: other[name] for name in GEOMETRY if name.startswith("q")}
    assert same(save(tmp_path / "a.nii", **fields), voxels())


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("left_handed", [False, True])
def test_a_qform_alone_is_used(tmp_path: Path, code: int, *, left_handed: bool) -> None:
    path = save(tmp_path / "a.nii", affine=oblique(left_handed=left_handed), sform_code=0, qform_code=code)
    affine = read_header(path, silence).affine
    assert np.allclose(affine, oblique(left_handed=left_handed), atol=1e-5)
    assert np.allclose(affine, load(path).affine, atol=1e-6, rtol=0)


def test_a_qform_whose_rotation_is_rounded_beyond_one_is_used(tmp_path: Path) -> None:
    half_turn: dict[str, Any] = {
        "quatern_b": 1.00001,
        "quatern_c": 0,
        "quatern_d": 0,
        "qoffset_x": 5,
        "qoffset_y": 6,
        "qoffset_z": 7,
    }
    path = save(tmp_path / "a.nii", sform_code=0, pixdim=[0, 1, 2, 3, 0, 0, 0, 0], **half_turn)
    expected = np.array([[1, 0, 0, 5], [0, -2, 0, 6], [0, 0, -3, 7], [0, 0, 0, 1]])
    assert np.allclose(read_header(path, silence).affine, expected)


def test_a_half_turn_is_not_turned_further_by_rounding(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", sform_code=0, quatern_b=0, quatern_c=0.6, quatern_d=0.8 * (1 - 1e-7))
    assert load(path).header.get_qform_quaternion()[0] == 0
    assert np.allclose(read_header(path, silence).affine, load(path).affine, atol=1e-6)


def test_a_file_without_transforms_lies_where_nibabel_puts_it(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", qform_code=0, sform_code=0)
    told: list[str] = []
    assert np.array_equal(read_header(path, told.append).affine, load(path).affine)
    assert told == [f"{path} has neither qform nor sform; its axes are taken to run left, anterior and superior."]


def test_an_origin_of_minus_zero_is_kept(tmp_path: Path) -> None:
    affine = read_header(save(tmp_path / "a.nii", affine=np.diag([1.0, 1.0, 1.0, 1.0]) * [[1], [1], [-1], [1]])).affine
    assert np.array_equal(affine, np.diag([1, 1, -1, 1]))
    path = save(tmp_path / "b.nii")
    assert np.signbit(read_header(path).affine[2, 3])


def test_extensions_are_passed_over(tmp_path: Path) -> None:
    image: Any = nib.Nifti1Image(voxels(), oblique())
    image.header.extensions.append(Nifti1Extension("comment", b"of the scanner " * 20))
    nib.save(image, tmp_path / "a.nii.gz")
    assert same(tmp_path / "a.nii.gz", voxels())


def test_a_flag_of_extensions_without_any_is_no_fault(tmp_path: Path) -> None:
    content = bytearray(content_of(voxels()))
    content[348] = 1
    assert same(store(tmp_path / "a.nii", bytes(content)), voxels())


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
def test_what_nibabel_writes_is_read_as_nibabel_reads_it(tmp_path: Path, dtype: str, suffix: str) -> None:
    kind: Any = nib.Nifti1Pair if suffix == ".img" else nib.Nifti2Image
    image = kind(voxels() - 50, oblique())
    image.set_data_dtype(np.dtype(dtype))  # scaled, where it does not hold the values
    nib.save(image, tmp_path / f"a{suffix}")
    expected = load(tmp_path / f"a{suffix}")
    assert np.array_equal(read_array(tmp_path / f"a{suffix}", None, silence), expected.get_fdata(dtype=np.float32))
    assert np.array_equal(read_header(tmp_path / f"a{suffix}", silence).affine, expected.affine)


def test_what_is_odd_in_a_header_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "a.nii", pixdim=[7, 1, 1, 1, 0, 0, 0, 0], bitpix=1, regular=b"x", cal_max=-1)
    with caplog.at_level(logging.DEBUG):
        read_header(path)
        read_array(path)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_the_kind_of_a_file_that_is_not_nifti_is_named_where_it_can_be(tmp_path: Path) -> None:
    path = store(tmp_path / "a.nii", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(RefusedDataError, match="git lfs pull"):
        read_header(path)


# Several volumes.


def series() -> NDArray[Any]:
    return voxels(dtype="int16", shape=(*SHAPE, 5))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("order", [[0], [3], [4], [1, 2, 3, 0], [4, 3, 2, 1, 0], [2, 2], [3, 0, 3]])
def test_volumes_of_a_series_come_in_the_order_asked_for(tmp_path: Path, name: str, order: list[int]) -> None:
    path = save(tmp_path / name, series())
    found = list(read_volumes(path, order, silence))
    assert len(found) == len(order)
    for index, array in zip(order, found, strict=True):
        assert np.array_equal(array, series()[..., index])
        array[:] = 0  # whoever asks for it again gets the file's


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_counts_volumes(tmp_path: Path, version: int) -> None:
    header = read_header(save(tmp_path / "a.nii", series(), version=version), silence)
    assert (header.shape, header.volumes) == (SHAPE, 5)
    assert read_header(save(tmp_path / "b.nii"), silence).volumes == 1


# Answers.


class Like(NamedTuple):
    """A file whose grid an answer shall lie on."""

    name: str
    array: NDArray[Any]
    choices: dict[str, Any]

    def save(self, folder: Path) -> Path:
        if not self.name.startswith("pair"):
            return save(folder / self.name, self.array, **self.choices)
        order = self.choices.get("endianness", "<")
        data = folder / self.name.replace(".hdr", ".img")
        store(data, self.array.astype(self.array.dtype.newbyteorder(order)).tobytes(order="F"))
        return store(folder / self.name, header_of(self.array, single=False, **self.choices))


NUMBERS = st.floats(-500, 500, width=32) | st.sampled_from([-0.0, 0.1, 126.0])


@st.composite
def affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Draw an affine of any obliqueness, handedness and order of axes."""
    angles = draw(st.tuples(*[st.sampled_from([0, 90, 45, 180]) | st.floats(-180, 180)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.0625, 16, width=32)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing * signs
    affine[:3, :3] = affine[:3, list(draw(st.permutations(range(3))))]
    affine[:3, 3] = draw(st.tuples(NUMBERS, NUMBERS, NUMBERS))
    return affine


@st.composite
def likes(draw: st.DrawFn) -> Like:
    """Draw a file of any geometry: the qform and the sform need not agree."""
    header: Any = Nifti1Header()
    header.set_qform(draw(affines()), code=draw(st.integers(0, 5)))
    header.set_sform(draw(affines()), code=draw(st.integers(0, 5)))
    fields = {name: header[name].copy() for name in GEOMETRY}
    for name in "bcd":
        fields[f"quatern_{name}"] *= 1 - 2e-7  # nibabel refuses what rounding leaves above 1
    fields["xyzt_units"] = draw(st.sampled_from([0, 2])) + draw(st.sampled_from([0, 8, 16, 24, 32]))
    fields["pixdim"][4:] = draw(st.sampled_from([0, 1, 2.5]))
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3)) + draw(st.sampled_from([(), (1,), (3,), (1, 1)]))
    name = draw(st.sampled_from(["like.nii", "like.nii.gz", "pair.hdr", "pair.hdr.gz"]))
    choices = {"version": draw(st.sampled_from([1, 2])), "endianness": draw(st.sampled_from("<>")), **fields}
    return Like(name, voxels(shape=shape), choices)


@given(like=likes(), dtype=st.sampled_from(["uint8", "int16", "float32"]), name=st.sampled_from(["a.nii", "a.nii.gz"]))
@settings(max_examples=100, deadline=None)
def test_an_answer_lies_exactly_on_its_inputs_grid(like: Like, dtype: str, name: str) -> None:
    answer = voxels(1, dtype, like.array.shape[:3])
    with TemporaryDirectory() as folder:
        source = like.save(Path(folder))
        write_like(Path(folder) / name, answer, source)
        given, written = load(source), load(Path(folder) / name)
        shape = like.array.shape[:3] if like.array.shape[3:] == (3,) else like.array.shape
        assert written.shape == shape
        assert np.array_equal(written.affine, given.affine)
        assert np.array_equal(np.signbit(written.affine), np.signbit(given.affine))
        for field in GEOMETRY:
            assert np.array_equal(written.header[field], given.header[field])
            assert np.array_equal(written.header[field], np.asarray(like.choices[field], np.float32))
        assert written.header.get_xyzt_units() == given.header.get_xyzt_units()
        assert written.get_data_dtype() == np.dtype(dtype).newbyteorder(like.choices["endianness"])
        assert np.array_equal(np.asarray(written.dataobj).reshape(answer.shape), answer)
        assert type(written) is (nib.Nifti1Image if like.choices["version"] == 1 else nib.Nifti2Image)
        ours = read_header(Path(folder) / name, lambda _: None)
        theirs = read_header(source, lambda _: None)
        assert np.array_equal(ours.affine, theirs.affine)
        assert np.array_equal(read_array(Path(folder) / name, None, silence), answer)


@given(like=likes())
@settings(max_examples=100, deadline=None)
def test_an_affine_is_what_nibabel_makes_of_the_header(like: Like) -> None:
    with TemporaryDirectory() as folder:
        source = like.save(Path(folder))
        expected = load(source).affine
        assert np.allclose(read_header(source, lambda _: None).affine, expected, rtol=1e-5, atol=1e-4)


def test_an_answer_is_scaled_by_nothing_and_tells_nothing_of_the_patient(tmp_path: Path) -> None:
    private: dict[str, Any] = {
        "descrip": b"John Smith",
        "aux_file": b"smith.txt",
        "db_name": b"smith",
        "intent_name": b"smith",
    }
    like = save(tmp_path / "like.nii", scl_slope=0.25, scl_inter=-3, cal_max=99, intent_code=3, **private)
    write_like(tmp_path / "answer.nii", voxels(1, "uint8"), like)
    assert np.array_equal(np.asarray(load(tmp_path / "answer.nii").dataobj), voxels(1, "uint8"))
    assert b"mith" not in (tmp_path / "answer.nii").read_bytes()
    assert load(tmp_path / "answer.nii").header["cal_max"] == 0


def test_an_answer_carries_no_extension_of_its_input(tmp_path: Path) -> None:
    image: Any = nib.Nifti1Image(voxels(), oblique())
    image.header.extensions.append(Nifti1Extension("comment", b"of the scanner"))
    nib.save(image, tmp_path / "like.nii")
    write_like(tmp_path / "answer.nii", voxels(1), tmp_path / "like.nii")
    assert not load(tmp_path / "answer.nii").header.extensions
    assert np.array_equal(read_array(tmp_path / "answer.nii", None, silence), voxels(1))


def test_the_same_answer_is_the_same_bytes(tmp_path: Path) -> None:
    like = save(tmp_path / "like.nii")
    for name in ("a.nii.gz", "b.nii.gz"):
        write_like(tmp_path / name, voxels(1), like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert gzip.GzipFile(fileobj=io.BytesIO((tmp_path / "a.nii.gz").read_bytes())).read(4) == struct.pack("<i", 348)


def test_an_answer_may_be_laid_out_in_memory_in_any_way(tmp_path: Path) -> None:
    like = save(tmp_path / "like.nii")
    for array in (voxels(1), np.asfortranarray(voxels(1)), voxels(1)[::-1], voxels(1, ">f4")):
        write_like(tmp_path / "answer.nii", array, like)
        assert np.array_equal(read_array(tmp_path / "answer.nii"), array)


def test_an_answer_of_another_shape_is_a_bug(tmp_path: Path) -> None:
    like = save(tmp_path / "like.nii")
    with pytest.raises(ValueError, match=r"\(7, 6, 5\) does not lie on a grid of shape \(5, 6, 7\)"):
        write_like(tmp_path / "answer.nii", voxels().T, like)


def test_an_answer_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    like = save(tmp_path / "like.nii")
    with pytest.raises(StorageError, match="Cannot write"):
        write_like(like / "answer.nii", voxels(), like)


def test_a_grid_to_write_on_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedDataError, match="is not there"):
        write_like(tmp_path / "answer.nii", voxels(), tmp_path / "like.nii")
    assert not list(tmp_path.iterdir())
