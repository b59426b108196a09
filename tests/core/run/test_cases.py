"""Which cases a run uses: none is left out unsaid, and a patient is never on both sides of a split."""

from __future__ import annotations

import gzip
import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from typing_extensions import override

from ddmkit import Case, ConfigurationError, DataError, Dataset, Survey
from ddmkit.configuration import Split
from ddmkit.errors import RefusedDataError
from ddmkit.randomness import generator
from ddmkit.run.cases import Place, find_cases, refuse_empty, refuse_or_skip, split_cases, usable_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

WRONG = {f"case-{number}": f"The image of case-{number} was cut off; copy it again." for number in range(1, 6)}
HEADER = 352
"""Bytes of a NIfTI file before its voxels."""


def named(count: int) -> list[Case]:
    return [Case(f"case-{number:03d}", {}, {}) for number in range(count)]


def with_patients(count: int) -> list[Case]:
    """Return the cases of `count` patients, one to four each, whose names do not follow the patients'."""
    visits = np.random.default_rng(0).integers(1, 5, count).tolist()
    pairs = [(patient, visit) for patient, several in enumerate(visits) for visit in range(several)]
    return [Case(f"visit-{visit}-of-{patient:02d}", {}, {}, None, f"patient-{patient:02d}") for patient, visit in pairs]


def official_cases(count: int = 369) -> list[Case]:
    return [Case(f"BraTS20_Training_{number:03d}", {}, {}) for number in range(1, count + 1)]


def names(cases: Sequence[Case]) -> list[str]:
    return [case.name for case in cases]


def numbers(cases: Sequence[Case]) -> list[int]:
    return [int(case.name[-3:]) for case in cases]


def counts(splits: dict[str, list[Case]]) -> dict[str, int]:
    return {part: len(cases) for part, cases in splits.items()}


def shuffled(cases: Sequence[Case]) -> list[Case]:
    return [cases[index] for index in np.random.default_rng(1).permutation(len(cases))]


def test_every_case_is_in_one_split_and_the_shares_are_kept() -> None:
    splits = split_cases(named(369), Split())
    assert counts(splits) == {"train": 295, "validation": 37, "test": 37}
    assert sorted(name for cases in splits.values() for name in names(cases)) == names(named(369))
    for cases in splits.values():
        assert names(cases) == sorted(names(cases))


def test_a_split_follows_from_its_seed_and_the_names_alone() -> None:
    assert split_cases(named(50), Split()) == split_cases(named(50), Split())
    assert split_cases(named(50), Split(seed=1)) != split_cases(named(50), Split())


@pytest.mark.parametrize(
    ("cases", "split"),
    [(named(50), Split()), (with_patients(40), Split()), (official_cases(), Split(method="official"))],
    ids=["cases", "patients", "official"],
)
def test_a_split_does_not_depend_on_the_order_in_which_cases_are_found(cases: list[Case], split: Split) -> None:
    assert shuffled(cases) != cases
    assert split_cases(shuffled(cases), split) == split_cases(cases, split)


@pytest.mark.parametrize("seed", [0, 3])
def test_cases_of_patients_of_their_own_are_split_as_their_names_were_before_patients_counted(seed: int) -> None:
    """By a permutation of the sorted names, keyed by the seed: what runs of earlier versions are split by."""
    order = generator(seed, "split").permutation(30).tolist()
    expected = {"train": sorted(order[:24]), "validation": sorted(order[24:27]), "test": sorted(order[27:])}
    alone = split_cases(named(30), Split(seed=seed))
    own_patient = split_cases([case._replace(patient=case.name) for case in named(30)], Split(seed=seed))
    for splits in (alone, own_patient):
        assert {part: numbers(cases) for part, cases in splits.items()} == expected


def test_the_cases_of_a_patient_stay_together_and_shares_are_of_patients() -> None:
    cases = with_patients(40)
    splits = split_cases(cases, Split(validation=0.2, test=0.1))
    patients = {part: {case.patient for case in chosen} for part, chosen in splits.items()}
    assert {part: len(members) for part, members in patients.items()} == {"train": 28, "validation": 8, "test": 4}
    assert len(set().union(*patients.values())) == 40
    assert sorted(name for chosen in splits.values() for name in names(chosen)) == sorted(names(cases))
    assert max(Counter(case.patient for case in splits["train"]).values()) > 1
    for chosen in splits.values():
        assert names(chosen) == sorted(names(chosen))


