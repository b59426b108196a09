"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from ddmkit import StorageError
from ddmkit.files import whole_file, whole_folder, write_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


class FailureError(Exception):
    """What a writer of ours may raise."""


def write_half(path: Path) -> None:
    path.write_text("half", encoding="utf-8")
    raise FailureError


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.nii.gz"
    with whole_file(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith("a.nii.gz")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_block_that_raises_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(FailureError), whole_file(target) as temporary:
        write_half(temporary)
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_whoever_reads_the_old_file_reads_it_to_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with target.open(encoding="utf-8") as reader:
        write_text(target, "new and longer")
        assert reader.read() == "old"
    assert target.read_text(encoding="utf-8") == "new and longer"


def test_a_block_that_raises_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FailureError), whole_file(tmp_path / "a.txt") as temporary:
        write_half(temporary)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "step"
    for name in ("old", "new"):
        with whole_folder(target) as temporary:
            assert list(temporary.iterdir()) == []
            write_text(temporary / name, name)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_raises_leaves_the_old_folder_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "step"
    with whole_folder(target) as temporary:
        write_text(temporary / "old", "old")
    with pytest.raises(FailureError), whole_folder(target) as temporary:
        write_half(temporary / "new")
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_of_the_same_number_left_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / f".{os.getpid()}-step").mkdir()
    (tmp_path / f".{os.getpid()}-step" / "half").touch()
    with whole_folder(tmp_path / "step") as temporary:
        write_text(temporary / "new", "new")
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["new"]


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_parent_that_is_a_file_is_one_sentence(
    tmp_path: Path, whole: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match=r"^Cannot write .*file/a: .*\. Free or choose") as caught,
        whole(tmp_path / "file" / "a") as temporary,
    ):
        temporary.touch()
    assert "\n" not in str(caught.value)


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from ddmkit import StorageError
    from ddmkit.files import whole_file, whole_folder, write_text

    folder = Path(sys.argv[1])
    write_text(folder / "a.txt", "old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    for place in (folder / "a.txt", folder / "step" / "b.txt"):
        try:
            if place.parent == folder:
                write_text(place, "x" * 5000)
            else:
                with whole_folder(place.parent) as temporary:
                    (temporary / place.name).write_text("x" * 5000)
        except StorageError as error:
            print(error)
"""


def test_a_disk_that_takes_no_more_is_a_storage_error_that_names_the_file(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", dedent(FULL_DISK), str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = ran.stdout.splitlines()
    assert first.startswith(f"Cannot write {tmp_path / 'a.txt'}: File too large.")
    assert second.startswith(f"Cannot write {tmp_path / 'step'}: File too large.")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
