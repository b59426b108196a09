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

from ddmkit import Case, DataError, Dataset, Image, Survey
from ddmkit.testing import check, check_dataset
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.phantom import Phantom

MEANINGS = {1: "core", 3: "edema", 4: "edema"}
"""Two numbers may mean the same."""


class Pairs(Dataset):
    """A T1 and a FLAIR image in a folder for each case, with a mask where somebody drew one."""

    name: ClassVar[str] = "pairs"
    looked_for: ClassVar[str] = "NAME/flair.nii"

    @override
    def recognises(self, root: Path) -> bool:
        return any(root.glob("*/flair.nii"))

    @override
    def survey(self, root: Path) -> Survey:
        if not root.is_dir():
            msg = f"{root} is no folder; give the one that holds a folder for each case."
            raise DataError(msg)
        cases: list[Case] = []
        wrong: dict[str, str] = {}
        for path in sorted(root.glob("*/flair.nii")):
            try:
                cases.append(self.case(path.parent))
            except DataError as error:
                wrong[path.parent.name] = str(error)
        return Survey(cases, wrong)

    def case(self, folder: Path) -> Case:
        if not (folder / "t1.nii").exists():
            msg = f"The case {folder.name} has no t1.nii."
            raise DataError(msg)
        return trusting(self, folder)


def trusting(_self: Pairs, folder: Path, labels: dict[int, str] = MEANINGS) -> Case:
    """Make a case without a look at its images."""
    images = {modality: Image(folder / f"{modality}.nii") for modality in ("t1", "flair")}
    mask = folder / "mask.nii"
    return Case(folder.name, images, labels, mask if mask.exists() else None)


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


BAD_MEANINGS: list[tuple[dict[int, str], str]] = [
    ({}, "is empty: say what"),
    ({1: "core", 2: ""}, "has a number without a meaning"),
    ({1: "background"}, "lists background"),
    ({0: "core"}, "lists the number 0"),
    ({1: "core", 2: "ED"}, "means ED: write that in small letters"),
]


@pytest.mark.parametrize(("labels", "sentence"), BAD_MEANINGS)
def test_labels_without_a_clear_meaning_are_caught(
    labels: dict[int, str], sentence: str, root: Path, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, rf"Broken\.labels {sentence}", labels=labels)
    case = partial(trusting, labels=labels)
    caught = f"labels of Broken's case anna {sentence}"
    refuses(Pairs, caught, by=partial(check_dataset, root=root), case=lambda _, folder: case(Pairs(), folder))


def test_a_case_that_contradicts_its_layout_is_caught(root: Path, refuses: Callable[..., None]) -> None:
    sentence = r"Broken\.labels differs from the labels of its case anna"
    refuses(Pairs, sentence, by=partial(check_dataset, root=root), labels={1: "core", 4: "edema"})


def test_cases_to_be_answered_may_have_no_labels_at_all(root: Path) -> None:
    class Unlabelled(Pairs):
        """Only images."""

        @override
        def case(self, folder: Path) -> Case:
            return super().case(folder)._replace(labels={}, reference=None)

    check_dataset(Unlabelled(), root)


def test_a_dataset_that_does_not_say_what_it_looks_for_is_caught(refuses: Callable[..., None]) -> None:
    refuses(Pairs, "looked_for is empty", looked_for="")


def strict(self: Pairs, root: Path) -> Survey:
    found = Pairs.survey(self, root)
    if not found.cases:
        raise DataError
    return found


@pytest.mark.parametrize(
    ("survey", "sentence"),
    [
        (strict, r"raises DataError for an empty folder, not Survey\(cases=\[\]"),
        (lambda _, root: Survey([Case(root.name, {}, {})]), r"returns Survey\(cases=\[Case.* for an empty folder"),
        (lambda _, root: Survey([], {root.name: "odd"}), r"returns Survey\(cases=\[\], .*odd.* for an empty folder"),
        (lambda _, root: Survey(list(root.glob("*"))), r"for a folder that does not exist, instead of raising"),
        (lambda _, root: Survey(list(root.iterdir())), r"raises FileNotFoundError: .* for a folder that does not"),
    ],
)
def test_a_dataset_that_is_lost_without_cases_is_caught(
    survey: Callable[..., Survey], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, survey=survey)


