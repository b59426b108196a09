"""Phantoms on disk: files like those of BraTS 2020, the same bytes each time, whole or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError

from ddmkit import DataError, Shape, StorageError
from ddmkit.testing import check_dataset
from ddmkit.volume import read_volume
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.phantom import Phantom
from ddmkit_plugins.datasets.phantom_files import write_phantoms

SHAPE = (24, 20, 16)
PARTS = ("t1", "t1ce", "t2", "flair", "seg")
FIRST = "BraTS20_Training_001"


class Calls(list[tuple[str, int, int]]):
    """Remembers what progress was told."""

    def __call__(self, what: str, done: int, total: int) -> None:
        self.append((what, done, total))


def write(root: Path, count: int = 2, shape: Shape = SHAPE, seed: int = 0) -> list[str]:
    return write_phantoms(root, count, shape, seed, Calls())


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_files_are_named_as_in_brats_2020(tmp_path: Path) -> None:
    assert write(tmp_path / "new/folder") == [FIRST, "BraTS20_Training_002"]
    expected = {f"{case}/{case}_{part}.nii.gz" for case in (FIRST, "BraTS20_Training_002") for part in PARTS}
    assert set(digests(tmp_path / "new/folder")) == expected


def test_files_have_the_types_and_the_grid_of_brats_2020(tmp_path: Path) -> None:
    write(tmp_path)
    for part in PARTS:
        image: Any = nib.load(tmp_path / FIRST / f"{FIRST}_{part}.nii.gz")
        assert image.shape == SHAPE
        assert image.get_data_dtype() == (np.uint8 if part == "seg" else np.int16)
        assert image.affine.tolist() == [[-1, 0, 0, 0], [0, -1, 0, SHAPE[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]]
        assert (image.get_qform() == image.get_sform()).all()
        assert image.header.get_zooms() == (1, 1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
        axes: Any = nib.orientations.aff2axcodes(image.affine)
        assert axes == ("L", "P", "S")


def test_a_file_says_that_it_is_no_patient(tmp_path: Path) -> None:
    write(tmp_path, seed=3)
    header: Any = nib.load(tmp_path / FIRST / f"{FIRST}_t1.nii.gz").header
    assert header["descrip"].item() == b"ddmkit phantom 24x20x16 seed 3"


def test_bytes_depend_on_seed_shape_and_number_but_not_on_the_count(tmp_path: Path) -> None:
    write(tmp_path / "one", count=1)
    write(tmp_path / "three", count=3)
    write(tmp_path / "seed", count=1, seed=1)
    one, three, other = (digests(tmp_path / name) for name in ("one", "three", "seed"))
    assert one.items() <= three.items()
    assert not set(one.values()) & set(other.values())
    assert len(set(three.values())) == 15


def test_written_cases_are_left_alone_and_missing_ones_are_added(tmp_path: Path) -> None:
    write(tmp_path, count=3)
    whole = digests(tmp_path)
    shutil.rmtree(tmp_path / "BraTS20_Training_002")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}
    calls = Calls()
    write_phantoms(tmp_path, 3, SHAPE, 0, calls)
    assert calls == [("phantom cases", 3, 3)]
    assert digests(tmp_path) == whole
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_progress_counts_the_cases(tmp_path: Path) -> None:
    calls = Calls()
    write_phantoms(tmp_path, 3, (16, 16, 16), 0, calls)
    assert calls == [("phantom cases", done, 3) for done in (1, 2, 3)]


def test_what_a_killed_run_left_is_no_case(tmp_path: Path) -> None:
    write(tmp_path / "good", count=2)
    left = tmp_path / "bad" / f".4711-{FIRST}"
    left.mkdir(parents=True)
    (left / f"{FIRST}_t1.nii.gz").write_bytes(b"half a file")
    write(tmp_path / "bad", count=2)
    assert [case.name for case in BratsFolders().cases(tmp_path / "bad")] == [FIRST, "BraTS20_Training_002"]
    assert digests(tmp_path / "good").items() <= digests(tmp_path / "bad").items()


def test_an_interrupted_case_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = Path.write_bytes

    def interrupt(path: Path, data: bytes) -> int:
        if "_t2" in path.name:
            raise KeyboardInterrupt
        return written(path, data)

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path), None, str(len(data)))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(StorageError, match=f"{FIRST}: No space left on device"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", [{"seed": 1}, {"shape": (16, 16, 16)}])
def test_phantoms_of_two_kinds_are_not_mixed(tmp_path: Path, other: dict[str, Any]) -> None:
    write(tmp_path)
    before = digests(tmp_path)
    with pytest.raises(DataError, match=f"{FIRST} is there already, but not as the whole ddmkit phantom"):
        write(tmp_path, **other)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"no NIfTI at all"])
def test_a_case_that_is_not_whole_is_neither_used_nor_overwritten(tmp_path: Path, damage: bytes) -> None:
    write(tmp_path)
    broken = tmp_path / FIRST / f"{FIRST}_t2.nii.gz"
    broken.write_bytes(damage)
    with pytest.raises(DataError, match="empty folder"):
        write(tmp_path)
    assert broken.read_bytes() == damage


def test_phantoms_are_read_as_any_brats_case(tmp_path: Path) -> None:
    dataset = Phantom(count=3, shape=SHAPE)
    root = dataset.prepare(tmp_path / "data", Calls())
    assert root == tmp_path / "data"
    assert dataset.cases(root) == BratsFolders().cases(root)
    for case in dataset.cases(root):
        volume = read_volume(case, PARTS[:4])
        assert volume.images.shape == (4, *SHAPE)
        assert volume.labels is not None
        assert volume.spacing == (1, 1, 1)


def test_without_a_path_shape_and_seed_name_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Phantom(count=1, shape=SHAPE, seed=5).prepare(None, Calls())
    assert root == Path("phantom/24x20x16-seed5")
    assert [case.name for case in BratsFolders().cases(tmp_path / root)] == [FIRST]


def test_what_a_run_sees_does_not_depend_on_what_another_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Phantom(count=3, shape=SHAPE).prepare(None, Calls())
    fewer, calls = Phantom(count=2, shape=SHAPE), Calls()
    root = fewer.prepare(None, calls)
    assert calls == []
    assert len(fewer.cases(root)) == len(fewer.cases(root.absolute())) == 2
    (root / "BraTS20_Training_003/BraTS20_Training_003_t1.nii.gz").rename(tmp_path / "kept")
    assert fewer.survey(root).wrong == {}
    (tmp_path / "kept").rename(root / "BraTS20_Training_003/BraTS20_Training_003_t1.nii.gz")
    assert len(Phantom(count=4, shape=SHAPE).cases(Phantom(count=4, shape=SHAPE).prepare(None, calls))) == 4
    assert calls == [("phantom cases", 4, 4)]


def test_a_path_that_holds_cases_is_used_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, count=1, shape=(16, 16, 16), seed=9)
    before, calls = digests(tmp_path), Calls()
    assert Phantom(count=5, shape=SHAPE).prepare(tmp_path, calls) == tmp_path
    assert digests(tmp_path) == before
    assert calls == []


def test_a_path_that_holds_a_broken_case_is_used_and_the_case_named(tmp_path: Path) -> None:
    write(tmp_path, count=1)
    (tmp_path / FIRST / f"{FIRST}_t2.nii.gz").unlink()
    before, dataset = digests(tmp_path), Phantom(count=2, shape=SHAPE)
    assert dataset.ready(tmp_path) == dataset.prepare(tmp_path, Calls()) == tmp_path
    assert digests(tmp_path) == before
    cases, wrong, *_ = dataset.survey(tmp_path)
    assert cases == []
    assert f"{FIRST} lacks {FIRST}_t2.nii.gz" in wrong[FIRST]


def test_phantoms_are_chosen_by_name_alone(tmp_path: Path) -> None:
    write(tmp_path, count=1)
    assert not Phantom().recognises(tmp_path)
    assert BratsFolders().recognises(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [{"shape": (15, 16, 16)}, {"shape": (240, 241, 16)}, {"shape": (16, 16, 156)}, {"count": 0}, {"seed": -1}],
)
def test_settings_beyond_their_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Phantom(**settings)


def test_both_datasets_keep_the_promises_of_a_dataset(tmp_path: Path) -> None:
    write(tmp_path)
    check_dataset(BratsFolders(), tmp_path)
    check_dataset(Phantom(), tmp_path)
