"""The volumes of a case: read in order, compared with each other, their labels understood."""

from __future__ import annotations

import gzip
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.core.niftis import SHAPE, oblique, save, voxels

from ddmkit import Case, Image
from ddmkit.errors import RefusedDataError
from ddmkit.volume import (
    case_header,
    check_same_grid,
    image_of,
    indices_of,
    orientation_of,
    read_array,
    read_header,
    read_images,
    read_labels,
    read_volume,
    spacing_of,
)

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {1: "core", 2: "edema", 4: "enhancing"}


def silence(sentence: str) -> None:
    pytest.fail(f"it was warned about: {sentence}")


def case_of(folder: Path, **arrays: np.ndarray) -> Case:
    files = {name: save(folder / f"{name}.nii.gz", array) for name, array in arrays.items()}
    return Case("A1", {name: Image(path) for name, path in files.items() if name != "seg"}, LABELS, files.get("seg"))


def masks() -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 1, 2, 4], dtype=np.uint8), SHAPE)


def series_of(folder: Path) -> Case:
    """Return a case as the decathlon stores it: FLAIR, T1, T1 with contrast agent and T2 in one file."""
    path = save(folder / "A1.nii.gz", np.stack([voxels(seed) for seed in range(4)], axis=-1))
    order = ("flair", "t1", "t1ce", "t2")
    return Case("A1", {name: Image(path, volume) for volume, name in enumerate(order)}, LABELS)


def test_the_grid_of_a_case_is_read_without_its_voxels(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), seg=masks())
    for path in (tmp_path / "t1.nii.gz", tmp_path / "seg.nii.gz"):
        content = bytearray(path.read_bytes())
        content[-8] ^= 0xFF  # its checksum is wrong, which only those notice who read to the end
        path.write_bytes(content)
    header = case_header(case, ["t1"], silence)
    assert header.shape == SHAPE
    assert header.volumes == 1
    assert header.affine.dtype == np.float64
    assert np.allclose(header.affine, oblique(), atol=1e-5)


