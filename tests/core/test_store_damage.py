"""Files of the store that are damaged or gone while they are in use: noticed, made anew, and said."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any, cast

import h5py
import numpy as np
import pytest
import torch
from tests.core.heads import HALF_A_LEVEL, by_hand, head, save_case, small_case

from ddmkit import DataError, Window
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Case, Example
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]

LONG = (90, 12, 11)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small_case(tmp_path / "case", name="Fall 7")


@pytest.fixture
def store(configured: Configured) -> Store:
    return Store(configured("preprocessing.frame=14,14,14", "preprocessing.orientation=LPS"))


def same(one: Example, other: Example) -> bool:
    assert one.labels is not None
    assert other.labels is not None
    alike = torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    return alike and one.classes == other.classes and one.window == other.window


def flip(path: Path, *places: int) -> bytes:
    """Turn over every bit of some bytes; return what the file then holds."""
    content = bytearray(path.read_bytes())
    for place in places:
        content[place] ^= 0xFF
    path.write_bytes(content)
    return bytes(content)


@pytest.mark.parametrize("start", range(4))
def test_a_flipped_byte_anywhere_does_not_matter_or_is_noticed(
    store: Store, case: Case, caplog: pytest.LogCaptureFixture, start: int
) -> None:
    stored = store.open(case)
    before, whole = stored.read(stored.whole()), stored.path.read_bytes()
    for place in range(start * 61, len(whole), 241):
        for opened in (stored, None):  # one that was opened before the damage, and one that is opened after it
            caplog.clear()
            stored.path.write_bytes(whole)
            damaged = flip(stored.path, place)
            reader = opened or store.open(case)
            assert same(reader.read(reader.whole()), before)
            assert reader.facts == stored.facts
            rebuilt = stored.path.read_bytes() != damaged
            assert rebuilt == ("case Fall 7 is damaged" in caplog.text), place


def test_damage_to_where_labelled_voxels_are_is_noticed_by_who_asks(
    store: Store, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    stored = store.open(case)
    before, whole = stored.locations(), stored.path.read_bytes()
    with h5py.File(stored.path) as file:
        place = file["locations"].id.get_chunk_info(0).byte_offset
    flip(stored.path, place + 5)
    assert np.array_equal(stored.locations(), before)
    assert stored.path.read_bytes() == whole
    assert "case Fall 7 is damaged" in caplog.text


def test_a_changed_letter_in_what_a_file_says_of_its_case_is_noticed(
    store: Store, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    stored = store.open(case)
    whole = stored.path.read_bytes()
    assert whole.count(b"edema") == 1
    stored.path.write_bytes(whole.replace(b"edema", b"enema"))
    assert store.open(case).facts == stored.facts
    assert "case Fall 7 is damaged" in caplog.text


@pytest.mark.parametrize("keep", [0, 1, 100, -500, -1], ids=lambda keep: f"[:{keep}]")
def test_a_file_cut_short_is_made_anew(store: Store, case: Case, caplog: pytest.LogCaptureFixture, keep: int) -> None:
    stored = store.open(case)
    before, whole = stored.read(stored.whole()), stored.path.read_bytes()
    for opened in (stored, None):
        caplog.clear()
        stored.path.write_bytes(whole[:keep])
        reader = opened or store.open(case)
        assert same(reader.read(reader.whole()), before)
        assert "case Fall 7 is damaged" in caplog.text
        assert stored.path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"not HDF5", bytes(5000), None], ids=["empty", "text", "zeros", "nothing"])
def test_a_file_that_is_something_else_or_gone_is_made_anew_where_it_is_used(
    store: Store, case: Case, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    stored = store.open(case)
    before = stored.read(stored.whole())
    stored.path.unlink()
    if content is not None:
        stored.path.write_bytes(content)
    assert same(stored.read(stored.whole()), before)
    assert "case Fall 7 is damaged" in caplog.text


def test_another_file_of_the_store_in_its_place_is_noticed_by_who_opens_it(store: Store, case: Case) -> None:
    stored = store.open(case)
    with h5py.File(stored.path, "w") as file:
        cast("Any", file)["images"] = np.zeros((2, 3, 4, 5))
    again = store.open(case)
    assert again == stored
    assert np.abs(again.leave(again.read(again.whole()).images.numpy())[0] - by_hand(head((12, 11, 10)))).max() <= (
        HALF_A_LEVEL
    )


def test_a_case_that_was_changed_since_is_not_served_under_its_old_name(
    store: Store, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    stored = store.open(case)
    save_case(case.images["t1"].path.parent, {"t1": head((12, 11, 10), 7)}, name="Fall 7")
    stored.path.unlink()
    with pytest.raises(DataError, match=r"case Fall 7 is damaged .* type the same command again") as caught:
        stored.read(stored.whole())
    assert "\n" not in str(caught.value)
    assert not stored.path.exists()
    assert caplog.text == ""


def chunks_of(path: Path, dataset: str) -> list[tuple[tuple[int, ...], int]]:
    """Return where each chunk of a dataset starts, in voxels of the dataset and in bytes of the file."""
    with h5py.File(path, "r") as file:
        data = cast("Any", file)[dataset].id
        found = [data.get_chunk_info(number) for number in range(data.get_num_chunks())]
    return [(tuple(chunk.chunk_offset), chunk.byte_offset + chunk.size // 2) for chunk in found]


@pytest.fixture
def long(configured: Configured, tmp_path: Path) -> StoredCase:
    """Return a case of several chunks, all of whose voxels are stored."""
    images = {name: np.random.default_rng(0).random(LONG) + 1 for name in ("t1", "flair")}
    labels = np.random.default_rng(1).integers(0, 3, LONG).astype(np.uint8)
    return Store(configured()).open(save_case(tmp_path, images, labels, name="long"))


@pytest.mark.parametrize("dataset", ["images", "labels"])
def test_a_window_is_read_without_the_chunks_that_it_does_not_touch(
    long: StoredCase, caplog: pytest.LogCaptureFixture, dataset: str
) -> None:
    near = Window((1, 2, 1), (5, 8, 7), LONG)
    expected, everything = long.read(near), long.read(long.whole())
    chunks = chunks_of(long.path, dataset)
    far = [(start[-3:], place) for start, place in chunks if any(start[-3:])]
    assert len(far) >= 2, "the case is too small for this test: it is one chunk"
    damaged = flip(long.path, *(place for _, place in far))
    assert same(long.read(near), expected)
    assert caplog.text == ""
    assert long.path.read_bytes() == damaged
    (x, y, z), _ = far[-1]
    across = Window((x - 1 if x else 0, max(y - 1, 0), max(z - 1, 0)), (2, 2, 2), LONG)
    assert torch.equal(long.read(across).images, everything.images[:, *across.slices])
    assert caplog.text.count("case long is damaged") == 1
    assert same(long.read(long.whole()), everything)
    assert caplog.text.count("damaged") == 1


@pytest.mark.parametrize("what", ["damaged", "gone"])
def test_many_threads_that_meet_the_damage_at_once_make_one_new_file_and_all_read_it(
    long: StoredCase, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    expected = long.read(long.whole())
    if what == "gone":
        long.path.unlink()
    else:
        flip(long.path, *(place for dataset in ("images", "labels") for _, place in chunks_of(long.path, dataset)))
    together = Barrier(8)

    def read(number: int) -> bool:
        window = Window((number, 0, 0), (LONG[0] - 8, *LONG[1:]), LONG)
        together.wait(20)
        found = long.read(window)
        assert expected.labels is not None
        assert found.labels is not None
        right = torch.equal(found.labels, expected.labels[window.slices])
        return right and torch.equal(found.images, expected.images[:, *window.slices])

    with ThreadPoolExecutor(8) as pool, caplog.at_level(logging.WARNING):
        assert all(pool.map(read, range(8)))
    assert caplog.text.count("damaged") == 1
