"""What the store's files hold, and how they are made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.core.heads import AFFINE, by_hand, head, marked, save_case, small_case

from ddmkit import Case, DataError, Image, StorageError, Window
from ddmkit.building import LEVELS, Facts, Recipe, alone, build, content, key, prepare
from ddmkit.grid import Grid
from ddmkit.stored_case import read_facts

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECIPE = Recipe(("t1", "flair"), None, None, (1.0, 99.0))
SHAPE = (12, 11, 10)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return small_case(tmp_path / "case", SHAPE)


def unpacked(array: NDArray[Any], box: Window) -> NDArray[Any]:
    """Return an array over a box as one over the whole volume."""
    sides = [(start, whole - start - size) for start, size, whole in zip(box.start, box.size, box.frame, strict=True)]
    return np.pad(array, [(0, 0)] * (array.ndim - 3) + sides)


def test_an_intensity_is_stored_to_within_half_a_level(case: Case) -> None:
    prepared = prepare(case, RECIPE)
    stored = unpacked(prepared.images, prepared.facts.box) / LEVELS
    errors = np.abs(stored - np.stack([by_hand(head(SHAPE)), by_hand(head(SHAPE, 100))]))
    assert 0.4 / LEVELS < errors.max() <= 0.5 / LEVELS + 1e-6
    assert (stored.min(), stored.max()) == (0, 1)


def test_labels_are_stored_as_indices_into_the_classes(case: Case) -> None:
    prepared = prepare(case, RECIPE)
    assert prepared.labels is not None
    assert prepared.facts.classes == ("background", "core", "edema", "enhancing")
    assert prepared.facts.labelled
    indices = np.searchsorted([0, 1, 2, 4], marked(SHAPE))
    assert np.array_equal(unpacked(prepared.labels, prepared.facts.box), indices)


def test_the_background_around_the_brain_is_not_stored(tmp_path: Path) -> None:
    image, other = np.zeros((9, 9, 9)), np.zeros((9, 9, 9))
    image[2:5, 3:6, 4:7] = np.arange(27).reshape(3, 3, 3) + 5
    other[2:5, 3:7, 4:6] = np.arange(24).reshape(3, 4, 2) + 5
    prepared = prepare(save_case(tmp_path, {"t1": image, "flair": other}), RECIPE)
    assert prepared.facts.brain == Window((2, 3, 4), (3, 4, 3), (9, 9, 9))
    assert prepared.facts.box == prepared.facts.brain
    assert prepared.images.shape == (2, 3, 4, 3)


def test_a_label_outside_the_brain_is_stored_and_warned_about(tmp_path: Path) -> None:
    labels = marked(SHAPE)
    labels[0, 0, :] = 2
    case = save_case(tmp_path, {"t1": head(SHAPE), "flair": head(SHAPE)}, labels)
    said: list[str] = []
    prepared = prepare(case, RECIPE, said.append)
    assert prepared.labels is not None
    assert np.count_nonzero(prepared.labels) == np.count_nonzero(labels)
    assert prepared.facts.brain.start[0] > prepared.facts.box.start[0] == 0
    (sentence,) = said
    assert "lie where the images show nothing" in sentence


def test_a_value_that_interpolation_carries_out_of_the_brain_is_stored(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 8))
    image[3:5, 3:5, 3:5] = np.arange(8).reshape(2, 2, 2) + 5
    case = save_case(tmp_path, {"t1": image, "flair": image}, affine=np.diag([1, 1, 1, 1.0]))
    recipe = RECIPE._replace(spacing=(0.5, 0.5, 0.5))
    prepared = prepare(case, recipe)
    whole = unpacked(prepared.images, prepared.facts.box)[0]
    low, high = (np.percentile(image[image > 0], share) for share in (1, 99))
    entered = prepared.facts.grid.enter(np.clip((image - low) / (high - low), 0, 1) * (image > 0))
    assert np.abs(whole / LEVELS - entered).max() <= 0.5 / LEVELS + 1e-6
    assert all(box > brain for box, brain in zip(prepared.facts.box.size, prepared.facts.brain.size, strict=True))


def test_a_contradiction_within_a_case_is_a_data_error(case: Case, tmp_path: Path) -> None:
    other = save_case(tmp_path / "other", {"flair": head((12, 11, 9))})
    with pytest.raises(DataError, match="resample them to one grid"):
        prepare(case._replace(images={**case.images, **other.images}), RECIPE)


FACTS = Facts(
    Grid.of((3, 4, 5), AFFINE / 3, "LPS", (1, 1 / 3, 2)),
    Window((1, 0, 2), (2, 4, 1), (3, 4, 5)),
    Window.whole((3, 4, 5)),
    ("background", "œdème"),
    labelled=True,
)


@pytest.mark.parametrize("facts", [FACTS, FACTS._replace(grid=FACTS.grid._replace(orientation=None, spacing=None))])
def test_facts_are_read_as_they_were_written(facts: Facts) -> None:
    assert Facts.of(facts.text()) == facts


@pytest.mark.parametrize("text", ["", "{", "{}", '{"grid": 1}', "nu"])
def test_text_that_is_no_facts_is_an_error_that_a_damaged_file_is_known_by(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Facts.of(text)


def test_the_same_case_makes_the_same_bytes(case: Case) -> None:
    assert content(prepare(case, RECIPE)) == content(prepare(case, RECIPE))


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE._replace(modalities=("flair", "t1")),
        RECIPE._replace(modalities=("t1",)),
        RECIPE._replace(orientation="LPS"),
        RECIPE._replace(spacing=(1.0, 1.0, 1.0)),
        RECIPE._replace(percentiles=(1.0, 99.5)),
    ],
    ids=["order", "modalities", "orientation", "spacing", "percentiles"],
)
def test_every_part_of_a_recipe_is_part_of_the_key(case: Case, recipe: Recipe) -> None:
    assert key(case, recipe) != key(case, RECIPE) == key(case, Recipe(*RECIPE))


def test_the_files_of_a_case_are_part_of_the_key_its_name_and_patient_are_not(case: Case, tmp_path: Path) -> None:
    swapped = {"t1": case.images["flair"], "flair": case.images["t1"]}
    same = small_case(tmp_path / "elsewhere", SHAPE)
    keys = [key(one, RECIPE) for one in (case, case._replace(images=swapped), case._replace(reference=None), same)]
    assert len(set(keys)) == 4
    assert key(case._replace(name="b", patient="c"), RECIPE) == keys[0]


def test_a_file_that_is_not_there_is_one_sentence(case: Case, tmp_path: Path) -> None:
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    for gone in (tmp_path / "gone.nii", tmp_path / "loop.nii"):
        with pytest.raises(DataError, match=f"{gone.name}.*put the file there") as caught:
            key(case._replace(reference=gone), RECIPE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "a[1]", "a**b", "?", "Fall ä", "a\nb", "a%20b"])
def test_what_a_killed_process_left_of_a_file_goes_whatever_the_cases_name(
    case: Case, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "store" / f"{name}-0123.h5"
    path.parent.mkdir()
    kept = path.with_name(".7-other-0123.h5")
    for half in (path.with_name(f".1-{path.name}"), path.with_name(f".{os.getpid()}-{path.name}"), kept):
        half.write_bytes(b"half")
    build(case, RECIPE, path)
    assert sorted(path.parent.iterdir()) == sorted([kept, path])
    assert read_facts(path) is not None


def test_who_waits_for_the_lock_of_a_file_goes_on_when_it_is_let_go(tmp_path: Path) -> None:
    path, entered = tmp_path / "store" / "a-00.h5", Event()

    def enter() -> None:
        with alone(path):
            entered.set()

    waiting = Thread(target=enter)
    with alone(path):
        waiting.start()
        assert not entered.wait(0.2)
    waiting.join(20)
    assert entered.is_set()


def test_files_of_other_keys_may_be_made_at_once(tmp_path: Path) -> None:
    impatient = Event()
    impatient.set()
    with alone(tmp_path / "a-00.h5"), alone(tmp_path / "a-01.h5", impatient):
        assert {lock.name for lock in (tmp_path / "locks").iterdir()} == {"00.lock", "01.lock"}


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(StorageError, match=r"Cannot lock .*Set DDMKIT_CACHE to a folder on a local disk") as caught:
        alone(tmp_path / "store" / "a-00.h5").__enter__()
    assert "\n" not in str(caught.value)


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from ddmkit import Case, Image, StorageError
    from ddmkit.building import Recipe, build

    case = Case("a", {"t1": Image(Path(sys.argv[1]))}, {})
    path = Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    for _ in range(2):
        try:
            build(case, Recipe(("t1",), None, None, (1.0, 99.0)), path)
        except StorageError as error:
            print(error)
    print(list(path.parent.iterdir()))
"""


