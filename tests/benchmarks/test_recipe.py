"""The better recipe against its rivals, for a few seconds on tiny cases."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from benchmarks import recipe, recipe_subjects
from benchmarks.kept import whole_lines
from benchmarks.recipe_arms import ARMS
from benchmarks.recipe_report import row
from benchmarks.recipe_subjects import tiles

from tests.benchmarks.looking import ddmkit
from tests.cli.program import TINY

SMALL = tuple(option for option in TINY if option.startswith(("-obackbone", "-opatch", "-osplit")))


@pytest.mark.parametrize(("frame", "size"), [((8, 8, 8), (4, 4, 4)), ((9, 8, 5), (4, 8, 3)), ((3, 3, 3), (3, 3, 3))])
def test_windows_side_by_side_cover_a_volume_and_stay_inside(
    frame: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    covered = np.zeros(frame, int)
    for start in tiles(frame, size):
        block = tuple(slice(first, first + side) for first, side in zip(start, size, strict=True))
        assert covered[block].shape == size
        covered[block] += 1
    assert covered.min() == 1
    fits = all(whole % side == 0 for whole, side in zip(frame, size, strict=True))
    assert (covered.max() == 1) == fits


def test_rivals_train_as_long_and_what_is_done_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDMKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(recipe_subjects, "ddmkit", ddmkit)  # trained here; the cases are made by a process of its own
    small = ARMS["patchddm-plus"]._replace(words=("--preset", "patchddm-plus", *SMALL))
    monkeypatch.setitem(ARMS, "patchddm-plus", small)
    words = ["recipe", "--minutes", "0.02", "--seeds", "1", "--ablation-seeds", "0", "--cases", "8", "--rounds", "1"]
    words += ["--shape", "32,16,16", "--arms", "patchddm-plus,supervised", "--work", str(tmp_path / "work")]
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path / "out")])
    recipe.main()
    results = tmp_path / "work" / "8-cases-32,16,16" / "results.jsonl"
    lines = results.read_text("utf-8")
    plus, supervised = whole_lines(results)
    assert (plus["arm"], supervised["arm"]) == ("patchddm-plus", "supervised")
    for result in (plus, supervised):
        assert result["steps"] == max(1, int(60 * 0.02 / result["pace"]))
    for result, scores in itertools.product((plus, supervised), ("whole", "windows")):
        assert len(result[scores]) == 2
        assert all(0 <= dice <= 1 for dice in result[scores])
    recipe.main()
    assert results.read_text("utf-8") == lines
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}


@pytest.mark.parametrize(("shape", "sentence"), [("a,b", "give three whole numbers"), ("40,40,40", "multiples of 16")])
def test_a_shape_that_cannot_be_is_refused(
    shape: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["recipe", "--shape", shape])
    with pytest.raises(SystemExit):
        recipe.main()
    assert sentence in capsys.readouterr().err


def test_a_row_is_means_over_seeds_with_healthy_cases_and_without() -> None:
    facts = {"arm": "an arm", "tumour": [True, True, False], "pace": 0.5}
    seeds = [
        {**facts, "whole": [0.5, 0.7, 0.0], "windows": [0.6, 0.8, 0.0], "many": [0.6, 0.8], "steps": 10},
        {**facts, "whole": [0.7, 0.9, 1.0], "windows": [0.8, 1.0, 0.0], "many": [0.8, 1.0], "steps": 20},
    ]
    all_cases, with_tumour = "0.633 ± 0.330 | 0.533 ± 0.094", "0.700 ± 0.141 | 0.800 ± 0.141 | +0.100"
    assert row(seeds) == f"| an arm | {all_cases} | {with_tumour} | 1 and 2 of 2 | +0.100 | 15 | 0.500 |"
