"""dataset.json: what it says of channels and labels is understood, and anything else is refused in one sentence."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddmkit import DataError
from ddmkit_plugins.datasets.dataset_json import FILE, Description, content, listed, named_file, read

if TYPE_CHECKING:
    from pathlib import Path

MSD: dict[str, Any] = {
    "name": "BRATS",
    "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
    "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
}
NNUNET: dict[str, Any] = {
    "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "Flair"},
    "labels": {"background": 0, "edema": 1, "non_enhancing_and_necrosis": 2, "enhancing_tumor": 3},
    "file_ending": ".nii.gz",
}


def write(folder: Path, says: object) -> Path:
    path = folder / FILE
    path.write_bytes(says if isinstance(says, bytes) else json.dumps(says).encode())
    return path


def told(folder: Path, **changes: object) -> Description:
    return read(write(folder, {**NNUNET, **changes}))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 400 + len(str(path))
    return message


def test_msd_and_nnunet_are_told_alike_in_either_direction_of_their_labels(tmp_path: Path) -> None:
    meanings = {1: "edema", 2: "necrotic", 3: "enhancing"}
    msd = read(write(tmp_path, MSD))
    assert msd.channels == ("flair", "t1", "t1ce", "t2")
    assert msd.labels == meanings
    nnunet = read(write(tmp_path, NNUNET))
    assert nnunet.channels == ("t1", "t1ce", "t2", "flair")
    assert nnunet.labels == meanings
    assert nnunet.ignored is None


def test_channels_are_told_by_number_not_by_place(tmp_path: Path) -> None:
    assert told(tmp_path, channel_names={"1": "FLAIR", "0": "ADC"}).channels == ("adc", "flair")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert read(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(NNUNET).encode())).labels[1] == "edema"


def test_numbers_need_be_neither_consecutive_nor_all_different_in_meaning(tmp_path: Path) -> None:
    labels = {"background": 0, "necrosis": 1, "edema": 2, "non-enhancing": 3, "enhancing": 4, "Chiasm": 255}
    meanings = {1: "necrotic", 2: "edema", 3: "necrotic", 4: "enhancing", 255: "chiasm"}
    assert told(tmp_path, labels=labels).labels == meanings


@pytest.mark.parametrize("labels", [{"background": 0, "tumor": 1}, {"tumor": 1}, {"0": "Background", "1": "Tumour"}])
def test_a_lone_tumor_is_the_whole_one(tmp_path: Path, labels: dict[str, object]) -> None:
    assert told(tmp_path, labels=labels).labels == {1: "whole"}


@pytest.mark.parametrize(
    ("regions", "meanings"),
    [
        (
            {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
            {1: "edema", 2: "necrotic", 3: "enhancing"},
        ),
        ({"enhancing_tumor": 4, "WT": [1, 2, 4], "TC": [1, 4]}, {1: "necrotic", 2: "edema", 4: "enhancing"}),
        (
            {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "resection cavity": 4},
            {1: "edema", 2: "necrotic", 3: "enhancing", 4: "cavity"},
        ),
        ({"whole": [1, 2], "core": [2]}, {1: "edema", 2: "necrotic"}),
        ({"whole": [1, 2], "enhancing": [2]}, {1: "whole", 2: "enhancing"}),
        ({"whole tumor": [1, 2, 4]}, {1: "whole", 2: "whole", 4: "whole"}),
        ({"whole": [1, 2, 3], "edema": 1, "NCR": 2, "ET": 3}, {1: "edema", 2: "necrotic", 3: "enhancing"}),
        ({"Liver": [1, 2, 3], "vessel": 2, "lesion": [3]}, {1: "liver", 2: "vessel", 3: "lesion"}),
        ({"left": [1, 2], "upper": [2, 3]}, {1: "left", 2: "left and upper", 3: "upper"}),
    ],
)
def test_a_number_of_regions_means_what_the_smallest_says_and_edema_outside_a_core(
    tmp_path: Path, regions: dict[str, object], meanings: dict[int, str]
) -> None:
    assert told(tmp_path, labels={"background": 0, **regions}).labels == meanings


@pytest.mark.parametrize("labels", [NNUNET["labels"], {"background": 0, "whole tumor": [1, 2, 3], "core": [2, 3]}])
def test_an_ignore_label_means_no_tissue(tmp_path: Path, labels: dict[str, object]) -> None:
    found = told(tmp_path, labels={**labels, "ignore": 4})
    assert found.ignored == 4
    assert found.labels.keys() == {1, 2, 3}


@pytest.mark.parametrize(
    ("says", "because"),
    [
        (b"", "is not JSON: Expecting value in line 1"),
        (b'{"labels": }', "is not JSON: Expecting value in line 1, column 12"),
        (b"\xff\xfe{\x00", "is not UTF-8 (byte 0"),
        (b'{"name": "caf\xe9"}', "is not UTF-8 (byte 13"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"a":' * 200_000, "is nested too deeply"),
        (b'{"release": ' + b"9" * 5000 + b"}", "makes no sense: it has a number of 5000 digits"),
        (b'{"labels": {"1": "edema", "1": "core"}}', "it has '1' twice"),
        ([], "has [] as the whole file"),
        (7, "has 7 as the whole file"),
        (None, "has None as the whole file"),
        ({}, "lacks 'labels'"),
        ({"labels": {"edema": 1}}, "lacks 'channel_names' (or 'modality')"),
        ({**NNUNET, "labels": []}, "has [] as 'labels'"),
        ({**NNUNET, "labels": {}}, "names no label but the background"),
        ({**NNUNET, "labels": {"background": 0}}, "names no label but the background"),
        ({**NNUNET, "labels": {"0": "background", "ignore": 4}}, "has 'background' among the numbers"),
        ({**NNUNET, "labels": {"edema": 1, "core": "2"}, "channel_names": "T1"}, "has 'T1' as 'channel_names'"),
        ({**NNUNET, "channel_names": ["T1", "T2"]}, "has ['T1', 'T2'] as 'channel_names'"),
        ({**NNUNET, "channel_names": {}}, "numbers its 'channel_names' nothing"),
        ({**NNUNET, "channel_names": {"1": "T1", "2": "T2"}}, "numbers its 'channel_names' 1, 2"),
        ({**NNUNET, "channel_names": {"0": "T1", "00": "T2"}}, "numbers its 'channel_names' 0, 0:"),
        ({**NNUNET, "channel_names": {"T1": "0"}}, "has 'T1' among the numbers"),
        ({**NNUNET, "channel_names": {"-1": "T1"}}, "has '-1' among the numbers"),
        ({**NNUNET, "channel_names": {"0": 1}}, "has 1 among the names"),
        ({**NNUNET, "channel_names": {"0": " "}}, "has ' ' among the names"),
        ({**NNUNET, "channel_names": {"0": "T1\n"}}, r"has 'T1\n' among the names"),
        ({**NNUNET, "channel_names": {"0": "\ud800"}}, r"has '\ud800' among the names"),
        ({**NNUNET, "channel_names": {"0": "T1" * 10_000}}, "among the names"),
        ({**NNUNET, "channel_names": {"0": "T1c", "1": "T1Gd"}}, "names two channels t1ce"),
        ({**NNUNET, "labels": {"edema": 1.0}}, "has 1.0 among the numbers"),
        ({**NNUNET, "labels": {"edema": 1.5}}, "has 1.5 among the numbers"),
        ({**NNUNET, "labels": {"edema": float("nan")}}, "has nan among the numbers"),
        ({**NNUNET, "labels": {"edema": True}}, "has True among the numbers"),
        ({**NNUNET, "labels": {"edema": None}}, "has None among the numbers"),
        ({**NNUNET, "labels": {"edema": -1}}, "has -1 among the numbers"),
        ({**NNUNET, "labels": {"edema": 256}}, "has 256 among the numbers"),
        ({**NNUNET, "labels": {"edema": 10**400}}, "among the numbers"),
        ({**NNUNET, "labels": {"edema": {"1": 2}}}, "has {'1': 2} among the numbers"),
        ({**NNUNET, "labels": {"edema": [[1]]}}, "has [1] among the numbers"),
        ({**NNUNET, "labels": {"edema": []}}, "gives nothing to the region 'edema'"),
        ({**NNUNET, "labels": {"edema": [1, 1]}}, "gives 1, 1 to the region 'edema'"),
        ({**NNUNET, "labels": {"edema": 0}}, "gives 0 to the label 'edema': 0 is the background"),
        ({**NNUNET, "labels": {"background": 1}}, "gives 1 to the label 'background': 0 is the background"),
        ({**NNUNET, "labels": {"background": [0, 1]}}, "gives 0, 1 to the label 'background'"),
        ({**NNUNET, "labels": {"whole": [0, 1]}}, "gives 0, 1 to the label 'whole'"),
        ({**NNUNET, "labels": {"edema": 1, "core": 1}}, "gives the number 1 to two labels"),
        ({**NNUNET, "labels": {"whole": [1, 2], "ignore": 2}}, "gives the number 2 to 'ignore' and to another label"),
        ({**MSD, "labels": {"1": "edema", "01": "core"}}, "gives the number 1 to two labels"),
        ({**MSD, "labels": {"1": "edema", "2": "Edema"}}, "has the label 'edema' twice"),
        ({**MSD, "labels": {"one": "edema"}}, "has 'one' among the numbers"),
        ({**MSD, "labels": {"¹": "edema"}}, "has '¹' among the numbers"),
        ({**NNUNET, "labels": {"WT": [1, 2], "whole tumor": [1]}}, "has two regions that are the whole"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_short_sentence(tmp_path: Path, says: object, because: str) -> None:
    assert because in refusal(write(tmp_path, says))


def test_a_file_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    assert "There is no" in refusal(tmp_path / FILE)
    with pytest.raises(DataError, match="put it there, or give another"):
        read(tmp_path / FILE, ", or give another")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, NNUNET)
    os.truncate(path, 10_000_001)
    monkeypatch.setattr("pathlib.Path.open", None)
    assert "more than 10 MB" in refusal(path)


def test_folders_pipes_and_links_in_a_loop_are_no_descriptions(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert "is not a file" in refusal(tmp_path / "folder")
    assert "is not a file" in refusal(tmp_path / "pipe")
    assert "cannot be read: Too many levels" in refusal(tmp_path / "loop")
    assert "There is no" in refusal(tmp_path / "broken")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.floats() | st.text(max_size=4) | st.sampled_from(["0", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["0", "1", "2", "whole", "core", "ignore", "background", "\n"]), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(channels=JSON_VALUES | st.just({"0": "T1"}), labels=JSON_VALUES)
def test_whatever_it_says_is_understood_or_refused(tmp_path: Path, channels: object, labels: object) -> None:
    path = write(tmp_path, {"channel_names": channels, "labels": labels})
    found: Description | str
    try:
        found = read(path)
    except DataError as error:
        found = str(error)
    if isinstance(found, str):
        assert found.isprintable()
    else:
        assert found.channels
        assert all(0 < number < 256 and name.strip() for number, name in found.labels.items())


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", ["./imagesTr/a.nii.gz", "imagesTr/a.nii.gz", "imagesTr/../imagesTr/a.nii.gz"])
def test_a_file_is_named_relative_to_its_description(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "imagesTr/a.nii.gz")
    assert named_file(tmp_path, name).resolve() == (tmp_path / "imagesTr/a.nii.gz").resolve()


def test_a_named_image_may_be_a_link_like_any_other(tmp_path: Path) -> None:
    link = tmp_path / "task/imagesTr/a.nii.gz"
    link.parent.mkdir(parents=True)
    link.symlink_to(touch(tmp_path / "elsewhere/b.nii.gz"))
    assert named_file(tmp_path / "task", "imagesTr/a.nii.gz") == link


@pytest.mark.parametrize(
    ("name", "because"),
    [
        ("{outside}/a.nii.gz", "an absolute path"),
        ("../outside/a.nii.gz", "leads out of its own folder"),
        ("imagesTr/../../outside/a.nii.gz", "leads out of its own folder"),
        ("link/a.nii.gz", "leads out of its own folder"),
        ("link/../outside/a.nii.gz", "leads out of its own folder"),
        ("imagesTr/b.nii.gz", "which is not there"),
        ("imagesTr/loop.nii.gz", "which is not there"),
        ("imagesTr/folder.nii.gz", "which is not there"),
        ("imagesTr/{long}.nii.gz", "which is not there"),
        ("imagesTr/a.json", "which is no NIfTI image"),
        ("imagesTr", "which is no NIfTI image"),
    ],
)
def test_a_name_that_leads_to_no_image_in_the_folder_is_refused(tmp_path: Path, name: str, because: str) -> None:
    outside, task = tmp_path / "outside", tmp_path / "task"
    touch(outside / "a.nii.gz")
    touch(task / "imagesTr/a.nii.gz")
    touch(task / "imagesTr/a.json")
    (task / "imagesTr/folder.nii.gz").mkdir()
    (task / "imagesTr/loop.nii.gz").symlink_to("loop.nii.gz")
    (task / "link").symlink_to(outside)
    with pytest.raises(DataError) as caught:
        named_file(task, name.format(outside=outside, long="a" * 300))
    assert because in str(caught.value)
    assert str(task / FILE) in str(caught.value)


def test_lists_are_lists(tmp_path: Path) -> None:
    found = told(tmp_path, training=["a", "b"], test={"a": "b"})
    assert listed(found, "training") == ["a", "b"]
    assert listed(found, "elsewhere") == []
    with pytest.raises(DataError, match="a list of cases belongs there"):
        listed(found, "test")


def test_a_description_is_read_without_asking_what_it_means(tmp_path: Path) -> None:
    assert content(write(tmp_path, {"any": ["thing"]})) == {"any": ["thing"]}
