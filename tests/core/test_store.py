"""Cases normalised once, found again, and never served stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tests.core.heads import AFFINE, head, marked, save_case, small_case, voxels
from tests.core.racing import digest

from ddmkit import Case, Image, StorageError, building
from ddmkit.store import Store, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small_case(tmp_path / "case")


def images_of(stored: StoredCase) -> torch.Tensor:
    return stored.read(stored.whole()).images


def labels_of(stored: StoredCase) -> torch.Tensor:
    labels = stored.read(stored.whole()).labels
    assert labels is not None
    return labels


@pytest.mark.parametrize(
    "options",
    [
        ("training.steps=7", "patch.sides=3,3,3", "split.seed=1", "loading.threads=1"),
        ("preprocessing.frame=paper",),
        ("preprocessing.frame=brain",),
        ("preprocessing.frame=20,20,20",),
        ("sampler.steps=2", "backbone.width=3", "schedule.keep=0.9"),
    ],
    ids=["run", "paper", "brain", "frame", "components"],
)
def test_a_case_is_stored_once_whatever_it_is_used_for(
    configured: Configured, case: Case, options: tuple[str, ...]
) -> None:
    first = Store(configured()).open(case)
    written = first.path.stat().st_mtime_ns
    again = Store(configured(*options)).open_all([case])
    assert again.built == 0
    assert again.cases[0].path == first.path
    assert first.path.stat().st_mtime_ns == written
    assert [path for path in first.path.parent.iterdir() if path.is_file()] == [first.path]


@pytest.mark.parametrize("option", ["percentiles=5,95", "orientation=LPS", "spacing=1,1,1"])
def test_a_changed_setting_is_stored_anew_beside_the_old(configured: Configured, case: Case, option: str) -> None:
    first = Store(configured()).open(case)
    second = Store(configured(f"preprocessing.{option}")).open(case)
    assert first.path != second.path
    assert not torch.equal(images_of(first).flatten(), images_of(second).flatten())
    assert Store(configured()).open_all([case]).built == 0


def test_the_same_orientation_in_small_letters_is_the_same_file(configured: Configured, case: Case) -> None:
    big, small = (Store(configured(f"preprocessing.orientation={name}")).open(case) for name in ("LPS", "lps"))
    assert big.path == small.path


def edit(path: Path) -> None:
    """Write other voxels into a file; leave its size, its times and its place as they are."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[352:] = reversed(content[352:])
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("edited", ["t1", "flair"])
def test_an_edited_image_is_never_served_stale_even_with_its_times_set_back(
    configured: Configured, case: Case, edited: str
) -> None:
    first = Store(configured()).open(case)
    before = images_of(first)
    edit(case.images[edited].path)
    second = Store(configured()).open(case)
    assert first.path != second.path
    channel = ("t1", "flair").index(edited)
    assert not torch.equal(before[channel], images_of(second)[channel])
    assert torch.equal(before[1 - channel], images_of(second)[1 - channel])


def test_an_edited_reference_is_never_served_stale_even_with_its_times_set_back(
    configured: Configured, case: Case
) -> None:
    first = Store(configured()).open(case)
    assert case.reference is not None
    edit(case.reference)
    second = Store(configured()).open(case)
    assert first.path != second.path
    assert np.array_equal(labels_of(second), np.searchsorted([0, 1, 2, 4], voxels(case.reference)))
    assert not torch.equal(labels_of(first), labels_of(second))


