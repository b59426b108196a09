"""The folders that PatchDDM's authors train on: named by number, one case in each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ddmkit import DataError, Image
from ddmkit.testing import check, check_dataset
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.patchddm import PatchddmFolders

CONTRASTS = ("t1", "t1ce", "t2", "flair")


def make_case(root: Path, number: int, *parts: str, ending: str = "_000_w.nii.gz") -> Path:
    """Write a case of empty files: a layout is told by names alone."""
    folder = root / f"{number:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or (*CONTRASTS, "seg"):
        (folder / f"brats_train_{number:03d}_{part}{ending}").touch()
    return folder


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        PatchddmFolders().cases(root)
    return str(caught.value)


def test_a_case_is_a_folder_and_bears_its_name(tmp_path: Path) -> None:
    make_case(tmp_path / "dataroot", 12)
    folder = make_case(tmp_path / "dataroot", 7)
    first, second = PatchddmFolders().cases(tmp_path)
    assert (first.name, second.name) == ("000007", "000012")
    assert first.images == {name: Image(folder / f"brats_train_007_{name}_000_w.nii.gz") for name in CONTRASTS}
    assert list(first.images) == list(CONTRASTS)
    assert first.reference == folder / "brats_train_007_seg_000_w.nii.gz"
    assert first.patient is None


def test_the_numbers_mean_what_brats_2020_says(tmp_path: Path) -> None:
    make_case(tmp_path, 1)
    (case,) = PatchddmFolders().cases(tmp_path)
    assert case.labels == PatchddmFolders.labels == BratsFolders.labels


def test_the_number_at_the_end_does_not_matter(tmp_path: Path) -> None:
    folder = make_case(tmp_path, 1, ending="_123_w.nii")
    (case,) = PatchddmFolders().cases(tmp_path)
    assert case.images["t1ce"] == Image(folder / "brats_train_001_t1ce_123_w.nii")


def test_a_case_without_a_mask_has_no_reference(tmp_path: Path) -> None:
    make_case(tmp_path, 1, *CONTRASTS)
    assert PatchddmFolders().cases(tmp_path)[0].reference is None


def test_a_missing_contrast_is_named_with_its_case(tmp_path: Path) -> None:
    make_case(tmp_path, 1, "t1", "t2", "seg")
    lacking = "Case 000001 lacks brats_train_001_t1ce_000_w.nii.gz, brats_train_001_flair_000_w.nii.gz"
    assert lacking in refusal(tmp_path)
    assert [*PatchddmFolders().survey(tmp_path).partial["000001"].images] == ["t1", "t2"]


def test_two_masks_are_refused(tmp_path: Path) -> None:
    make_case(make_case(tmp_path, 1).parent, 1, "seg", ending="_001_w.nii.gz")
    assert "Case 000001 has both brats_train_001_seg_000_w and brats_train_001_seg_001_w" in refusal(tmp_path)


def test_a_file_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    make_case(make_case(tmp_path, 1).parent, 1, "t2", ending="_000_w.nii")
    assert "both brats_train_001_t2_000_w.nii and brats_train_001_t2_000_w.nii.gz" in refusal(tmp_path)


def test_two_cases_in_one_folder_are_refused(tmp_path: Path) -> None:
    (make_case(tmp_path, 1) / "brats_train_002_t1_000_w.nii.gz").touch()
    assert "holds files of brats_train_001 and brats_train_002, but is the one case 000001" in refusal(tmp_path)


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = make_case(tmp_path / "a", 1), make_case(tmp_path / "b", 1)
    assert f"{first} and {second}" in refusal(tmp_path)


def test_the_path_may_be_a_case_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make_case(tmp_path, 3))
    assert [case.name for case in PatchddmFolders().cases(Path())] == ["000003"]


@pytest.mark.parametrize(
    ("file", "mine"),
    [
        ("train/000001/brats_train_001_flair_000_w.nii.gz", True),
        ("000001/brats_train_001_seg_000_w.nii.gz", False),
        ("000001/brats_train_001_t1.nii.gz", False),
        ("BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz", False),
    ],
)
def test_only_its_own_names_are_recognised(tmp_path: Path, file: str, mine: bool) -> None:  # noqa: FBT001 - a parameter
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert PatchddmFolders().recognises(tmp_path) is mine


def test_it_keeps_the_promises_of_a_dataset(tmp_path: Path) -> None:
    for number in (1, 2):
        make_case(tmp_path, number)
    for file in tmp_path.rglob("*.nii.gz"):
        voxels = np.arange(60).reshape(5, 4, 3) % (3 if "seg" in file.name else 50)
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), file)
    check(PatchddmFolders)
    check_dataset(PatchddmFolders(), tmp_path)
