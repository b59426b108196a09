"""Walks over folders: bounded, in one order, past what cannot be read, and never into it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ddmkit import Case, DataError
from ddmkit.rules import shown
from ddmkit.searching import Folder, glance, image_stem, survey, walk

BROKEN = os.fsdecode(b"caf\xe9")
"""A name in Latin-1, as old archives have them."""


def make(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def visited(root: Path) -> list[str]:
    return [str(folder.path.relative_to(root)) for folder in walk(root)]


def only(root: Path) -> Folder:
    (folder,) = walk(root)
    return folder


def refusal(folder: Folder, stem: str) -> str:
    with pytest.raises(DataError) as caught:
        folder.image(stem)
    return str(caught.value)


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Return a set of folders that may not be read: whoever runs the tests may be root, who may read all."""
    forbidden: set[Path] = set()
    scandir = os.scandir

    def guarded(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if path in forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    return forbidden


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii", "a"),
        ("a.b.nii.gz", "a.b"),
        ("A.NII.GZ", "A"),
        ("a.Nii", "a"),
        ("a.hdr", "a"),
        ("a.img", "a"),
        ("a.gz", ""),
        ("a.nii.txt", ""),
        ("nii", ""),
        (".nii.gz", ""),
    ],
)
def test_an_image_is_told_by_its_ending_in_any_case(name: str, stem: str) -> None:
    assert image_stem(name) == stem


def test_a_folder_lists_its_files_and_its_images_by_stem(tmp_path: Path) -> None:
    make(tmp_path, "b.nii.gz", "a.hdr", "a.img", "notes.txt", "é.nii")
    folder = only(tmp_path)
    assert folder.files == ("a.hdr", "a.img", "b.nii.gz", "notes.txt", "é.nii")
    assert folder.stems == {"a": ("a.hdr", "a.img"), "b": ("b.nii.gz",), "é": ("é.nii",)}
    assert folder.strange == folder.wrong == {}


def test_folders_come_by_depth_then_by_name(tmp_path: Path) -> None:
    make(tmp_path, "b/x/1", "a/y/1", "a/c/d/1", "c/1")
    assert visited(tmp_path) == [".", "a", "b", "c", "a/c", "a/y", "b/x", "a/c/d"]


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{folder}/{file}" for folder in "cab" for file in "zxy"))
    straight = list(walk(tmp_path))
    scandir = os.scandir

    class Reversed:
        """Entries the other way round."""

        def __init__(self, path: Path) -> None:
            with scandir(path) as entries:
                self.entries = list(entries)[::-1]

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert list(walk(tmp_path)) == straight


def test_hidden_entries_and_those_of_the_system_are_skipped(tmp_path: Path) -> None:
    make(tmp_path, ".git/a.nii", "._a.nii", "__MACOSX/a.nii", "lost+found/a.nii", "a.nii")
    assert only(tmp_path).files == ("a.nii",)


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    store = make(tmp_path / "store", "x/a.nii")
    root = make(tmp_path / "root", "b/a.nii")
    (root / "a").symlink_to(store)
    (root / "b" / "up").symlink_to(root)
    (root / "self").symlink_to(root)
    (store / "back").symlink_to(root / "b")
    assert visited(root) == [".", "b", "a", "a/x"]


def test_a_folder_keeps_its_own_name_where_a_link_leads_to_it_too(tmp_path: Path) -> None:
    make(tmp_path, "z/deep/own/a.nii")
    (tmp_path / "alias").symlink_to(tmp_path / "z/deep/own")
    assert [folder.name for folder in walk(tmp_path)][1:] == ["z", "deep", "own"]


def test_a_folder_has_a_name_even_when_its_path_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert only(Path()).name == tmp_path.name


def test_a_linked_file_is_a_file(tmp_path: Path) -> None:
    store = make(tmp_path / "store", "x.nii")
    (make(tmp_path / "root", "b.txt") / "a.nii").symlink_to(store / "x.nii")
    assert only(tmp_path / "root").image("a") == tmp_path / "root/a.nii"


