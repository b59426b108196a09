"""Predictions are matched to cases by name and read by what their numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Survey
from ddmkit.run.answers import Answered
from ddmkit.run.cases import Place
from ddmkit.run.evaluation import Meanings, match

LABELS = {1: "necrotic", 2: "edema", 4: "enhancing"}


class Anything(Dataset):
    """A layout of nothing."""

    name: ClassVar[str] = "anything"

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])


DATA = Place(Anything(), Path("data"))
CASES = {name: Case(name, {}, LABELS, Path(f"{name}.nii")) for name in ("a", "b", "a_mean", "x_seg")}


def folder_of(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


def matched(folder: Path) -> dict[str, str]:
    return {pair.case.name: pair.prediction.name for pair in match(folder, CASES, {}, DATA).pairs}


def test_answers_of_every_spelling_are_matched(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a_seg.nii.gz", "b.NII.GZ", "x_seg.nii", ".hidden.nii", "notes.txt", "b_var_core.nii")
    assert matched(folder) == {"a": "a_seg.nii.gz", "b": "b.NII.GZ", "x_seg": "x_seg.nii"}


def test_a_case_that_is_named_like_a_mean_is_a_case(tmp_path: Path) -> None:
    assert matched(folder_of(tmp_path, "a_mean.nii.gz", "b_mean.nii.gz")) == {"a_mean": "a_mean.nii.gz"}


def test_a_stray_answer_does_not_hide_the_others(tmp_path: Path) -> None:
    assert matched(folder_of(tmp_path, "a_seg.nii.gz", "b.nii.gz")) == {"a": "a_seg.nii.gz", "b": "b.nii.gz"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.nii", "a_seg.nii.gz"], "both answer the case 'a'"),
        (["stranger_seg.nii", "stranger.nii"], "both answer the case 'stranger'"),
        (["a.txt"], r"holds no answer to a case with a reference under data: looked for CASE_seg\.nii\.gz"),
        (["c.nii", "d_seg.nii"], "named after c, d, the cases there are a, b, a_mean, x_seg; give the folders that"),
    ],
)
def test_what_cannot_be_matched_is_named(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        match(folder_of(tmp_path, *names), CASES, {}, DATA)


def test_a_prediction_without_a_reference_or_a_case_is_told_of_and_not_scored(tmp_path: Path) -> None:
    cases = {**CASES, "b": CASES["b"]._replace(reference=None)}
    found = match(folder_of(tmp_path, "a.nii", "b.nii", "stranger_seg.nii"), cases, {}, DATA)
    assert ([pair.case.name for pair in found.pairs], found.unlabelled) == (["a"], ["b", "stranger"])


def test_maps_and_members_lie_beside_predictions_whether_those_have_a_case_or_not(tmp_path: Path) -> None:
    endings = (
        "seg",
        "mean",
        "var",
        "mean_liver",
        "var_left mean lobe",
        "mean_mean_var",
        "prob",
        "prob_liver",
        "member-012",
    )
    names = [f"{case}_{ending}.nii.gz" for case in ("a", "stranger") for ending in endings]
    found = match(folder_of(tmp_path, *names, "c.nii", "c_mean.nii"), CASES, {}, DATA)
    # a_mean is a case of its own here.
    assert {pair.case.name: pair.prediction.name for pair in found.pairs} == {
        "a": "a_seg.nii.gz",
        "a_mean": "a_mean.nii.gz",
    }
    assert found.unlabelled == ["c", "stranger"]


def test_a_prediction_of_a_bad_case_stops_unless_it_may_be_skipped(tmp_path: Path) -> None:
    folder, wrong = folder_of(tmp_path, "a.nii", "bad.nii"), {"bad": "The case bad lacks its mask."}
    with pytest.raises(DataError, match=r"1 of 2 cases cannot be used\. bad: The case bad lacks"):
        match(folder, CASES, wrong, DATA)
    skipped = match(folder, CASES, wrong, DATA, skip_bad=True)
    assert ([pair.case.name for pair in skipped.pairs], skipped.unlabelled) == (["a"], [])


def test_numbers_mean_what_is_given_then_written_down_then_described_then_as_in_the_reference() -> None:
    answered, described = (
        {"a": Answered(1, 1, None, {"7": "edema"}, 1, settled=True)},
        {"a": {3: "edema"}, "b": {3: "edema"}},
    )
    assert Meanings({9: "whole"}, answered, described).labels(CASES["a"]) == {9: "whole"}
    meanings = Meanings(None, answered, described)
    assert meanings.labels(CASES["a"]) == {7: "edema"}
    assert meanings.labels(CASES["b"]) == {3: "edema"}
    assert meanings.labels(CASES["x_seg"]) == LABELS
