"""Patterns of file names: read in every way that is possible, refused with what to write, never slow."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from ddmkit import DataError
from ddmkit_plugins.datasets.patterns import Pattern, Reading


def names(pattern: str, path: str) -> set[str]:
    return {reading.name for reading in Pattern.parse(pattern, "here").read(path)}


def refusal(pattern: str) -> str:
    with pytest.raises(DataError) as caught:
        Pattern.parse(pattern, "ddmkit.yaml: images: t1")
    message = str(caught.value)
    assert message.startswith('ddmkit.yaml: images: t1: "')
    assert message.isprintable()
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("{case}_t1.nii.gz", "a_t1.nii.gz", {"a"}),
        ("{case}_t1.nii.gz", "a_t2.nii.gz", set()),
        ("{case}_t1.nii.gz", "sub/a_t1.nii.gz", set()),
        ("{case}_t1.nii.gz", "_t1.nii.gz", set()),
        ("{case}/anat/{case}_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", {"sub-01"}),
        ("{case}/anat/{case}_T1w.nii.gz", "sub-01/anat/sub-02_T1w.nii.gz", set()),
        ("{case}/{case}*FLAIR*.nii", "a/a_ax_FLAIR_2.nii", {"a"}),
        ("{case}_*.nii", "a_b_t1.nii", {"a", "a_b"}),
        ("**/{case}_t1.nii", "a_t1.nii", {"a"}),
        ("**/{case}_t1.nii", "x/y/a_t1.nii", {"a"}),
        ("{case}/**/t1.nii", "a/t1.nii", {"a"}),
        ("{case}/**/t1.nii", "a/b/c/t1.nii", {"a"}),
        ("**/{case}/**/t1.nii", "a/b/t1.nii", {"a", "b"}),
        ("{case}/**", "a/b/c.nii", {"a"}),
        ("*/{case}.nii", "x/a.nii", {"a"}),
        ("./images//{case}.nii", "images/a.nii", {"a"}),
        ("{case}(1) [x] a+b?.nii", "a(1) [x] a+b?.nii", {"a"}),
        ("{case}(1) [x] a+b?.nii", "a1 x aab.nii", set()),
    ],
)
def test_a_pattern_says_what_the_case_may_be_called(pattern: str, path: str, expected: set[str]) -> None:
    assert names(pattern, path) == expected


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.NII.GZ", "a.hdr"])
def test_the_ending_of_an_image_is_no_part_of_a_case(name: str) -> None:
    assert names("{case}*", name) == {"a"}
    assert names("{case}.*", name) == {"a"}


def test_a_name_written_with_combining_accents_is_the_same_name() -> None:
    path = unicodedata.normalize("NFD", "Zoë/Zoë_ä.nii")
    assert names("{case}/{case}_ä.nii", path) == {"Zoë"}
    assert names(unicodedata.normalize("NFD", "{case}/{case}_ä.nii"), unicodedata.normalize("NFC", path)) == {"Zoë"}


def test_patients_and_visits_are_told_apart() -> None:
    (reading,) = Pattern.parse("{patient}/{visit}/{patient}_t1.nii", "").read("p1/2020/p1_t1.nii")
    assert reading == Reading(None, "p1", "2020")
    assert reading.name == "p1_2020"
    (reading,) = Pattern.parse("{patient}/*/{case}.nii", "").read("p1/anat/scan 7.nii")
    assert reading == Reading("scan 7", "p1", None)
    assert reading.name == "scan 7"


def test_a_pattern_is_filled_in_for_a_case() -> None:
    pattern = Pattern.parse("{patient}/{case}/{case}*.nii", "")
    assert pattern.of(Reading("a", "p")) == "p/a/a*.nii"
    assert pattern.of(Reading("a")) == "{patient}/a/a*.nii"


PIECES = st.lists(st.sampled_from(["a", "b", "_", "*", "{case}", "{case}"]), min_size=1, max_size=4).map("".join)
PARTS = PIECES.map(lambda part: re.sub(r"\*+", "*", part))
NAMES = st.text("ab_", min_size=1, max_size=3)


@st.composite
def fitting(draw: st.DrawFn) -> tuple[list[str], str]:
    """Draw the parts of a pattern, and a path that fits it or nearly so."""
    parts = draw(st.lists(PARTS | st.just("**"), max_size=3))
    parts.append(draw(PARTS) + ".nii")
    case = draw(NAMES)
    path = [
        "".join(f"{folder}/" for folder in draw(st.lists(NAMES, max_size=2)))
        if part == "**"
        else re.sub(r"\*", lambda _: draw(st.text("ab_", max_size=3)), part.replace("{case}", case)) + "/"
        for part in parts
    ]
    return parts, "".join(path)[:-1].replace("//", "/").lstrip("/")


def brute_force(parts: list[str], path: str) -> set[str]:
    """Put every piece of the path in place of {case}, and see whether the whole fits."""
    pieces = {path[i:j] for i in range(len(path)) for j in range(i + 1, len(path) + 1)}
    found = set()
    for case in (piece for piece in pieces if "/" not in piece and "." not in piece):
        filled = [re.escape(part.replace("{case}", case)).replace(r"\*", "[^/]*") for part in parts]
        folders = ("(?:[^/]+/)*" if part == "[^/]*[^/]*" else part + "/" for part in filled[:-1])
        if re.fullmatch("".join(folders) + filled[-1], path):
            found.add(case)
    return found


@settings(max_examples=400, deadline=None)
@given(fitting())
def test_all_readings_are_found_and_no_others(drawn: tuple[list[str], str]) -> None:
    parts, path = drawn
    assume("{case}" in "".join(parts))
    found = names("/".join(parts), path)
    event(f"{min(len(found), 2)} readings")
    assert found == brute_force(parts, path)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("", "is empty"),
        ("/data/{case}.nii", "absolute path: write it as seen from the folder of the data"),
        ("~/data/{case}.nii", "absolute path"),
        ("C:/data/{case}.nii", "absolute path"),
        ("../other/{case}.nii", "leaves the folder"),
        ("{case}/../../{case}.nii", "leaves the folder"),
        (r"{case}\t1.nii", "write / between folders"),
        ("t1.nii.gz", "write {case} there"),
        ("{patient}/t1.nii.gz", "write {case} there, or {patient} and {visit}"),
        ("{Case}_t1.nii", "{Case}, which is no word here. Did you mean '{case}'?"),
        ("{case}/{t1,T1}.nii", "Known are {case}, {patient} and {visit}"),
        ("{case}_{t1.nii", "brace without its partner"),
        ("{case}_t1}.nii", "brace without its partner"),
        ("{case}/{visit}/t1.nii", "write * for {visit}"),
        ("{case}_t1", "does not end like the name of an image: end it in .nii.gz, .nii"),
        ("t1/{case}", "does not end like the name of an image"),
        ("{case}.mha", "does not end like the name of an image"),
        ("{case}/", "does not end like the name of an image"),
        ("{case}\n.nii", "cannot be printed"),
        ("{case}" + "a" * 2000 + ".nii", "longer than 1000"),
    ],
)
def test_what_cannot_be_a_pattern_is_refused_with_what_to_write(pattern: str, hint: str) -> None:
    assert hint in refusal(pattern)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".NII.GZ", ".hdr", ".img", "*", ".nii*", ".n*", "*.gz", "*z"])
def test_a_pattern_ends_like_an_image(ending: str) -> None:
    Pattern.parse("{case}_t1" + ending, "")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "*{case}.nii", "a" * 255),
        ("*" * 500 + "{case}.nii", "a" * 255),
        ("**/" * 300 + "{case}.nii", "a/" * 500 + "a"),
        ("**/a*/" * 100 + "{case}.nii", "a/" * 500 + "a"),
        ("{case}" * 100 + ".nii", "a" * 240 + ".nii"),
        ("{patient}/" * 80 + "{case}.nii", "a/" * 80 + "a"),
    ],
)
def test_no_pattern_takes_exponential_time(pattern: str, path: str) -> None:
    Pattern.parse(pattern, "").read(path)


def test_a_pattern_that_says_next_to_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r'"\*{case}\*\.nii" in too many ways: write more'):
        names("*{case}*.nii", "a" * 200 + ".nii")
    with pytest.raises(DataError, match="too many ways"):
        names("{patient}*/*{patient}{case}*.nii", "ab" * 100 + "/" + "ab" * 100 + ".nii")