def test_sides_and_orientation_are_those_of_the_affine() -> None:
    assert spacing_of(oblique()) == pytest.approx((0.9, 1.1, 2.5))
    assert orientation_of(np.diag([-1, -1, 1, 1])) == "LPS"
    assert orientation_of(oblique()) == "RAS"
    assert orientation_of(np.array([[0, 0, 2, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])) == "PSR"


def test_modalities_come_in_the_order_asked_for_and_labels_as_indices(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(1), flair=voxels(2), t2=voxels(3), seg=masks())
    volume = read_volume(case, ["flair", "t1"], silence)
    assert np.array_equal(volume.images, np.stack([voxels(2), voxels(1)]))
    assert volume.images.dtype == np.float32
    assert volume.classes == ("background", "core", "edema", "enhancing")
    assert volume.labels is not None
    assert volume.labels.dtype == np.uint8
    assert np.array_equal(volume.labels, np.select([masks() == 1, masks() == 2, masks() == 4], [1, 2, 3], 0))
    assert volume.spacing == pytest.approx((0.9, 1.1, 2.5), abs=1e-5)


def test_a_case_without_reference_has_no_labels(tmp_path: Path) -> None:
    assert read_volume(case_of(tmp_path, t1=voxels()), ["t1"], silence).labels is None


def test_images_come_one_by_one(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(1), t2=voxels(2))
    images = read_images(case, ["t2", "t1"], silence)
    assert np.array_equal(next(images), voxels(2))
    (tmp_path / "t1.nii.gz").unlink()  # the header was read, the voxels were not
    with pytest.raises(RefusedDataError, match=r"t1\.nii\.gz is not there"):
        next(images)


def test_modalities_of_one_file_come_in_the_order_asked_for(tmp_path: Path) -> None:
    volume = read_volume(series_of(tmp_path), ["t1", "t1ce", "t2", "flair"], silence)
    assert np.array_equal(volume.images, np.stack([voxels(seed) for seed in (1, 2, 3, 0)]))


def test_a_file_of_several_modalities_is_inflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = series_of(tmp_path)
    content = len(gzip.decompress((tmp_path / "A1.nii.gz").read_bytes()))
    inflated = 0

    class Counting:
        def __init__(self, inflater: Any) -> None:  # noqa: ANN401 - zlib gives its type no name
            self._inflater = inflater

        def __getattr__(self, name: str) -> object:
            return getattr(self._inflater, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            part: bytes = self._inflater.decompress(data, most)
            inflated += len(part)
            return part

    inflater = zlib.decompressobj
    monkeypatch.setattr("zlib.decompressobj", lambda bits: Counting(inflater(bits)))
    assert len(list(read_images(case, ["t1", "t1ce", "t2", "flair"], silence))) == 4
    assert content <= inflated < content + 1000  # and the header, to compare it


def test_files_may_say_their_one_grid_in_different_ways(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(1), t2=voxels(2), t1ce=voxels(3), seg=masks())
    save(tmp_path / "t2.nii.gz", voxels(2), sform_code=0)
    save(tmp_path / "t1ce.nii.gz", voxels(3), qform_code=0, sform_code=4, version=2, endianness=">")
    save(tmp_path / "seg.nii.gz", masks()[..., None], qform_code=3, sform_code=3)
    assert not np.array_equal(read_header(tmp_path / "t2.nii.gz").affine, read_header(tmp_path / "t1.nii.gz").affine)
    volume = read_volume(case, ["t1", "t2", "t1ce"], silence)
    assert np.array_equal(volume.images, np.stack([voxels(1), voxels(2), voxels(3)]))


def test_the_direction_of_axes_at_half_a_right_angle_is_no_matter(tmp_path: Path) -> None:
    turned = np.eye(4)
    turned[:2, :2] = np.array([[1, -1], [1, 1]]) * np.sqrt(0.5)
    other = turned.copy()
    other[0, 0] += 1e-6
    other[1, 1] += 1e-6
    paths = [save(tmp_path / name, affine=affine) for name, affine in (("a.nii", turned), ("b.nii", other))]
    headers = [read_header(path) for path in paths]
    check_same_grid(Case("A1", {}, {}), paths[0], headers[0], paths[1], headers[1], silence)


def test_how_far_files_lie_apart_is_told_in_voxels(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels())
    affine = oblique()
    affine[0, 3] += 1.8
    save(tmp_path / "t2.nii.gz", voxels(), affine)
    with pytest.raises(RefusedDataError, match=r"^Case A1: the affines of t2.nii.gz and t1.nii.gz differ by up to 2 v"):
        case_header(case, ["t1", "t2"], silence)


def test_shapes_that_disagree_within_a_case_are_named(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels()[:4])
    with pytest.raises(
        RefusedDataError, match=r"^Case A1: t2.nii.gz has shape \(4, 6, 7\) but t1.nii.gz has \(5, 6, 7\)"
    ):
        case_header(case, ["t1", "t2"], silence)


def test_orientations_that_disagree_within_a_case_are_named(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels())
    save(tmp_path / "t2.nii.gz", affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    with pytest.raises(RefusedDataError, match=r"the axes of t2.nii.gz run to LPS, those of t1.nii.gz to RAS"):
        next(read_images(case, ["t1", "t2"], silence))


def test_a_header_is_warned_about_once_when_a_case_is_read(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), seg=masks())
    save(tmp_path / "t1.nii.gz", scl_slope=np.nan)
    told: list[str] = []
    read_volume(case, ["t1"], told.append)
    assert len(told) == 1


def test_a_background_of_minus_one_and_negative_intensities_are_no_fault(tmp_path: Path) -> None:
    image = np.full((8, 8, 8), -1, dtype=np.int16)
    image[2:6, 2:6, 2:6] = np.arange(-32, 32).reshape(4, 4, 4)
    mask = (image != -1).astype(np.uint8)
    volume = read_volume(case_of(tmp_path, t1=image, seg=mask), ["t1"], silence)
    assert np.array_equal(volume.images[0], image)


def test_labels_where_any_image_shows_something_are_inside(tmp_path: Path) -> None:
    one, other = np.zeros((2, 8, 8, 8), dtype=np.int16)
    one[2:6, 2:6, 2:4], other[2:6, 2:6, 4:6] = voxels(dtype="int16", shape=(2, 4, 4, 2)) + 1
    mask = ((one > 0) | (other > 0)).astype(np.uint8)
    read_volume(case_of(tmp_path, t1=one, t2=other, seg=mask), ["t1", "t2"], silence)


def test_a_case_without_a_tumour_is_no_fault(tmp_path: Path) -> None:
    volume = read_volume(case_of(tmp_path, t1=voxels(), seg=np.zeros(SHAPE, dtype=np.uint8)), ["t1"], silence)
    assert volume.labels is not None
    assert not volume.labels.any()


def test_two_numbers_may_mean_the_same(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.nii.gz", np.arange(4, dtype=np.uint8).repeat(27).reshape(6, 6, 3))
    meanings = {1: "tumour", 2: "cavity", 3: "tumour"}
    indices = read_labels(path, meanings, silence)
    assert np.array_equal(indices, np.array([0, 1, 2, 1]).repeat(27).reshape(6, 6, 3))
    assert Case("A1", {}, meanings).classes == ("background", "tumour", "cavity")


def test_a_number_may_mean_background(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.nii.gz", masks())
    indices = read_labels(path, {1: "core", 2: "background", 4: "enhancing"}, silence)
    assert np.array_equal(indices, np.select([masks() == 1, masks() == 4], [1, 2], 0))


def test_unknown_numbers_are_background_where_nobody_asks() -> None:
    assert indices_of(np.array([0, 1, 2, 3, 4]), {1: "core", 4: "enhancing"}).tolist() == [0, 1, 0, 0, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_labels_may_be_of_any_type(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "seg.nii.gz", masks().astype(dtype))
    assert np.array_equal(read_labels(path, LABELS, silence), indices_of(masks(), LABELS))


def test_labels_that_are_rounded_a_little_are_whole_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "seg.nii.gz", masks(), scl_slope=1.0001)
    assert not np.array_equal(read_array(path), masks())
    assert np.array_equal(read_labels(path, LABELS, silence), indices_of(masks(), LABELS))


def test_labels_without_a_meaning_are_counted_and_named_with_those_that_have_one(tmp_path: Path) -> None:
    array = masks()
    array[0, 0, :2], array[0, 0, 2] = 3, 9
    path = save(tmp_path / "seg.nii.gz", array)
    known = r"3 \(2 voxels\), 9 \(1 voxels\); known are 0 \(background\), 1 \(core\), 2 \(edema\), 4 \(enhancing\)"
    with pytest.raises(RefusedDataError, match=rf"{known}: say what they mean in the ddmkit\.yaml .* by --dataset\.$"):
        read_labels(path, LABELS, silence)
    with pytest.raises(RefusedDataError, match=rf"{known}: ask somebody\.$"):
        read_labels(path, LABELS, silence, advice="ask somebody")


def test_a_modality_that_a_case_lacks_is_named_with_those_it_has(tmp_path: Path) -> None:
    case = case_of(tmp_path, t1=voxels(), t2=voxels())
    assert image_of(case, "t2") == Image(tmp_path / "t2.nii.gz")
    with pytest.raises(RefusedDataError, match=r"^Case A1 has no flair image; it has t1, t2"):
        image_of(case, "flair")


def test_a_refusal_survives_a_way_between_processes(tmp_path: Path) -> None:
    with pytest.raises(RefusedDataError) as caught:
        read_header(tmp_path / "a.nii")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - as a pool of processes does
    assert (str(again), again.rule) == (str(caught.value), "missing-file")