def test_another_visit_of_a_patient_moves_nobody_else() -> None:
    cases = with_patients(20)
    before = split_cases(cases, Split())
    after = split_cases([*cases, Case("another", {}, {}, None, "patient-07")], Split())
    assert {part: [case for case in chosen if case.name != "another"] for part, chosen in after.items()} == before


def test_a_share_of_zero_leaves_one_case_to_validate_and_none_to_test() -> None:
    splits = split_cases(named(10), Split(validation=0, test=0))
    assert counts(splits) == {"train": 9, "validation": 1, "test": 0}


@pytest.mark.parametrize(
    ("count", "split", "said"), [(1, Split(), "1 case"), (10, Split(validation=0.5, test=0.5), "10 cases")]
)
def test_a_split_that_leaves_nothing_to_train_on_is_refused(count: int, split: Split, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{said} cannot be split into training, .* lower split"):
        split_cases(named(count), split)


def test_the_official_split_is_that_of_the_official_code() -> None:
    splits = split_cases(official_cases(), Split(method="official", seed=5, validation=0.5, test=0.3))
    found = {part: numbers(cases) for part, cases in splits.items()}
    assert {part: len(some) for part, some in found.items()} == {"train": 295, "validation": 37, "test": 37}
    assert found["test"][:5] == [10, 26, 40, 48, 71]
    # The official code shuffles 1 … 369 by numpy's legacy generator and cuts; `choice` draws the same permutation.
    order = np.random.RandomState(0).choice(np.arange(1, 370), 369, replace=False).tolist()
    expected = {"train": order[:295], "validation": order[295:332], "test": order[332:]}
    assert found == {part: sorted(some) for part, some in expected.items()}


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        (official_cases(368), r"of which number 369 is missing; these are 368 cases with a reference: add"),
        (official_cases()[:41] + official_cases()[42:], r"of which number 42 is missing; these are 368"),
        (official_cases(370), r"cases of BraTS 2020; these are 370 cases"),
        ([*official_cases(), Case("mine", {}, {})], r"cases of BraTS 2020; these are 370 cases"),
        ([*official_cases(368), Case("copy_001", {}, {})], r"of which number 369 is missing; these are 369"),
        (with_patients(5), r"of which number 5 is missing"),
    ],
    ids=["too few", "one missing", "too many", "a stranger", "one twice", "others"],
)
def test_the_official_split_is_refused_for_other_cases(cases: list[Case], said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^split.method=official splits the 369 .*{said}.*=seeded.$"):
        split_cases(cases, Split(method="official"))


class Described(Dataset):
    """A layout with settings, that is told by looking."""

    name: ClassVar[str] = "described"
    description: Path | None = None
    endings: tuple[str, ...] = ()

    @override
    def recognises(self, root: Path) -> bool:
        return root.name == "mine"

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])


MINE = Place(Described(), Path("mine"))


@pytest.mark.parametrize(
    ("place", "command"),
    [
        (MINE, "ddmkit check mine"),
        (Place(Described(), Path("my data")), "ddmkit check 'my data' --dataset described"),
        (
            Place(Described(description=Path("my.yaml")), Path("mine")),
            "ddmkit check mine --dataset described -o dataset.description=my.yaml",
        ),
    ],
)
def test_what_to_type_says_how_the_cases_are_laid_out_where_looking_does_not_tell(place: Place, command: str) -> None:
    assert place.look == command


def test_nothing_wrong_is_nothing_to_refuse(caplog: pytest.LogCaptureFixture) -> None:
    for skip_bad in (True, False):
        refuse_or_skip({}, 3, MINE, skip_bad=skip_bad)
    assert caplog.messages == []


def test_a_bad_case_is_counted_and_named_with_what_to_type(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError) as error:
        refuse_or_skip({"case-1": WRONG["case-1"]}, 7, MINE, skip_bad=False)
    assert str(error.value) == (
        "1 of 7 cases cannot be used. case-1: The image of case-1 was cut off; copy it again. Mend them, or leave "
        "them out by adding --skip-bad; ddmkit check mine shows what each case has."
    )
    assert caplog.messages == []