def test_an_unreadable_folder_does_not_end_the_walk(tmp_path: Path, forbid: set[Path]) -> None:
    make(tmp_path, "a/secret/1.nii", "b/1.nii")
    forbid.add(tmp_path / "a/secret")
    folders = {str(folder.path.relative_to(tmp_path)): folder for folder in walk(tmp_path)}
    assert list(folders) == [".", "a", "b", "a/secret"]
    assert folders["a/secret"].files == ()
    (sentence,) = folders["a/secret"].wrong.values()
    assert sentence.startswith(f"Cannot read the folder {tmp_path}/a/secret: Permission denied;")


def test_a_root_that_cannot_be_read_is_refused(tmp_path: Path, forbid: set[Path]) -> None:
    forbid.add(tmp_path)
    make(tmp_path, "file")
    for root, reason in ((tmp_path, "Permission denied"), (tmp_path / "no", "No such"), (tmp_path / "file", "Not a")):
        with pytest.raises(DataError, match=f"Cannot read the folder {root}: {reason}"):
            list(walk(root))
        assert list(glance(root)) == []


def test_a_path_beyond_what_the_system_takes_is_wrong_not_the_end(tmp_path: Path) -> None:
    """Only a program that changes into its folders can make such a tree, and only by relative names."""
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(25):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        folders = list(walk(tmp_path))
        for _ in range(25):
            os.chdir("..")
            Path("d" * 200).rmdir()
    finally:
        os.chdir(here)
    (sentence,) = folders[-1].wrong.values()
    assert "File name too long" in sentence
    assert not any(folder.wrong for folder in folders[:-1])


def test_special_files_are_named_and_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "nowhere.nii").symlink_to(tmp_path / "gone")
    (tmp_path / "circle.nii").symlink_to(tmp_path / "circle.nii")
    (tmp_path / "device.nii").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.nii"))
        folder = only(tmp_path)
    assert folder.files == ()
    said = {"pipe": "is a pipe", "s": "is a socket", "device": "is a device", "nowhere": "leads nowhere (No such file"}
    for stem, words in {**said, "circle": "leads nowhere (Too many levels"}.items():
        assert f"{stem}.nii {words}" in refusal(folder, stem)


def test_special_files_without_an_images_name_do_not_matter(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert only(tmp_path) == Folder(tmp_path)


def test_a_folder_of_an_images_name_matters_only_where_the_image_is_missing(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz/x.nii", "b.nii/x.txt", "b.nii.gz")
    folder, *others = walk(tmp_path)
    assert "a.nii.gz is a folder" in refusal(folder, "a")
    assert folder.image("b") == tmp_path / "b.nii.gz"
    assert [other.files for other in others] == [("x.nii",), ("x.txt",)]


@pytest.mark.parametrize("header", ["a.hdr", "a.HDR"])
def test_a_pair_is_known_by_its_header(tmp_path: Path, header: str) -> None:
    voxels = header.replace("hdr", "img").replace("HDR", "IMG")
    make(tmp_path, header, voxels)
    assert only(tmp_path).image("a") == tmp_path / header
    (tmp_path / header).rename(tmp_path / "kept")
    assert f"{voxels} holds voxels without their header a.hdr" in refusal(only(tmp_path), "a")
    (tmp_path / "kept").rename(tmp_path / header)
    (tmp_path / voxels).unlink()
    assert f"{header} is a header without its voxels {voxels}" in refusal(only(tmp_path), "a")


def test_half_a_pair_may_not_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(make(tmp_path, "a.hdr") / "a.img")
    assert "a.img is a pipe" in refusal(only(tmp_path), "a")


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("a.nii", "a.nii.gz"), "a.nii and a.nii.gz"),
        (("a.NII.GZ", "a.nii.gz"), "a.NII.GZ and a.nii.gz"),
        (("a.hdr", "a.img", "a.nii"), "a.hdr and a.nii"),
    ],
)
def test_an_image_that_is_there_twice_is_refused(tmp_path: Path, files: tuple[str, ...], named: str) -> None:
    make(tmp_path, *files)
    assert f"holds both {named}" in refusal(only(tmp_path), "a")


