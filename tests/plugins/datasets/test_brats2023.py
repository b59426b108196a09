"""Gliomas of BraTS 2023 and 2024: found by their names, other collections refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ddmkit import DataError, Image
from ddmkit.testing import check, check_dataset
from ddmkit_plugins.datasets.brats2023 import Brats2023

PARTS = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}


def make_case(folder: Path, name: str = "", *parts: str, ending: str = ".nii.gz") -> Path:
    """Write a case of empty files: a layout is told by names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or (*PARTS.values(), "seg"):
        (folder / f"{name or folder.name}-{part}{ending}").touch()
    return folder


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        Brats2023().cases(root)
    return str(caught.value)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_case_is_the_files_that_bear_its_name(tmp_path: Path, ending: str) -> None:
    name = "BraTS-GLI-00000-000"
    folder = make_case(tmp_path / "ASNR-MICCAI-BraTS2023-GLI" / name, ending=ending)
    (case,) = Brats2023().cases(tmp_path)
    assert case.name == name
    assert case.images == {modality: Image(folder / f"{name}-{part}{ending}") for modality, part in PARTS.items()}
    assert list(case.images) == ["t1", "t1ce", "t2", "flair"]
    assert case.reference == folder / f"{name}-seg{ending}"


def test_the_numbers_mean_what_brats_2024_says(tmp_path: Path) -> None:
    make_case(tmp_path / "a")
    (case,) = Brats2023().cases(tmp_path)
    assert case.labels == Brats2023.labels == {1: "necrotic", 2: "edema", 3: "enhancing", 4: "cavity"}


def test_all_cases_may_lie_in_one_folder(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00002-000", "BraTS-GLI-00001-001", "BraTS-GLI-00001-000"):
        make_case(tmp_path, name)
    assert [case.name[-9:] for case in Brats2023().cases(tmp_path)] == ["00001-000", "00001-001", "00002-000"]


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("BraTS-GLI-00005-000", "BraTS-GLI-00005"),
        ("BraTS-GLI-00005-101", "BraTS-GLI-00005"),
        ("BraTS-SSA-00123-000", "BraTS-SSA-00123"),
        ("clinic-00005-003", "clinic-00005"),
        ("anna-2", None),
        ("anna", None),
    ],
)
def test_visits_of_one_patient_are_known_as_such(tmp_path: Path, name: str, patient: str | None) -> None:
    make_case(tmp_path / name)
    (case,) = Brats2023().cases(tmp_path)
    assert (case.name, case.patient) == (name, patient)


@pytest.mark.parametrize("collection", ["BraTS-PED", "BraTS-MEN-RT", "BraTS-MET", "BraTS-GoAT"])
def test_collections_with_other_numbers_are_refused(tmp_path: Path, collection: str) -> None:
    make_case(tmp_path / f"{collection}-00001-000")
    make_case(tmp_path / "BraTS-GLI-00001-000")
    cases, wrong, *_ = Brats2023().survey(tmp_path)
    assert [case.name for case in cases] == ["BraTS-GLI-00001-000"]
    (sentence,) = wrong.values()
    assert sentence.startswith(f"Case {collection}-00001-000 is of {collection}, whose label numbers need not mean")
    assert sentence.endswith("add --dataset folders.")


def test_a_case_without_a_mask_has_no_reference(tmp_path: Path) -> None:
    make_case(tmp_path / "a", "", *PARTS.values())
    assert Brats2023().cases(tmp_path)[0].reference is None


def test_a_missing_contrast_is_named_with_its_case(tmp_path: Path) -> None:
    make_case(tmp_path / "a", "", "t1n", "t2w", "seg")
    assert "Case a lacks a-t1c.nii.gz, a-t2f.nii.gz (or .nii)" in refusal(tmp_path)


@pytest.mark.parametrize("part", ["t2f", "seg"])
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, part: str) -> None:
    make_case(make_case(tmp_path / "a"), "", part, ending=".nii")
    assert f"both a-{part}.nii and a-{part}.nii.gz" in refusal(tmp_path)


def test_a_case_in_two_folders_is_refused(tmp_path: Path) -> None:
    first, second = make_case(tmp_path / "2023/a"), make_case(tmp_path / "2024/a")
    assert f"{first} and {second}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "mine"),
    [
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz", True),
        ("a-t2f.nii", True),
        ("BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz", False),
        ("BraTS-GLI-00000-000/BraTS-GLI-00000-000-seg.nii.gz", False),
        ("imagesTr/BraTS-GLI-00000-000_0000.nii.gz", False),
    ],
)
def test_only_its_own_names_are_recognised(tmp_path: Path, file: str, mine: bool) -> None:  # noqa: FBT001 - a parameter
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert Brats2023().recognises(tmp_path) is mine


def test_it_keeps_the_promises_of_a_dataset(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00000-000", "BraTS-GLI-00000-001"):
        make_case(tmp_path / name)
    for number, file in enumerate(sorted(tmp_path.rglob("*.nii.gz"))):
        voxels = np.arange(60).reshape(5, 4, 3) % (5 if "seg" in file.name else 50 + number)
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), file)
    check(Brats2023)
    check_dataset(Brats2023(), tmp_path)