def test_a_disk_that_takes_no_more_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (image,) = save_case(tmp_path, {"t1": np.random.default_rng(0).random((40, 40, 40))}).images.values()
    path = tmp_path / "store" / "a.h5"
    ran = subprocess.run(
        [sys.executable, "-c", dedent(FULL_DISK), str(image.path), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, left = ran.stdout.splitlines()
    assert first == second
    assert first.startswith(f"Cannot write {path}")
    assert "File too large." in first
    assert left == "[]"
    assert ran.stderr == ""


def test_one_volume_of_a_4d_file_is_taken(tmp_path: Path) -> None:
    both = np.stack([head(SHAPE), head(SHAPE, 1)], axis=-1)
    path = save_case(tmp_path, {"both": both}).images["both"].path
    case = Case("a", {"t1": Image(path, 1), "flair": Image(path, 0)}, {})
    prepared = prepare(case, RECIPE)
    stored = unpacked(prepared.images, prepared.facts.box) / LEVELS
    expected = np.stack([by_hand(head(SHAPE, 1)), by_hand(head(SHAPE))])
    assert np.abs(stored - expected).max() <= 0.5 / LEVELS + 1e-6
    other = case._replace(images={"t1": Image(path, 0), "flair": Image(path, 0)})
    assert key(other, RECIPE) != key(case, RECIPE)