def test_of_many_bad_cases_some_are_named_and_all_counted() -> None:
    with pytest.raises(DataError) as error:
        refuse_or_skip(WRONG, 7, MINE, skip_bad=False)
    said = str(error.value)
    assert said.startswith("5 of 7 cases cannot be used. case-1: ")
    assert [name in said for name in WRONG] == [True, True, True, False, False]
    assert "again. And 2 more. Mend them, or" in said


def test_every_case_that_is_skipped_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        refuse_or_skip(WRONG, 7, MINE, skip_bad=True)
    assert caplog.messages == [f"Left out {name}: {reason}" for name, reason in WRONG.items()]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_all_cases_cannot_be_skipped(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError) as error:
        refuse_or_skip(WRONG, 5, MINE, skip_bad=True)
    said = str(error.value)
    assert said.startswith("5 of 5 cases cannot be used. case-1: The image of case-1 was cut off")
    assert said.endswith(" And 2 more. Mend them; ddmkit check mine shows what each case has.")
    assert caplog.messages == []


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_part_of_which_nothing_is_left_is_refused(part: str) -> None:
    left = {"train": ["a"], "validation": ["b"], "test": []}
    refuse_empty(left)
    with pytest.raises(DataError, match=f"^Of the {part} cases none is left: mend"):
        refuse_empty({**left, part: []})


def test_no_case_at_all_says_what_was_looked_for(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'folders' lies under {tmp_path}: looked for CASE/CASE_MODALITY.nii.gz\."):
        find_cases(configured().dataset, tmp_path)


def only_headers(root: Path) -> None:
    """Put noise in the place of all voxels, so that nobody can read them."""
    for path in root.glob("*/*.nii.gz"):
        content = gzip.decompress(path.read_bytes())
        noise = np.random.default_rng(0).bytes(len(content) - HEADER)
        path.write_bytes(gzip.compress(content[:HEADER] + noise)[:-20])


def test_usable_cases_are_told_by_their_headers_alone(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=3)
    only_headers(root)
    found = usable_cases(configured().dataset, root, ("t1", "flair"))
    assert names(found.cases) == list(found.headers) == [f"BraTS20_Training_{number:03d}" for number in (1, 2, 3)]
    assert {header.shape for header in found.headers.values()} == {(10, 12, 9)}
    assert (found.wrong, found.refused) == ({}, [])


def test_a_case_with_a_bad_header_is_wrong_and_the_others_are_usable(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=3)
    broken = root / "BraTS20_Training_002" / "BraTS20_Training_002_flair.nii.gz"
    broken.write_bytes(broken.read_bytes()[:30])
    found = usable_cases(configured().dataset, root, ("t1", "flair"))
    assert names(found.cases) == list(found.headers) == ["BraTS20_Training_001", "BraTS20_Training_003"]
    assert list(found.wrong) == names(found.refused) == ["BraTS20_Training_002"]
    assert "BraTS20_Training_002_flair.nii.gz was cut off" in found.wrong["BraTS20_Training_002"]
    assert usable_cases(configured().dataset, root, ("t1", "t2")).wrong == {}


def test_images_that_no_case_has_are_not_the_cases_fault(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    dataset, root = configured().dataset, write_cases(tmp_path, count=2)
    said = (
        r"asks for images called CT, t3, which no case under .* has; they have (.*): add them, or .* -o task\.images="
    )
    with pytest.raises(RefusedDataError, match=said) as error:
        usable_cases(dataset, root, ("t1", "CT", "t3"))
    there = str(error.value).rpartition("=")[2].removesuffix(".").split(",")
    assert sorted(there) == sorted(dataset.cases(root)[0].images)
    assert error.value.rule == "missing-modality"
    next(root.glob("*_001/*_t1.nii.gz")).unlink()  # one that only some cases lack is theirs
    assert list(usable_cases(dataset, root, ("t1",)).wrong) == ["BraTS20_Training_001"]


def test_a_reference_need_not_be_readable_where_none_is_needed(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=1)
    next(root.glob("*/*_seg.nii.gz")).write_bytes(b"")
    assert len(usable_cases(configured().dataset, root, ("t1",)).wrong) == 1
    found = usable_cases(configured().dataset, root, ("t1",), references=False)
    assert (names(found.cases), found.wrong) == (["BraTS20_Training_001"], {})