def test_an_image_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert only(make(tmp_path, "a.nii")).image("b") is None


def test_names_that_are_not_utf8_are_wrong_in_printable_words(tmp_path: Path) -> None:
    make(tmp_path, f"{BROKEN}.nii", f"{BROKEN}.txt", f"x/{BROKEN}/a.nii", "日本/ü.nii")
    folders = list(walk(tmp_path))
    assert [folder.name for folder in folders] == [tmp_path.name, "x", "日本"]
    wrong = {name: sentence for folder in folders for name, sentence in folder.wrong.items()}
    assert wrong.keys() == {r"caf\xe9.nii", r"x/caf\xe9"}
    for name, sentence in wrong.items():
        assert sentence.startswith(f"The name of {tmp_path}/{name} is not UTF-8: rename it")
        sentence.encode()


def test_a_root_that_is_not_utf8_is_refused_in_printable_words(tmp_path: Path) -> None:
    root = make(tmp_path, f"{BROKEN}/a/a.nii") / BROKEN / "a"
    with pytest.raises(DataError, match=r"caf\\xe9/a is not UTF-8") as caught:
        list(walk(root))
    str(caught.value).encode()
    assert list(glance(root)) == []


def test_what_can_be_printed_is_shown_as_it_is() -> None:
    assert shown(Path("dir/ä 日本")) == "dir/ä 日本"
    assert shown(f"x/{BROKEN}") == r"x/caf\xe9"


def test_a_glance_is_bounded_in_breadth_and_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{first}/{second}/x" for first in range(60) for second in range(20)))
    make(tmp_path / "flat", *(f"{number}.nii" for number in range(1500)))
    looked: list[Path] = []
    scandir = os.scandir

    def counted(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        looked.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    depths = [len(folder.path.relative_to(tmp_path).parts) for folder in glance(tmp_path)]
    assert depths == sorted(depths)
    assert max(depths) == 2
    assert len(looked) <= 257
    (flat,) = glance(tmp_path / "flat")
    assert len(flat.files) == 512


def test_a_glance_may_end_early(tmp_path: Path) -> None:
    make(tmp_path, "a/1.nii")
    assert next(glance(tmp_path)).path == tmp_path


def names(folder: Folder) -> list[str]:
    return list(folder.stems)


def case(folder: Folder, name: str) -> Case:
    if name == "bad":
        msg = f"The case {name} is bad."
        raise DataError(msg)
    return Case(name, {}, {1: "organ"}, folder.image(name))


def test_a_survey_sorts_cases_and_reads_on_past_what_is_wrong(tmp_path: Path, forbid: set[Path]) -> None:
    make(tmp_path, "z/c.nii", "a/d.nii", "a/bad.nii", f"a/{BROKEN}.nii", "s/x.nii", "a/s/x.nii", "b.nii")
    forbid |= {tmp_path / "s", tmp_path / "a/s"}
    cases, wrong, *_ = survey(tmp_path, names, case)
    assert [case.name for case in cases] == ["b", "c", "d"]
    assert wrong.keys() == {"bad", r"a/caf\xe9.nii", "s", "a/s"}
    assert wrong["bad"] == "The case bad is bad."


def test_a_case_in_two_folders_is_wrong_and_both_are_named(tmp_path: Path) -> None:
    make(tmp_path, "x/a.nii", "y/a.nii", "z/a.nii", "z/b.nii")
    cases, wrong, *_ = survey(tmp_path, names, case)
    assert [case.name for case in cases] == ["b"]
    assert f"a case a: {tmp_path}/x and {tmp_path}/y;" in wrong["a"]
