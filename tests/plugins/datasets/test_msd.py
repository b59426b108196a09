"""Tasks of the Medical Segmentation Decathlon: their lists, folders and 4D files become cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ddmkit import DataError, Image
from ddmkit.testing import check_dataset
from ddmkit.volume import read_volume
from ddmkit_plugins.datasets.msd import Decathlon

SHAPE = (6, 7, 5)
LABELS = {1: "edema", 2: "necrotic", 3: "enhancing"}


def save(path: Path, *shape: int) -> Path:
    """Write voxels of 0 and 1, and in the second volume of 4D ones 0 and 2, and so on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.indices(shape).sum(axis=0) % 2 * (1 + np.arange(shape[-1]) if len(shape) > 3 else 1)
    nib.save(nib.Nifti1Image(voxels.astype(np.uint8), np.eye(4)), path)
    return path


def write_task(root: Path, names: list[str], tests: list[str] | None = None, *, lists: bool = True) -> Path:
    """Write a small Task01_BrainTumour as it is distributed, litter of macOS included."""
    for folder, group in (("imagesTr", names), ("imagesTs", tests or [])):
        for name in group:
            save(root / folder / f"{name}.nii.gz", *SHAPE, 4)
            (root / folder / f"._{name}.nii.gz").write_bytes(b"litter")
    for name in names:
        save(root / "labelsTr" / f"{name}.nii.gz", *SHAPE)
    return describe(
        root,
        name="BRATS",
        modality={"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        labels={"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        **({"training": [pair(name) for name in names]} if lists else {}),
        **({"test": [f"./imagesTs/{name}.nii.gz" for name in tests or []]} if lists else {}),
    )


def describe(root: Path, **says: object) -> Path:
    """Write a dataset.json, or change what it says."""
    root.mkdir(exist_ok=True)
    path = root / "dataset.json"
    before: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **says}))
    return root


