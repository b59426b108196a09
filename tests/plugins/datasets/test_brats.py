"""Cases of BraTS 2017 to 2021: found by their names, refused when they contradict themselves."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from ddmkit import Case, DataError, Image, MissingImagesError
from ddmkit_plugins.datasets.brats import BratsFolders

MODALITIES = ("t1", "t1ce", "t2", "flair")


def make_case(folder: Path, *parts: str, ending: str = ".nii.gz") -> Path:
    """Write a case of empty files: a layout is told by names alone."""
    return add(folder, folder.name, *parts, ending=ending)


def add(folder: Path, name: str, *parts: str, ending: str = ".nii.gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or (*MODALITIES, "seg"):
        (folder / f"{name}_{part}{ending}").touch()
    return folder


def names(root: Path) -> list[str]:
    return [case.name for case in BratsFolders().cases(root)]


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        BratsFolders().cases(root)
    return str(caught.value)


@pytest.mark.parametrize("name", ["Brats17_2013_10_1", "BraTS20_Training_001", "BraTS2021_00000", "my-own çase"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".NII.GZ"])
def test_a_case_is_a_folder_whose_files_bear_its_name(tmp_path: Path, name: str, ending: str) -> None:
    folder = make_case(tmp_path / name, ending=ending)
    (case,) = BratsFolders().cases(tmp_path)
    assert case.name == name
    assert case.images == {modality: Image(folder / f"{name}_{modality}{ending}") for modality in MODALITIES}
    assert case.reference == folder / f"{name}_seg{ending}"
    assert case.patient is None


def test_the_numbers_mean_what_brats_2020_says(tmp_path: Path) -> None:
    make_case(tmp_path / "a")
    (case,) = BratsFolders().cases(tmp_path)
    assert case.labels == BratsFolders.labels == {1: "necrotic", 2: "edema", 4: "enhancing"}


def test_a_case_without_a_mask_has_no_reference(tmp_path: Path) -> None:
    make_case(tmp_path / "a", *MODALITIES)
    assert BratsFolders().cases(tmp_path)[0].reference is None


def test_endings_may_be_mixed_within_a_case(tmp_path: Path) -> None:
    folder = make_case(tmp_path / "a", "t1", "flair", ending=".nii")
    make_case(folder, "t1ce", "t2")
    (case,) = BratsFolders().cases(tmp_path)
    assert {image.path.name for image in case.images.values()} == {
        "a_t1.nii",
        "a_flair.nii",
        "a_t1ce.nii.gz",
        "a_t2.nii.gz",
    }


def test_a_contrast_may_be_a_header_with_voxels_beside_it(tmp_path: Path) -> None:
    folder = make_case(make_case(tmp_path / "a", ending=".hdr"), ending=".img")
    (case,) = BratsFolders().cases(tmp_path)
    assert case.images["t2"] == Image(folder / "a_t2.hdr")
    assert case.reference == folder / "a_seg.hdr"
    (folder / "a_t2.img").unlink()
    assert "a_t2.hdr is a header without its voxels a_t2.img" in refusal(tmp_path)


def test_cases_are_found_at_any_depth_and_sorted_by_name(tmp_path: Path) -> None:
    for place in ("d", "z/a", "c/c/b", "e/f/g/e", "b/c"):
        make_case(tmp_path / place)
    assert names(tmp_path) == ["a", "b", "c", "d", "e"]


def test_the_path_may_be_a_case_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_case(tmp_path / "BraTS20_Training_007")
    assert names(folder) == ["BraTS20_Training_007"]
    monkeypatch.chdir(folder)
    assert names(Path()) == ["BraTS20_Training_007"]


def test_all_cases_may_lie_in_one_folder(tmp_path: Path) -> None:
    for name in ("b_1", "b", "a"):
        add(tmp_path, name)
    cases = BratsFolders().cases(tmp_path)
    assert [case.name for case in cases] == ["a", "b", "b_1"]
    for case in cases:
        assert {image.path.parent for image in case.images.values()} == {tmp_path}
        assert case.reference == tmp_path / f"{case.name}_seg.nii.gz"


def test_a_case_is_named_by_its_files_whatever_its_folder_is_called(tmp_path: Path) -> None:
    add(tmp_path / "first patient", "BraTS20_Training_001")
    assert names(tmp_path) == ["BraTS20_Training_001"]


@pytest.mark.parametrize("mask", ["W39_1998.09.19_Segm.nii", "other_segm.nii.gz", "W39_Segm.NII"])
def test_case_355_keeps_the_mask_it_was_shipped_with(tmp_path: Path, mask: str) -> None:
    folder = make_case(tmp_path / "BraTS20_Training_355", *MODALITIES, ending=".nii")
    (folder / mask).touch()
    assert BratsFolders().cases(tmp_path)[0].reference == folder / mask


def test_the_usual_mask_is_preferred_to_another(tmp_path: Path) -> None:
    folder = make_case(tmp_path / "a")
    (folder / "W39_Segm.nii").touch()
    assert BratsFolders().cases(tmp_path)[0].reference == folder / "a_seg.nii.gz"


def test_a_mask_of_another_name_is_nobodys_where_several_cases_lie(tmp_path: Path) -> None:
    (add(add(tmp_path, "a", *MODALITIES), "b", *MODALITIES) / "W39_Segm.nii").touch()
    assert [case.reference for case in BratsFolders().cases(tmp_path)] == [None, None]


def test_two_other_masks_are_refused(tmp_path: Path) -> None:
    folder = make_case(tmp_path / "a", *MODALITIES)
    for mask in ("one_Segm.nii", "two_Segm.nii"):
        (folder / mask).touch()
    message = refusal(tmp_path)
    assert "one_Segm.nii and two_Segm.nii" in message
    assert "a_seg.nii.gz" in message


def test_a_missing_contrast_is_named_with_its_case(tmp_path: Path) -> None:
    make_case(tmp_path / "whole")
    make_case(tmp_path / "BraTS20_Training_002", "t1", "flair", "seg")
    message = refusal(tmp_path)
    assert "BraTS20_Training_002 lacks BraTS20_Training_002_t1ce.nii.gz, BraTS20_Training_002_t2.nii.gz" in message
    assert "put that there" in message


def test_a_survey_reads_on_after_broken_cases(tmp_path: Path) -> None:
    make_case(tmp_path / "whole")
    make_case(tmp_path / "half", "t1", "seg")
    for group in ("hgg", "lgg"):
        make_case(tmp_path / group / "twin")
    os.mkfifo(make_case(tmp_path / "odd", "t1", "t1ce", "t2") / "odd_flair.nii.gz")
    cases, wrong, *_ = BratsFolders().survey(tmp_path)
    assert [case.name for case in cases] == ["whole"]
    assert wrong.keys() == {"half", "odd", "twin"}
    assert "half lacks half_t1ce.nii.gz" in wrong["half"]
    assert "Two folders hold a case twin" in wrong["twin"]
    assert "odd_flair.nii.gz is a pipe" in wrong["odd"]


def test_what_a_case_lacks_can_be_told_by_another_process() -> None:
    error = MissingImagesError("half lacks t1ce.", Case("half", {}, {}))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert (str(again), again.case) == (str(error), error.case)


def test_a_case_that_lacks_images_alone_is_told_with_those_it_has(tmp_path: Path) -> None:
    make_case(tmp_path / "half", "t1", "seg")
    for group in ("hgg", "lgg"):
        make_case(tmp_path / group / "twin", "t1")
    os.mkfifo(make_case(tmp_path / "odd", "t1") / "odd_flair.nii.gz")
    partial = BratsFolders().survey(tmp_path).partial
    assert partial.keys() == {"half"}  # of the twins nobody knows which is meant
    assert partial["half"].images == {"t1": Image(tmp_path / "half/half_t1.nii.gz")}
    assert partial["half"].reference == tmp_path / "half/half_seg.nii.gz"


@pytest.mark.parametrize("part", ["t2", "seg"])
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, part: str) -> None:
    make_case(make_case(tmp_path / "a"), part, ending=".nii")
    assert f"both a_{part}.nii and a_{part}.nii.gz" in refusal(tmp_path)


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = make_case(tmp_path / "hgg/a"), make_case(tmp_path / "lgg/a")
    message = refusal(tmp_path)
    assert str(first) in message
    assert str(second) in message


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file: Not a directory" in refusal(tmp_path / "file")
    assert "nowhere: No such file" in refusal(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", forbid)
    assert f"{tmp_path}: Permission denied" in refusal(tmp_path)


def test_folders_without_cases_give_none(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    make_case(tmp_path / "predictions", "seg", "mean")
    (tmp_path / "notes_t1.txt").touch()
    (tmp_path / "_t1.nii.gz").touch()
    assert names(tmp_path) == []
    assert not BratsFolders().recognises(tmp_path)


@pytest.mark.parametrize("place", [".", "a", "MICCAI_BraTS2020/HGG/a"])
@pytest.mark.parametrize("parts", [(), ("t2",)], ids=["whole", "broken"])
def test_cases_are_recognised_whole_or_not(tmp_path: Path, place: str, parts: tuple[str, ...]) -> None:
    add(tmp_path / place, "a", *parts)
    assert BratsFolders().recognises(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        "BraTS-GLI-00000-000/BraTS-GLI-00000-000-t1n.nii.gz",
        "000001/brats_train_001_t1_000_w.nii.gz",
        "imagesTr/BRATS_001.nii.gz",
        "imagesTr/BRATS_001_0000.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
    ],
)
def test_other_layouts_are_not_recognised(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    assert not BratsFolders().recognises(tmp_path)
    assert BratsFolders().survey(tmp_path).cases == []


def test_what_cannot_be_read_is_not_recognised(tmp_path: Path) -> None:
    assert not BratsFolders().recognises(tmp_path / "nowhere")


def test_hidden_folders_and_files_are_skipped(tmp_path: Path) -> None:
    make_case(tmp_path / ".trash/a")
    make_case(tmp_path / ".123-b")
    (make_case(tmp_path / "c") / "._c_t1.nii").touch()
    assert names(tmp_path) == ["c"]


def test_folders_named_like_files_are_no_images(tmp_path: Path) -> None:
    folder = make_case(tmp_path / "a", "t1", "t1ce", "t2", "seg")
    (folder / "a_flair.nii.gz").mkdir()
    assert "a_flair.nii.gz is a folder" in refusal(tmp_path)


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    store = make_case(tmp_path / "store/a")
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    (chosen / "a").symlink_to(store)
    (chosen / "up").symlink_to(tmp_path)
    (chosen / "self").symlink_to(chosen)
    assert names(chosen) == ["a"]
    assert names(tmp_path) == ["a"]
