"""Which number an answer's class is written as."""

from __future__ import annotations

import pytest

from ddmkit.labels import numbers_for

BRATS2020 = {1: "necrotic", 2: "edema", 4: "enhancing"}
BRATS2023 = {1: "necrotic", 2: "edema", 3: "enhancing"}
DECATHLON = {1: "edema", 2: "necrotic", 3: "enhancing"}
TISSUES = ("necrotic", "edema", "enhancing")


@pytest.mark.parametrize("labels", [BRATS2020, BRATS2023, DECATHLON], ids=["BraTS2020", "BraTS2023", "MSD"])
def test_an_answer_is_written_in_the_numbers_of_the_cases_own_layout(labels: dict[int, str]) -> None:
    assert numbers_for(TISSUES, labels) == labels


def test_classes_that_the_answer_cannot_hold_get_no_number() -> None:
    assert numbers_for(("enhancing",), {**BRATS2020, 7: "cavity"}) == {4: "enhancing"}


def test_a_class_that_the_layout_does_not_know_gets_the_first_number_that_means_nothing_there() -> None:
    assert numbers_for((*TISSUES, "cavity", "other"), BRATS2020) == {**BRATS2020, 3: "cavity", 5: "other"}


@pytest.mark.parametrize("labels", [BRATS2020, {}], ids=["other classes", "none"])
def test_where_the_layout_knows_none_of_the_classes_they_count_from_1(labels: dict[int, str]) -> None:
    assert numbers_for(("whole", "rest"), labels) == {1: "whole", 2: "rest"}


def test_of_two_numbers_of_one_meaning_the_smaller_is_written() -> None:
    assert numbers_for(("tumour",), {9: "tumour", 3: "tumour", 5: "tumour"}) == {3: "tumour"}


@pytest.mark.parametrize("answers", [TISSUES, ("whole",), ("edema", "cavity"), ("a", "edema", "b", "enhancing")])
@pytest.mark.parametrize("labels", [BRATS2020, BRATS2023, DECATHLON, {}], ids=["2020", "2023", "MSD", "none"])
def test_each_class_has_one_number_and_none_is_the_backgrounds(
    answers: tuple[str, ...], labels: dict[int, str]
) -> None:
    found = numbers_for(answers, labels)
    assert sorted(found.values()) == sorted(answers)
    assert 0 not in found
