"""`ddmkit sample` with several members: how many, how they are combined, how long they may take."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.program import TINY, call, image, refused

Said = subprocess.CompletedProcess[str]
Trained = tuple[Path, Said]


def first_case(folder: Path) -> tuple[Path, str]:
    """Return the folder of the data and the name of its first case."""
    data = next((folder / "phantom").iterdir())
    return data, min(data.iterdir()).name


def sampled(folder: Path, out: Path, *more: str) -> Said:
    """Sample the first case."""
    data, case = first_case(folder)
    return call(folder, "sample", "run", "--input", data, "--cases", case, "--out", out, *more)


def record(out: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads((out / "sample.json").read_text())


def volumes(out: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(image(path).dataobj) for path in sorted(out.glob("*.nii.gz"))}


@pytest.mark.parametrize("combine", ["mean", "vote", "staple"])
def test_auto_answers_as_an_ensemble_of_the_number_that_it_says_it_took(
    trained: Trained, tmp_path: Path, combine: str
) -> None:
    folder, _ = trained
    options = ["-o", f"sampling.combine={combine}"]
    limits = ["-o", "sampling.tolerance=1", "-o", "sampling.members_at_once=3"]
    result = sampled(folder, tmp_path / "auto", "--ensemble", "auto", *options, *limits)
    assert result.returncode == 0, result.stderr
    (facts,) = record(tmp_path / "auto")["cases"].values()
    assert (facts["members"], facts["settled"]) == (4, True)
    assert ", 4 members, " in result.stdout
    assert sampled(folder, tmp_path / "four", "--ensemble", "4", *options).returncode == 0
    made = record(tmp_path / "auto")
    assert (made["ensemble"], made["combine"], made["tolerance"]) == ("auto", combine, 1)
    found, expected = volumes(tmp_path / "auto"), volumes(tmp_path / "four")
    assert found.keys() == expected.keys()
    for name, volume in expected.items():
        np.testing.assert_allclose(found[name], volume, atol=1e-5)


def test_auto_that_is_not_settled_says_what_to_type(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    result = sampled(folder, tmp_path / "out", "--ensemble", "auto", "-o", "sampling.most=2")
    assert result.returncode == 0, result.stderr
    assert "still changes by more than sampling.tolerance=0.01 after 2 members: -o sampling.most=4" in result.stderr
    (facts,) = record(tmp_path / "out")["cases"].values()
    assert (facts["members"], facts["settled"]) == (2, False)


def test_another_combination_is_not_added_to_a_folder(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    assert sampled(folder, tmp_path / "out").returncode == 0
    refused(sampled(folder, tmp_path / "out", "-o", "sampling.combine=vote"), 2, "combine was mean, now vote")


def test_members_are_kept_where_that_is_asked_for_and_evaluate_passes_over_them(
    trained: Trained, tmp_path: Path
) -> None:
    folder, _ = trained
    data, case = first_case(folder)
    result = sampled(folder, tmp_path / "out", "--ensemble", "3", "--keep-members")
    assert result.returncode == 0, result.stderr
    found = volumes(tmp_path / "out")
    members = np.stack([found.pop(f"{case}_member-{number:03}.nii.gz") for number in (1, 2, 3)])
    np.testing.assert_allclose(found.pop(f"{case}_mean.nii.gz"), members.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found.pop(f"{case}_var.nii.gz"), members.var(axis=0), atol=1e-6)
    assert list(found) == [f"{case}_seg.nii.gz"]
    scored = call(folder, "evaluate", tmp_path / "out", "--reference", data)
    assert scored.returncode == 0, scored.stderr
    assert "have no reference" not in scored.stderr


def test_training_validates_with_an_ensemble_that_decides_its_own_size(tmp_path: Path) -> None:
    options = ["-osampling.ensemble=auto", "-osampling.most=2", "-osampling.combine=vote", "-otraining.steps=1"]
    result = call(tmp_path, "train", "--run", "run", *TINY, *options)
    assert result.returncode == 0, result.stderr
    assert "step 1: test: whole Dice" in result.stderr


def test_a_budget_is_picked_once_for_all_cases_of_a_folder(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    data, case = first_case(folder)
    out = tmp_path / "out"
    result = sampled(folder, out, "--budget", "3s")
    assert result.returncode == 0, result.stderr
    said = re.search(r"(\d+) members? of (\d+) steps for each case: an evaluation of the network takes", result.stderr)
    assert said is not None
    made = record(out)
    assert (made["budget"], made["ensemble"], made["sampler"]["steps"]) == (3, int(said[1]), int(said[2]))
    assert made["cases"][case]["members"] == made["ensemble"]
    made["sampler"]["steps"], made["ensemble"] = 2, 1  # as if it had been picked on a slower machine
    (out / "sample.json").write_text(json.dumps(made))
    other = sorted(path.name for path in data.iterdir())[1]
    again = call(folder, "sample", "run", "--input", data, "--cases", other, "--out", out, "--budget", "3.0s")
    assert again.returncode == 0, again.stderr
    assert "Going on with 1 member of 2 steps, which this budget picked" in again.stderr
    assert record(out)["cases"][other]["members"] == 1
    refused(sampled(folder, out, "--budget", "1m"), 2, "budget was 3.0, now 60.0")
    refused(sampled(folder, out), 2, "budget was 3.0, now None")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "0"], ["--budget 0 is no time", "--budget 90s, 2m or 1h30m"]),
        (["--budget", "abc"], ["--budget abc is no time"]),
        (["--budget", "2m", "--steps", "5"], ["leave out --steps 5, or --budget 2m"]),
        (["--budget", "2m", "--ensemble", "auto"], ["leave out --ensemble auto, or --budget 2m"]),
        (["--budget", "2m", "-osampling.ensemble=3"], ["leave out --ensemble 3, or --budget 2m"]),
        (["--budget", "0.0001s"], ["--budget 0.0001s is too little", "Type --budget 1s or more"]),
        (["--ensemble", "some"], ["sampling.ensemble='some'", "auto"]),
        (["--ensemble", "0"], ["sampling.ensemble=0", "greater than or equal to 1"]),
        (["-osampling.combine=average"], ["sampling.combine='average'", "staple"]),
    ],
)
def test_mistakes_are_one_sentence_that_says_what_to_type(
    trained: Trained, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    folder, _ = trained
    refused(sampled(folder, tmp_path / "out", *options), 2, *words)
