"""What may be meant by a word that is not known."""

from __future__ import annotations

import pytest

from ddmkit.spelling import did_you_mean, nearest

WORDS = ["sampler", "schedule", "scoring"]


@pytest.mark.parametrize(("word", "meant"), [("smapler", "sampler"), ("shedule", "schedule"), ("scorings", "scoring")])
def test_a_misspelt_word_is_answered_with_the_one_that_is_meant(word: str, meant: str) -> None:
    assert nearest(word, iter(WORDS)) == meant
    assert did_you_mean(word, WORDS) == f" Did you mean '{meant}'?"


def test_a_word_like_no_other_is_answered_with_nothing() -> None:
    assert nearest("coffee", WORDS) is None
    assert did_you_mean("coffee", WORDS) == ""
    assert did_you_mean("sampler", []) == ""


def test_words_of_which_one_half_agrees_are_alike_only_to_who_is_lenient() -> None:
    # Of the four letters of each, two in a row agree: 2 · 2 / (4 + 4) = 0.5.
    assert nearest("abcd", ["abxy"], alike=0.5) == "abxy"
    assert nearest("abcd", ["abxy"], alike=0.51) is None
