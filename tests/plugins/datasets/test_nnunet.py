"""nnU-Net's raw data: channel files become cases, for training, for sampling and to evaluate against."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ddmkit import DataError, Image, Survey
from ddmkit.testing import check_dataset
from ddmkit_plugins.datasets.nnunet import NnUnet

SHAPE = (6, 7, 5)
LABELS = {1: "edema", 2: "necrotic", 3: "enhancing"}
MODALITIES = ("t1", "t1ce", "t2", "flair")
VERSION_2: dict[str, Any] = {
    "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"},
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
    "regions_class_order": [1, 2, 3],
    "numTraining": 2,
    "file_ending": ".nii.gz",
}
VERSION_1: dict[str, Any] = {
    "modality": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"},
    "labels": {"0": "background", "1": "edema", "2": "non-enhancing", "3": "enhancing"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    "test": [],
}


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(list(path.name.encode())).integers(0, 4, SHAPE, dtype=np.uint8)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return path


def write_images(folder: Path, *names: str, channels: int = 4, ending: str = ".nii.gz") -> Path:
    for name in names:
        for channel in range(channels):
            save(folder / f"{name}_{channel:04d}{ending}")
    return folder


def describe(folder: Path, says: dict[str, Any] | None = None, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({**(says or VERSION_2), **changes}))
    return folder


def write_raw(root: Path, *names: str, tests: tuple[str, ...] = (), says: dict[str, Any] | None = None) -> Path:
    write_images(root / "imagesTr", *names)
    write_images(root / "imagesTs", *tests)
    for name in names:
        save(root / "labelsTr" / f"{name}.nii.gz")
    return describe(root, says)


def names(root: Path) -> list[str]:
    return [case.name for case in NnUnet().cases(root)]


def survey(root: Path) -> Survey:
    """Look at the cases; whatever is said of a wrong one names it."""
    found = NnUnet().survey(root)
    assert all(name in reason for name, reason in found.wrong.items())
    return found


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        NnUnet().survey(root)
    return str(caught.value)


@pytest.mark.parametrize("says", [VERSION_1, VERSION_2])
def test_the_raw_data_of_either_version_are_cases_with_and_without_references(
    tmp_path: Path, says: dict[str, Any]
) -> None:
    root = write_raw(tmp_path / "Dataset137_BraTS2021", "BraTS2021_00000", "b", tests=("c",), says=says)
    first, second, test = NnUnet().cases(root)
    assert (first.name, second.name, test.name) == ("BraTS2021_00000", "b", "c")
    assert first.images == {
        modality: Image(root / f"imagesTr/BraTS2021_00000_{channel:04d}.nii.gz")
        for channel, modality in enumerate(MODALITIES)
    }
    assert first.reference == root / "labelsTr/BraTS2021_00000.nii.gz"
    assert first.labels == test.labels == LABELS
    assert test.reference is None
    assert NnUnet().recognises(root)


@pytest.mark.parametrize("says", [VERSION_1, VERSION_2])
def test_it_keeps_what_datasets_promise(tmp_path: Path, says: dict[str, Any]) -> None:
    check_dataset(NnUnet(), write_raw(tmp_path, "a", "b", tests=("c",), says=says))


def test_the_order_of_channels_is_the_descriptions(tmp_path: Path) -> None:
    write_images(tmp_path / "imagesTr", "a", channels=2)
    describe(tmp_path, channel_names={"1": "T1Gd", "0": "ADC"})
    (case,) = NnUnet().cases(tmp_path)
    assert case.images["t1ce"].path.name == "a_0001.nii.gz"
    assert case.images["adc"].path.name == "a_0000.nii.gz"


def test_files_need_not_be_compressed(tmp_path: Path) -> None:
    write_images(tmp_path / "imagesTr", "a", ending=".nii")
    save(tmp_path / "labelsTr/a.nii")
    describe(tmp_path, file_ending=".nii")
    (case,) = NnUnet().cases(tmp_path)
    assert case.reference == tmp_path / "labelsTr/a.nii"


@pytest.mark.parametrize("ending", [".nrrd", ".png", 7, None, ["x"]])
def test_files_of_another_kind_are_refused(tmp_path: Path, ending: object) -> None:
    describe(write_raw(tmp_path, "a"), file_ending=ending)
    assert f"files end in {ending!r}, but only .nii.gz and .nii can be read" in refusal(tmp_path)


def test_a_folder_alone_is_its_share_of_the_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_raw(tmp_path / "raw", "a", "b", tests=("c",))
    cases = NnUnet().cases(root / "imagesTr")
    assert [(case.name, case.reference) for case in cases] == [
        (name, root / f"labelsTr/{name}.nii.gz") for name in "ab"
    ]
    assert names(root / "imagesTs") == ["c"]
    assert NnUnet().recognises(root / "imagesTr")
    assert NnUnet().recognises(root / "imagesTs")
    monkeypatch.chdir(root / "imagesTs")
    assert names(Path()) == ["c"]


@pytest.mark.parametrize("where", ["here", "above"])
def test_a_folder_of_images_is_described_in_it_or_above(tmp_path: Path, where: str) -> None:
    folder = write_images(tmp_path / "input", "a", "b")
    describe(folder if where == "here" else tmp_path)
    assert [(case.name, list(case.images), case.reference) for case in NnUnet().cases(folder)] == [
        ("a", list(MODALITIES), None),
        ("b", list(MODALITIES), None),
    ]
    assert NnUnet().recognises(folder)


def test_a_folder_of_images_may_be_described_elsewhere(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "input", "a")
    assert "or name another with --dataset nnunet -o dataset.description=PATH" in refusal(folder)
    elsewhere = describe(tmp_path / "elsewhere") / "dataset.json"
    (case,) = NnUnet(description=elsewhere).cases(folder)
    assert case.labels == LABELS


@pytest.mark.parametrize("folder", ["labelsTr", "labelsTs"])
def test_a_folder_of_labels_is_cases_to_evaluate_against(tmp_path: Path, folder: str) -> None:
    root = write_raw(tmp_path, "a", "b")
    (root / "labelsTr").rename(root / folder)
    cases = NnUnet().cases(root / folder)
    assert [(case.name, case.images, case.labels) for case in cases] == [("a", {}, LABELS), ("b", {}, LABELS)]
    assert cases[1].reference == root / folder / "b.nii.gz"
    assert NnUnet().recognises(root / folder)


@pytest.mark.parametrize("name", ["a", "liver_0001"])
def test_the_answers_of_nnunet_are_cases_with_references_only(tmp_path: Path, name: str) -> None:
    answers = describe(tmp_path / "answers")
    save(answers / f"{name}.nii.gz")
    for file in ("plans.json", "predict_from_raw_data_args.json"):
        (answers / file).write_text("{}")
    (case,) = NnUnet().cases(answers)
    assert case.images == {}
    assert case.name == name
    assert case.reference == answers / f"{name}.nii.gz"
    assert NnUnet().recognises(answers)


def test_what_is_wrong_with_a_case_is_said_and_the_others_are_found(tmp_path: Path) -> None:
    write_raw(tmp_path, "a", "lacks", "more", "twice", "unlabelled", "unseen", "folder", tests=("z",))
    (tmp_path / "imagesTr/lacks_0001.nii.gz").unlink()
    save(tmp_path / "imagesTr/more_0004.nii.gz")
    save(tmp_path / "imagesTr/twice_0002.nii")
    (tmp_path / "labelsTr/unlabelled.nii.gz").unlink()
    for channel in range(4):
        (tmp_path / f"imagesTr/unseen_{channel:04d}.nii.gz").unlink()
    (tmp_path / "imagesTr/folder_0003.nii.gz").unlink()
    (tmp_path / "imagesTr/folder_0003.nii.gz").mkdir()
    save(tmp_path / "imagesTr/stray.nii.gz")
    cases, wrong, partial = survey(tmp_path)
    assert [case.name for case in cases] == ["a", "z"]
    assert {name: [*case.images] for name, case in partial.items()} == {"lacks": ["t1", "t2", "flair"]}
    assert "Case lacks lacks lacks_0001.nii.gz (t1ce)" in wrong["lacks"]
    assert "more_0004.nii.gz is no channel" in wrong["more"]
    assert "_0000 (t1), _0001 (t1ce)" in wrong["more"]
    assert "twice_0002.nii" in wrong["twice"]
    assert "Case unlabelled has no labels" in wrong["unlabelled"]
    assert "Case unseen has labels" in wrong["unseen"]
    assert "folder_0003.nii.gz" in wrong["folder"]
    assert "stray.nii.gz is no channel" in wrong["stray"]
    assert len(wrong) == 7


def test_a_case_both_to_train_on_and_to_test_is_wrong(tmp_path: Path) -> None:
    write_raw(tmp_path, "a", "b", tests=("b",))
    cases, wrong, *_ = survey(tmp_path)
    assert [case.name for case in cases] == ["a"]
    assert str(tmp_path / "imagesTr/b_0000.nii.gz") in wrong["b"]
    assert str(tmp_path / "imagesTs/b_0000.nii.gz") in wrong["b"]


def test_pipes_and_links_that_lead_nowhere_are_no_images(tmp_path: Path) -> None:
    write_raw(tmp_path, "a", "pipe", "loop")
    for name in ("pipe", "loop"):
        (tmp_path / f"imagesTr/{name}_0000.nii.gz").unlink()
    os.mkfifo(tmp_path / "imagesTr/pipe_0000.nii.gz")
    (tmp_path / "imagesTr/loop_0000.nii.gz").symlink_to("loop_0000.nii.gz")
    cases, wrong, *_ = survey(tmp_path)
    assert [case.name for case in cases] == ["a"]
    assert "is a pipe" in wrong["pipe"]
    assert "leads nowhere" in wrong["loop"]


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    write_raw(tmp_path, "a")
    (tmp_path / "imagesTr/._a_0000.nii.gz").touch()
    (tmp_path / "labelsTr/.b.nii.gz").touch()
    assert names(tmp_path) == ["a"]


def test_names_that_are_not_ascii_are_names(tmp_path: Path) -> None:
    write_raw(tmp_path, "Müller 1", "患者")
    assert names(tmp_path) == ["Müller 1", "患者"]


def test_the_visits_of_one_patient_are_told_by_the_names_brats_gives(tmp_path: Path) -> None:
    write_raw(tmp_path, "BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BRATS_001")
    assert [case.patient for case in NnUnet().cases(tmp_path)] == [None, "BraTS-GLI-00001", "BraTS-GLI-00001"]


def test_partial_references_are_refused_but_their_images_can_be_sampled_for(tmp_path: Path) -> None:
    root = write_raw(tmp_path, "a", tests=("b",))
    describe(root, labels={"background": 0, "edema": 1, "core": 2, "enhancing": 3, "ignore": 4})
    assert "take 'ignore' out of the labels" in refusal(root)
    (case,) = NnUnet().cases(root / "imagesTs")
    assert case.labels == LABELS


def mapping(name: str, **changes: object) -> dict[str, object]:
    """Return what nnU-Net's "dataset" says of a case whose files have names of their own."""
    images = [f"data/{name}/{modality}.nii.gz" for modality in MODALITIES]
    return {name: {"images": images, "label": f"data/{name}/seg.nii.gz", **changes}}


