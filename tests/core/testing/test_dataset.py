"""What a dataset owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
from typing_extensions import override

from ddmkit import Case, DataError, Dataset
from ddmkit.testing import check, check_dataset
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.phantom import Phantom


class Pairs(Dataset):
    """A T1 and a FLAIR image in a folder for each case, with a mask where somebody drew one."""

    name: ClassVar[str] = "pairs"
    looked_for: ClassVar[str] = "NAME/flair.nii"

    @property
    @override
    def labels(self) -> dict[int, str]:
        return {1: "core", 4: "edema"}

    @override
    def cases(self, root: Path) -> list[Case]:
        if not root.is_dir():
            msg = f"{root} is no folder; give the one that holds a folder for each case."
            raise DataError(msg)
        return [self.case(path.parent) for path in sorted(root.glob("*/flair.nii"))]

    def case(self, folder: Path) -> Case:
        images = {modality: folder / f"{modality}.nii" for modality in ("t1", "flair")}
        if not images["t1"].exists():
            msg = f"The case {folder.name} has no t1.nii."
            raise DataError(msg)
        mask = folder / "mask.nii"
        return Case(folder.name, images, mask if mask.exists() else None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a case that has a mask and one that has none."""
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = {"t1": voxels, "flair": -voxels, "mask": np.where(voxels > 9, 4, 0).astype(np.uint8)}
    for case, files in (("anna", ("t1", "flair", "mask")), ("bert", ("t1", "flair"))):
        (tmp_path / "data" / case).mkdir(parents=True)
        for file in files:
            image = nib.Nifti1Image(arrays[file], np.eye(4))
            nib.save(image, tmp_path / "data" / case / f"{file}.nii")
    return tmp_path / "data"


def test_a_dataset_that_keeps_its_promises_passes(root: Path) -> None:
    check(Pairs)
    check_dataset(Pairs(), root)


@pytest.mark.parametrize("dataset", [BratsFolders(), Phantom(count=2, shape=(16, 17, 18))])
def test_first_party_datasets_keep_their_promises(dataset: Dataset, tmp_path: Path) -> None:
    check(dataset)
    written = Phantom(count=2, shape=(16, 17, 18)).prepare(tmp_path, lambda *_: None)
    check_dataset(dataset, written)


def test_checking_a_dataset_leaves_its_files_alone(root: Path) -> None:
    before = {path: path.is_file() and path.read_bytes() for path in root.rglob("*")}
    check_dataset(Pairs(), root)
    assert {path: path.is_file() and path.read_bytes() for path in root.rglob("*")} == before


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({}, "labels is empty"),
        ({1: "core", 2: "core"}, "labels has two numbers for one name"),
        ({1: "core", 2: ""}, "labels has a number without a name"),
        ({1: "background"}, "labels lists background"),
        ({0: "core"}, "labels lists the number 0"),
    ],
)
def test_labels_without_a_clear_meaning_are_caught(
    labels: dict[int, str], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, labels=property(lambda _self: labels))


def test_a_dataset_that_does_not_say_what_it_looks_for_is_caught(refuses: Callable[..., None]) -> None:
    refuses(Pairs, "looked_for is empty", looked_for="")


def strict(self: Pairs, root: Path) -> list[Case]:
    cases = Pairs.cases(self, root)
    if not cases:
        raise DataError
    return cases


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        (strict, r"raises DataError for an empty folder, not \[\]"),
        (lambda _, root: [Case(root.name, {})], r"returns \[Case\(.* for an empty folder"),
        (lambda _, root: list(root.glob("*")), r"returns \[\] for a folder that does not exist, instead of raising"),
        (lambda _, root: list(root.iterdir()), r"raises FileNotFoundError: .* for a folder that does not exist"),
    ],
)
def test_a_dataset_that_is_lost_without_cases_is_caught(
    cases: Callable[..., list[Case]], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, cases=cases)


def imagined_mask(_self: Pairs, folder: Path) -> Case:
    return Case(folder.name, {name: folder / f"{name}.nii" for name in ("t1", "flair")}, folder / "mask.nii")


def unnamed(self: Pairs, folder: Path) -> Case:
    try:
        return Pairs.case(self, folder)
    except DataError:
        msg = "A t1.nii is missing."
        raise DataError(msg) from None


def surprised(_self: Pairs, folder: Path) -> Case:
    files = {path.stem: path for path in folder.iterdir()}
    return Case(folder.name, {name: files[name] for name in ("t1", "flair")}, files.get("mask"))


def trusting(_self: Pairs, folder: Path) -> Case:
    mask = folder / "mask.nii"
    images = {name: folder / f"{name}.nii" for name in ("t1", "flair")}
    return Case(folder.name, images, mask if mask.exists() else None)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"cases": lambda self, root: Pairs.cases(self, root) * 0},
            r"finds no case in .*, looking for NAME/flair\.nii",
        ),
        ({"cases": lambda self, root: Pairs.cases(self, root)[::-1]}, "does not sort its cases by name: bert, anna"),
        ({"cases": lambda self, root: Pairs.cases(self, root)[:1] * 2}, "finds two cases of one name: anna, anna"),
        ({"case": lambda _, folder: Case(folder.name, {})}, "finds no image of the case anna"),
        ({"case": imagined_mask}, r"names files of the case bert that do not exist: mask\.nii"),
        (
            {"labels": property(lambda _: {1: "core"})},
            "finds the case anna, but reading it raises DataError: .*label 4",
        ),
        ({"case": trusting}, r"names files of the case anna that do not exist: t1\.nii"),
        ({"case": surprised}, r"raises KeyError: 't1' where t1\.nii is missing, instead of DataError with the name"),
        ({"case": unnamed}, r"raises DataError: A t1\.nii is missing where t1\.nii is missing, instead of"),
    ],
)
def test_broken_cases_are_caught(
    changes: dict[str, Any], sentence: str, root: Path, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, by=partial(check_dataset, root=root), **changes)


def test_cases_that_change_between_two_looks_are_caught(root: Path, refuses: Callable[..., None]) -> None:
    looks = count()

    def cases(self: Pairs, root: Path) -> list[Case]:
        return Pairs.cases(self, root)[: 1 + next(looks) % 2]

    refuses(Pairs, "finds other cases when it looks twice", by=partial(check_dataset, root=root), cases=cases)
