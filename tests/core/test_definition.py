"""Scores say in words which definitions they follow."""

from __future__ import annotations

import pytest

from ddmkit import ConfigurationError
from ddmkit.assembly import section
from ddmkit.definition import Measures, Scoring
from ddmkit.scoring import Score


def test_a_definition_tells_the_conventions_apart() -> None:
    said = Scoring().definition()
    assert "373.13" in said["one_empty"]
    assert "spacing" in said["distance"]
    assert "within 1 mm" in said["surface_dice"]
    assert "bootstrap" in said["interval"]


@pytest.mark.parametrize(
    ("directions", "words"),
    [("pooled", "both directions pooled"), ("maximum", "the larger of"), ("mean", "the mean of")],
)
def test_each_way_to_join_directions_has_its_own_words(directions: str, words: str) -> None:
    scoring = section(Scoring, "scoring", [f"scoring.hd95={directions}", "scoring.tolerance=2.5"])
    assert words in scoring.definition()["hd95"]
    assert "within 2.5 mm" in scoring.definition()["surface_dice"]
    assert scoring.titles()["hd95"] == f"HD95 {directions} [mm]"


def test_every_number_has_a_title_and_a_definition() -> None:
    assert tuple(Scoring().titles()) == Measures._fields == Score._fields[2:-1]
    assert {*Measures._fields} <= Scoring().definition().keys()


@pytest.mark.parametrize("option", ["scoring.hd95=minimum", "scoring.tolerance=-1", "scoring.tolerance=.inf"])
def test_a_definition_that_does_not_exist_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option.partition("=")[0]):
        section(Scoring, "scoring", [option])


def test_a_misspelled_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"scoring\.tolerence is no setting\. Did you mean 'tolerance'"):
        section(Scoring, "scoring", ["scoring.tolerence=2"])