def test_another_file_moved_into_the_place_of_one_is_never_served_stale(configured: Configured, case: Case) -> None:
    first, path = Store(configured()).open(case), case.images["t1"].path
    before = path.stat()
    other = path.with_name("other.nii")
    other.write_bytes(case.images["flair"].path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    second = Store(configured()).open(case)
    assert torch.equal(images_of(second)[0], images_of(first)[1])


def test_a_link_that_leads_elsewhere_now_is_never_served_stale(configured: Configured, case: Case) -> None:
    link = case.images["t1"].path.with_name("link.nii")
    linked = case._replace(images={**case.images, "t1": Image(link)})
    link.symlink_to(case.images["t1"].path)
    first = Store(configured()).open(linked)
    assert first.path == Store(configured()).open(case).path
    link.unlink()
    link.symlink_to(case.images["flair"].path)
    assert torch.equal(images_of(Store(configured()).open(linked))[0], images_of(first)[1])


def test_changed_meanings_of_labels_are_stored_anew(configured: Configured, case: Case) -> None:
    first = Store(configured()).open(case)
    second = Store(configured()).open(case._replace(labels={1: "edema", 2: "core", 4: "edema"}))
    assert first.path != second.path
    example = second.read(second.whole())
    assert example.classes == ("background", "edema", "core")
    assert np.array_equal(labels_of(second), np.array([0, 1, 2, 0, 1])[voxels_of_reference(case)])


def voxels_of_reference(case: Case) -> np.ndarray:
    assert case.reference is not None
    return voxels(case.reference)


@pytest.mark.parametrize("given", ["hdr", "img"])
@pytest.mark.parametrize("edited", ["hdr", "img"])
@pytest.mark.parametrize("through", ["names", "links"])
def test_either_half_of_a_pair_may_change_whichever_is_given(
    configured: Configured, case: Case, given: str, edited: str, through: str
) -> None:
    folder = case.images["t1"].path.parent
    nib.save(nib.Nifti1Pair(head((12, 11, 10), 3), AFFINE), folder / "pair.img")
    name = "pair"
    if through == "links":  # as data managers do: what a link leads to has no telling name
        for half in ("hdr", "img"):
            (folder / f"pair.{half}").rename(folder / f"content-of-{half}")
            (folder / f"linked.{half}").symlink_to(folder / f"content-of-{half}")
        name = "linked"
    paired = case._replace(images={**case.images, "t1": Image(folder / f"{name}.{given}")})
    first = Store(configured()).open(paired)
    path = (folder / f"{name}.{edited}").resolve()
    content = bytearray(path.read_bytes())
    content[-1000:] = reversed(content[-1000:])
    if edited == "hdr":
        content[148:153] = b"other"  # its description
        content[-1000:] = reversed(content[-1000:])
    path.write_bytes(content)
    second = Store(configured()).open(paired)
    assert first.path != second.path
    assert torch.equal(images_of(first), images_of(second)) == (edited == "hdr")


def test_another_volume_of_a_4d_file_is_another_case(configured: Configured, tmp_path: Path) -> None:
    both = np.stack([head((12, 11, 10)), head((12, 11, 10), 1)], axis=-1)
    path = save_case(tmp_path, {"both": both}).images["both"].path
    cases = [Case("a", {"t1": Image(path, volume), "flair": Image(path, 0)}, {}) for volume in (0, 1)]
    first, second = (Store(configured()).open(one) for one in cases)
    assert not torch.equal(images_of(first)[0], images_of(second)[0])
    assert torch.equal(images_of(first)[1], images_of(second)[1])


def test_a_folder_of_ones_own_may_hold_the_store(configured: Configured, case: Case, tmp_path: Path) -> None:
    assert Store(configured(), tmp_path / "mine").open(case).path.parent == tmp_path / "mine"


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DDMKIT_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("DDMKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "ddmkit"


# Where references are not needed.


def test_a_file_that_was_made_with_its_reference_serves_who_needs_none(configured: Configured, case: Case) -> None:
    labelled = Store(configured()).open(case)
    again = Store(configured(), references=False).open_all([case])
    assert again.built == 0
    assert again.cases[0].path == labelled.path
    assert again.cases[0].reference() is not None


@pytest.mark.parametrize("reference", ["corrupt", "missing", "other shape"])
def test_where_no_reference_is_needed_it_need_not_be_readable(
    configured: Configured, case: Case, reference: str
) -> None:
    assert case.reference is not None
    if reference == "corrupt":
        case.reference.write_bytes(b"no image")
    elif reference == "missing":
        case.reference.unlink()
    else:
        save_case(case.reference.parent, {"seg": marked((8, 8, 8))})
    refused = Store(configured()).open_all([case])
    assert list(refused.wrong) == ["a"]
    stored = Store(configured(), references=False).open(case)
    assert images_of(stored).any()
    assert stored.read(stored.whole()).labels is None
    assert stored.reference() is None
    unlabelled = Store(configured()).open_all([case._replace(reference=None)])
    assert (unlabelled.built, unlabelled.cases) == (0, [stored])


def test_a_file_without_labels_does_not_serve_who_needs_them(configured: Configured, case: Case) -> None:
    Store(configured(), references=False).open(case)
    assert labels_of(Store(configured()).open(case)).any()


# Many cases.


def several(folder: Path, count: int = 6) -> list[Case]:
    return [small_case(folder / str(number), seed=number, name=f"case {number}") for number in range(count)]


def test_wrong_cases_are_told_by_name_and_the_others_come_in_the_order_asked_for(
    configured: Configured, tmp_path: Path
) -> None:
    cases = several(tmp_path)[::-1]
    Store(configured()).open(cases[0])
    cases[1].images["flair"].path.write_bytes(b"no image")
    cases[4] = cases[4]._replace(images={"t1": cases[4].images["t1"]})
    told: list[tuple[int, int]] = []
    opened = Store(configured()).open_all(cases, lambda done, total: told.append((done, total)))
    assert [stored.name for stored in opened.cases] == ["case 5", "case 3", "case 2", "case 0"]
    assert list(opened.wrong) == ["case 4", "case 1"]
    assert "case 4_flair.nii" in opened.wrong["case 4"]
    assert "case 1 has no flair image" in opened.wrong["case 1"]
    assert opened.built == 3
    assert told == [(done, 6) for done in range(1, 7)]
    for stored in opened.cases:
        assert torch.equal(images_of(stored), images_of(Store(configured()).open(stored.case)))
    assert Store(configured()).open_all(cases).built == 0


def test_no_cases_are_no_work(configured: Configured) -> None:
    assert Store(configured()).open_all([]) == ([], {}, 0)


def test_as_many_cases_are_built_at_once_as_there_are_processors(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(building, "_LOCK_DIGITS", 16)  # of 256 locks two of six cases would share one now and then
    meeting, prepare = Barrier(3), building.prepare

    def meet(*arguments: Any) -> building.Prepared:  # noqa: ANN401 - as they come
        meeting.wait(20)
        return prepare(*arguments)

    monkeypatch.setattr(building, "prepare", meet)
    assert Store(configured()).open_all(several(tmp_path, 6)).built == 6


def test_a_store_that_cannot_be_written_ends_the_work_in_one_sentence(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StorageError, match="Set DDMKIT_CACHE") as caught:
        Store(configured(), tmp_path / "store").open_all(several(tmp_path / "cases"))
    assert "\n" not in str(caught.value)


def race(what: str, *places: Path) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.core.racing", what, *map(str, places)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_four_processes_that_meet_an_empty_store_make_each_file_once_and_read_the_same(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root, store = write_cases(tmp_path / "cases", count=12), tmp_path / "store"
    found = [json.loads(line) for line in race("together", root, store).splitlines()]
    assert len(found) == 4
    assert sum(process["built"] for process in found) == 12
    alone = Store(configured()).open_all(configured().dataset.cases(root))
    assert {process["read"] for process in found} == {digest(alone.cases)}


def test_what_killed_processes_left_is_completed_by_the_next_one(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root, stores = write_cases(tmp_path / "cases", count=12, shape=(30, 26, 22)), tmp_path / "stores"
    cases = configured().dataset.cases(root)
    expected = digest(Store(configured()).open_all(cases).cases)
    race("killed", root, stores)
    assert len(list((stores / "renaming").glob(".*.h5"))) >= 1
    for store in stores.iterdir():
        there = len(list(store.glob("[!.]*.h5")))
        completed = Store(configured(), store).open_all(cases)
        assert completed.built == 12 - there
        assert digest(completed.cases) == expected
        assert len(list(store.glob("*.h5"))) == 12
        assert not list(store.glob(".*"))


def test_a_name_as_long_as_a_folders_may_be_is_stored(configured: Configured, tmp_path: Path) -> None:
    case = small_case(tmp_path)._replace(name="ä" * 127)
    stored = Store(configured()).open(case)
    assert stored.name == case.name
    assert images_of(stored).any()
    assert Store(configured()).open(case).path == stored.path


def test_who_is_stopped_while_another_process_holds_a_lock_does_not_wait_for_it(
    configured: Configured, tmp_path: Path
) -> None:
    first, second = small_case(tmp_path / "a"), small_case(tmp_path / "b")._replace(name="b")
    store = Store(configured())
    path = store.open(second).path
    path.unlink()

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with building.alone(path), pytest.raises(KeyboardInterrupt):
        store.open_all([first, second], stop)