def pair(name: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def names(root: Path) -> list[str]:
    return [case.name for case in Decathlon().cases(root)]


def wrong(root: Path, name: str) -> str:
    """Return what is said of a case that is wrong; it names the case."""
    reason = Decathlon().survey(root).wrong[name]
    assert name in reason
    return reason


@pytest.mark.parametrize("lists", [True, False])
def test_modalities_are_volumes_of_one_file_and_labels_mean_what_the_description_says(
    tmp_path: Path, *, lists: bool
) -> None:
    root = write_task(tmp_path / "Task01_BrainTumour", ["BRATS_001", "BRATS_002"], ["BRATS_485"], lists=lists)
    first, second, test = Decathlon().cases(root)
    assert [first.name, second.name, test.name] == ["BRATS_001", "BRATS_002", "BRATS_485"]
    file = root / "imagesTr/BRATS_001.nii.gz"
    assert first.images == {"flair": Image(file, 0), "t1": Image(file, 1), "t1ce": Image(file, 2), "t2": Image(file, 3)}
    images = read_volume(first, ["t2", "flair", "t1"]).images
    assert images.shape == (3, *SHAPE)
    assert images.max(axis=(1, 2, 3)).tolist() == [4, 1, 2]
    assert first.reference == root / "labelsTr/BRATS_001.nii.gz"
    assert first.labels == test.labels == LABELS
    assert test.reference is None
    assert test.images["t2"] == Image(root / "imagesTs/BRATS_485.nii.gz", 3)


@pytest.mark.parametrize("lists", [True, False])
def test_it_keeps_what_datasets_promise(tmp_path: Path, *, lists: bool) -> None:
    check_dataset(Decathlon(), write_task(tmp_path, ["BRATS_001", "BRATS_002"], ["BRATS_485"], lists=lists))


@pytest.mark.parametrize("volumes", [(), (1,)])
def test_a_file_of_one_modality_may_be_3d(tmp_path: Path, volumes: tuple[int, ...]) -> None:
    save(tmp_path / "imagesTr/la_003.nii.gz", *SHAPE, *volumes)
    save(tmp_path / "labelsTr/la_003.nii.gz", *SHAPE)
    describe(tmp_path, modality={"0": "MRI"}, labels={"0": "background", "1": "left atrium"}, training=[pair("la_003")])
    (case,) = Decathlon().cases(tmp_path)
    assert case.images == {"mri": Image(tmp_path / "imagesTr/la_003.nii.gz")}
    assert case.labels == {1: "left atrium"}


def test_other_tasks_keep_their_own_names(tmp_path: Path) -> None:
    write_task(tmp_path, ["prostate_00"])
    describe(tmp_path, modality={"0": "T2", "1": "ADC"}, labels={"0": "background", "1": "PZ", "2": "TZ"})
    (case,) = Decathlon().cases(tmp_path)
    assert list(case.images) == ["t2", "adc"]
    assert case.classes == ("background", "pz", "tz")


def test_a_list_decides_which_cases_there_are(tmp_path: Path) -> None:
    write_task(tmp_path, ["a", "b", "c"], ["d", "e"])
    describe(tmp_path, training=[pair("a"), {"image": "imagesTr/c.nii.gz"}], test=[{"image": "imagesTs/e.nii.gz"}])
    cases = Decathlon().cases(tmp_path)
    assert [case.name for case in cases] == ["a", "c", "e"]
    assert [case.reference is not None for case in cases] == [True, False, False]


def test_a_list_that_is_empty_decides_nothing(tmp_path: Path) -> None:
    write_task(tmp_path, ["a"], ["b"])
    describe(tmp_path, training=[], test=None)
    assert names(tmp_path) == ["a", "b"]


def test_a_folder_alone_is_its_share_of_the_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_task(tmp_path / "task", ["a", "b"], ["c"])
    describe(root, training=[pair("b")])
    assert names(root / "imagesTr") == ["b"]
    assert names(root / "imagesTs") == ["c"]
    references = Decathlon().cases(root / "labelsTr")
    assert [(case.name, case.images, case.labels) for case in references] == [("a", {}, LABELS), ("b", {}, LABELS)]
    assert references[0].reference == root / "labelsTr/a.nii.gz"
    monkeypatch.chdir(root / "imagesTr")
    (case,) = Decathlon().cases(Path())
    assert case.reference is not None
    assert case.reference.samefile(root / "labelsTr/b.nii.gz")


def test_what_a_list_names_has_to_be_there(tmp_path: Path) -> None:
    write_task(tmp_path, ["a", "b", "c"])
    (tmp_path / "imagesTr/a.nii.gz").unlink()
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    assert [case.name for case in Decathlon().survey(tmp_path).cases] == ["c"]
    assert "imagesTr/a.nii.gz', which is not there" in wrong(tmp_path, "a")
    assert "labelsTr/b.nii.gz', which is not there" in wrong(tmp_path, "b")
    with pytest.raises(DataError, match="Case a"):
        Decathlon().cases(tmp_path)


def test_what_a_list_names_has_to_be_in_the_folder(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside/a.nii.gz", *SHAPE, 4)
    root = write_task(tmp_path / "task", ["d"])
    (root / "link").symlink_to(outside.parent)
    entries = ["../outside/a.nii.gz", str(outside.with_name("b.nii.gz")), "link/../outside/c.nii.gz"]
    describe(root, training=[pair("d"), *entries])
    found = Decathlon().survey(root)
    assert [case.name for case in found.cases] == ["d"]
    assert "leads out of its own folder" in wrong(root, "a")
    assert "an absolute path" in wrong(root, "b")
    assert "leads out of its own folder" in wrong(root, "c")


def test_a_case_that_is_listed_twice_or_has_a_namesake_is_wrong(tmp_path: Path) -> None:
    write_task(tmp_path, ["a", "b", "c"], ["c"])
    describe(tmp_path, training=[pair("a"), pair("a"), pair("b"), pair("c")])
    assert [case.name for case in Decathlon().survey(tmp_path).cases] == ["b"]
    assert "Two cases are named a" in wrong(tmp_path, "a")
    assert "imagesTs/c.nii.gz" in wrong(tmp_path, "c")


@pytest.mark.parametrize(
    ("lists", "because"),
    [
        ({"training": "imagesTr"}, "a list of cases belongs there"),
        ({"training": [7]}, "has 7 as 'training'"),
        ({"test": [["a"]]}, "has \\['a'\\] as 'test'"),
        ({"training": [{"label": "labelsTr/a.nii.gz"}]}, "lists a case without an 'image' under 'training'"),
        ({"training": [{"image": 1}]}, "has 1 among the names under 'training'"),
        ({"training": [{"image": "imagesTr/a.nii.gz", "label": {}}]}, "has {} among the names under 'training'"),
        ({"training": ["imagesTr/\0.nii.gz"]}, "among the names under 'training'"),
        ({"training": ["\ud800.nii.gz"]}, "among the names under 'training'"),
        ({"training": ["a" * 5000]}, "among the names under 'training'"),
        ({"labels": None}, "has None as 'labels'"),
    ],
)
def test_a_list_of_something_else_is_refused(tmp_path: Path, lists: dict[str, object], because: str) -> None:
    write_task(tmp_path, ["a"])
    describe(tmp_path, **lists)
    with pytest.raises(DataError, match=because):
        Decathlon().survey(tmp_path)


def test_without_lists_images_and_labels_must_match(tmp_path: Path) -> None:
    write_task(tmp_path, ["a", "b", "c", "d"], lists=False)
    (tmp_path / "imagesTr/a.nii.gz").unlink()
    (tmp_path / "labelsTr/b.nii.gz").unlink()
    save(tmp_path / "imagesTr/c.nii", *SHAPE, 4)
    assert [case.name for case in Decathlon().survey(tmp_path).cases] == ["d"]
    assert "Case a has labels" in wrong(tmp_path, "a")
    assert "Case b has no labels" in wrong(tmp_path, "b")
    assert "c.nii.gz" in wrong(tmp_path, "c")


def test_cases_may_all_lack_labels(tmp_path: Path) -> None:
    write_task(tmp_path, ["a", "b"], lists=False)
    for name in "ab":
        (tmp_path / f"labelsTr/{name}.nii.gz").unlink()
    assert [case.reference for case in Decathlon().cases(tmp_path)] == [None, None]


def test_a_folder_without_anything_has_no_cases_and_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    (tmp_path / "imagesTr").mkdir()
    assert names(tmp_path) == []
    with pytest.raises(DataError, match="nowhere"):
        names(tmp_path / "nowhere")
    save(tmp_path / "imagesTr/a.nii.gz", *SHAPE)
    with pytest.raises(DataError, match=r"There is no .*dataset\.json"):
        names(tmp_path)


def test_broken_descriptions_above_an_empty_folder_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("broken")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path / "empty") == []
    assert not Decathlon().recognises(tmp_path / "empty")