@pytest.mark.parametrize(
    ("recognises", "sentence"),
    [
        (lambda _, root: root.exists(), r"Broken\.recognises returns True for an empty folder, not False"),
        (
            lambda _, root: root.exists() and any(root.iterdir()),
            "recognises returns True for a folder of notes and tables, without any volume, not False",
        ),
        (lambda _, root: any(root.iterdir()), r"recognises raises FileNotFoundError: .* for a folder that does not"),
        (lambda *_: False, r"recognises returns False for .*, not True, but finds cases there"),
        (lambda _, root: list(root.glob("*/flair.nii")), r"recognises returns \[\] for an empty folder, not False"),
    ],
)
def test_a_dataset_that_does_not_know_its_own_is_caught(
    recognises: Callable[..., bool], sentence: str, root: Path, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, by=partial(check_dataset, root=root), recognises=recognises)


def test_a_dataset_may_be_chosen_by_its_name_alone(root: Path) -> None:
    class Named(Dataset):
        """Recognises nothing."""

        name: ClassVar[str] = "named"
        looked_for: ClassVar[str] = Pairs.looked_for

        @override
        def survey(self, root: Path) -> Survey:
            return Pairs().survey(root)

    check_dataset(Named(), root)


def imagined_mask(_self: Pairs, folder: Path) -> Case:
    return trusting(_self, folder)._replace(reference=folder / "mask.nii")


def unnamed(self: Pairs, folder: Path) -> Case:
    try:
        return Pairs.case(self, folder)
    except DataError:
        msg = "A t1.nii is missing."
        raise DataError(msg) from None


def surprised(_self: Pairs, folder: Path) -> Case:
    files = {path.stem: path for path in folder.iterdir()}
    images = {name: Image(files[name]) for name in ("t1", "flair")}
    return Case(folder.name, images, MEANINGS, files.get("mask"))


def shouting(_: Pairs, folder: Path) -> Case:
    return Case(folder.name, {"FLAIR": Image(folder / "flair.nii")}, MEANINGS)


def impatient(self: Pairs, root: Path) -> Survey:
    found = Pairs.survey(self, root)
    return found._replace(cases=[]) if found.wrong else found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"survey": lambda self, root: Survey(Pairs.survey(self, root).cases * 0)},
            r"finds no case in .*, looking for NAME/flair\.nii",
        ),
        (
            {"survey": lambda self, root: Survey(Pairs.survey(self, root).cases[::-1])},
            "does not sort its cases by name: bert, anna",
        ),
        (
            {"survey": lambda self, root: Survey(Pairs.survey(self, root).cases[:1] * 2)},
            "finds two cases of one name: anna, anna",
        ),
        (
            {"cases": lambda self, root: Pairs.cases(self, root)[:1]},
            r"Broken\.cases returns \[.*, other than its survey",
        ),
        ({"case": lambda _, folder: Case(folder.name, {}, MEANINGS)}, "finds no image of the case anna"),
        ({"case": shouting}, "calls images FLAIR: write that in small letters"),
        ({"case": imagined_mask}, r"names files of the case bert that do not exist: mask\.nii"),
        (
            {"case": lambda _, folder: trusting(_, folder, {1: "core"})},
            r"finds the case anna, but reading it raises \w*DataError: .*mask\.nii",
        ),
        ({"case": trusting}, r"names files of the case anna that do not exist: t1\.nii"),
        ({"case": surprised}, r"raises KeyError: 't1' where t1\.nii of the case anna is missing, instead of a survey"),
        ({"case": unnamed}, r"says 'A t1\.nii is missing\.' of the case anna, without its name"),
        ({"survey": impatient}, "does not find bert where anna is broken"),
        (
            {"cases": lambda self, root: Pairs.survey(self, root).cases},
            r"Broken\.cases returns \[Case.* where anna is broken, unlike its survey",
        ),
    ],
)
def test_broken_cases_are_caught(
    changes: dict[str, Any], sentence: str, root: Path, refuses: Callable[..., None]
) -> None:
    refuses(Pairs, sentence, by=partial(check_dataset, root=root), **changes)


def test_a_folder_that_should_be_whole_and_is_not_is_caught(root: Path, refuses: Callable[..., None]) -> None:
    (root / "bert" / "t1.nii").unlink()
    refuses(Pairs, r"finds fault with bert in .*: The case bert has no t1\.nii", by=partial(check_dataset, root=root))
    refuses(
        Pairs, r"raises DataError: .*gone is no folder.* whole cases", by=partial(check_dataset, root=root / "gone")
    )


def test_cases_that_change_between_two_looks_are_caught(root: Path, refuses: Callable[..., None]) -> None:
    looks = count()

    def survey(self: Pairs, root: Path) -> Survey:
        return Survey(Pairs.survey(self, root).cases[: 1 + next(looks) % 2])

    refuses(Pairs, "finds other cases when it looks twice", by=partial(check_dataset, root=root), survey=survey)
