"""MSD and nnU-Net share their folders: a look tells them apart, and never takes one for the other."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from ddmkit_plugins.datasets import raw_folders
from ddmkit_plugins.datasets.msd import Decathlon
from ddmkit_plugins.datasets.nnunet import NnUnet

CHANNELS = ["a_0000.nii.gz", "a_0001.nii.gz"]
OLD = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "1": "edema"}}
NEW = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "edema": 1}}


def lay(root: Path, files: dict[str, list[str]], says: object = None) -> Path:
    """Make empty files: a layout is told by names alone."""
    for folder, found in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in found:
            (root / folder / name).touch()
    if says is not None:
        (root / "dataset.json").write_text(says if isinstance(says, str) else json.dumps(says))
    return root


@pytest.mark.parametrize(
    ("files", "says", "name"),
    [
        ({"imagesTr": ["BRATS_001.nii.gz"], "labelsTr": ["BRATS_001.nii.gz"]}, OLD, "msd"),
        ({"imagesTr": ["BRATS_001.nii.gz"]}, None, "msd"),
        ({"imagesTr": ["BRATS_001.nii.gz"]}, "broken", "msd"),
        ({"imagesTr": [], "imagesTs": ["BRATS_001.nii.gz"]}, OLD, "msd"),
        ({"imagesTr": ["x_0001.nii.gz", "x_0002.nii.gz"], "labelsTr": ["x_0001.nii.gz", "x_0002.nii.gz"]}, OLD, "msd"),
        ({"imagesTr": []}, OLD, "msd"),
        ({"imagesTr": CHANNELS, "labelsTr": ["a.nii.gz"]}, OLD, "nnunet"),
        ({"imagesTr": CHANNELS, "labelsTr": ["a.nii.gz"]}, NEW, "nnunet"),
        ({"imagesTr": CHANNELS}, None, "nnunet"),
        ({"imagesTr": CHANNELS}, "broken", "nnunet"),
        ({"imagesTr": [*CHANNELS, "stray.nii.gz"]}, NEW, "nnunet"),
        ({"imagesTs": CHANNELS}, NEW, "nnunet"),
        ({"imagesTr": ["a_0000.nrrd"]}, NEW, "nnunet"),
        ({"": CHANNELS}, NEW, "nnunet"),
        ({"": CHANNELS}, None, "nnunet"),
        ({"": ["a.nii.gz"]}, NEW, "nnunet"),
        ({"": []}, {**NEW, "dataset": {}}, "nnunet"),
        ({"": []}, None, None),
        ({"": []}, OLD, None),
        ({"": ["a.nii.gz", "b.nii.gz"]}, None, None),
        ({"": ["notes.txt"]}, None, None),
        ({"case": ["case_t1.nii.gz", "case_flair.nii.gz", "case_seg.nii.gz"]}, None, None),
        ({"imagesTr": []}, None, None),
    ],
)
def test_a_look_tells_whose_files_they_are(
    tmp_path: Path, files: dict[str, list[str]], says: object, name: str | None
) -> None:
    root = lay(tmp_path / "root", files, says)
    assert NnUnet().recognises(root) is (name == "nnunet")
    assert Decathlon().recognises(root) is (name == "msd")


@pytest.mark.parametrize("part", ["imagesTr", "imagesTs", "labelsTr"])
@pytest.mark.parametrize(("images", "name"), [(CHANNELS, "nnunet"), (["a.nii.gz"], "msd")])
def test_a_folder_of_a_data_set_is_of_its_layout(tmp_path: Path, images: list[str], name: str, part: str) -> None:
    root = lay(tmp_path, {"imagesTr": images, "imagesTs": images, "labelsTr": ["a.nii.gz"]}, OLD) / part
    assert NnUnet().recognises(root) is (name == "nnunet")
    assert Decathlon().recognises(root) is (name == "msd")


@pytest.mark.parametrize("says", [OLD, NEW])
def test_a_folder_of_something_else_beside_a_description_is_nobodys(tmp_path: Path, says: object) -> None:
    lay(tmp_path, {"brats/case": ["case_t1.nii.gz"], "answers": ["a_seg.nii.gz", "a_mean.nii.gz"]}, says)
    for folder in ("brats", "brats/case", "answers"):
        assert raw_folders.layout(tmp_path / folder) is None


@pytest.mark.parametrize("name", ["missing", "file", "loop", "x" * 300])
def test_a_look_at_what_is_no_folder_raises_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert raw_folders.layout(tmp_path / name) is None


class Entry:
    """One of a folder's files, as os.scandir tells it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_file(self) -> bool:
        return True


@contextmanager
def endless() -> Generator[Iterator[Entry], None, None]:
    """Open a folder whose files never end."""
    yield (Entry(f"{number:09d}_0000.nii.gz") for number in count())


def test_a_look_at_a_folder_without_end_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay(tmp_path, {"imagesTr": []})
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: endless() if Path(path).name == "imagesTr" else real(path))
    assert raw_folders.layout(root) == "nnunet"