def write_mapped(root: Path, **changes: object) -> Path:
    for name in "ab":
        for file in (*MODALITIES, "seg"):
            save(root / f"data/{name}/{file}.nii.gz")
    return describe(root, dataset={**mapping("a"), **mapping("b", **changes)})


def test_the_description_may_say_where_each_file_is(tmp_path: Path) -> None:
    root = write_mapped(tmp_path, label=None)
    first, second = NnUnet().cases(root)
    assert first.images == {modality: Image(root / f"data/a/{modality}.nii.gz") for modality in MODALITIES}
    assert first.reference == root / "data/a/seg.nii.gz"
    assert second.reference is None
    assert NnUnet().recognises(root)


def test_cases_with_files_of_their_own_stand_beside_those_to_sample_for(tmp_path: Path) -> None:
    write_images(write_mapped(tmp_path) / "imagesTs", "c")
    assert names(tmp_path) == ["a", "b", "c"]
    assert names(tmp_path / "imagesTs") == ["c"]


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"images": ["data/b/t1.nii.gz"]}, "needs a list of 4 'images'"),
        ({"images": "data/b/t1.nii.gz"}, "needs a list of 4 'images'"),
        ({"images": [f"/data/{modality}.nii.gz" for modality in MODALITIES]}, "an absolute path"),
        ({"images": [f"data/../../{modality}.nii.gz" for modality in MODALITIES]}, "leads out of its own folder"),
        ({"images": [f"data/c/{modality}.nii.gz" for modality in MODALITIES]}, "which is not there"),
        ({"images": [1, 2, 3, 4]}, "has 1 among the names"),
        ({"label": "data/b/seg.png"}, "which is no NIfTI image"),
        ({"label": ["data/b/seg.nii.gz"]}, "has ['data/b/seg.nii.gz'] among the names"),
    ],
)
def test_a_case_whose_files_are_not_there_is_wrong(tmp_path: Path, changes: dict[str, object], because: str) -> None:
    cases, wrong, *_ = survey(write_mapped(tmp_path, **changes))
    assert [case.name for case in cases] == ["a"]
    assert because in wrong["b"]


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", "/a", ".a", "a\n"])
def test_a_name_that_is_no_files_name_is_refused(tmp_path: Path, name: str) -> None:
    describe(write_mapped(tmp_path), dataset={name: mapping("a")["a"]})
    assert "'dataset'" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "because"), [([], "has [] as 'dataset'"), ({"a": ["x.nii.gz"]}, "has ['x.nii.gz'] as 'dataset'")]
)
def test_a_dataset_of_something_else_is_refused(tmp_path: Path, dataset: object, because: str) -> None:
    describe(write_mapped(tmp_path), dataset=dataset)
    assert because in refusal(tmp_path)


def test_a_folder_without_anything_has_no_cases_and_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    assert "nowhere" in refusal(tmp_path / "nowhere")
    write_images(tmp_path / "imagesTr", "a")
    assert f"There is no {tmp_path / 'dataset.json'}" in refusal(tmp_path)


def test_labels_without_any_images_are_wrong_where_the_whole_data_set_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "labelsTr/a.nii.gz")
    describe(tmp_path)
    cases, wrong, *_ = survey(tmp_path)
    assert not cases
    assert "no image in imagesTr" in wrong["a"]
