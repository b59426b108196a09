"""`ddmkit evaluate` on predictions of any program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.program import Run, affine, call, image, refused

Trained = tuple[Path, "subprocess.CompletedProcess[str]"]
YAML = 'images: {t1: "{case}_t1.nii"}\nreference: "{case}_seg.nii"\nlabels: {1: liver}\n'


def save(
    path: Path,
    span: tuple[int, int],
    *,
    label: int = 1,
    shape: tuple[int, int, int] = (12, 8, 6),
    more: tuple[Any, ...] | None = None,
) -> None:
    """Write a box along x, and what more there is, as a mask of voxels of 1×1×1 mm."""
    mask = np.zeros(shape, np.uint8)
    mask[slice(*span), 2:6, 2:5] = label
    if more is not None:
        mask[more] = label
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask, np.eye(4)), path)


def livers(folder: Path, count: int) -> list[str]:
    """Write cases whose reference is a box from 2 to 7, and return their names."""
    names = [f"p{number}" for number in range(count)]
    for name in names:
        save(folder / f"data/{name}_t1.nii", (0, 11), label=3)
        save(folder / f"data/{name}_seg.nii", (2, 7))
    (folder / "data/ddmkit.yaml").write_text(YAML)
    return names


def answered(folder: Path, **spans: tuple[int, int]) -> None:
    """Write one box for each case."""
    for name, span in spans.items():
        save(folder / f"{name}.nii", span)


def scored(folder: Path, run: Run, *arguments: str) -> dict[str, Any]:
    """Evaluate the folder a, and return what was written."""
    result = run("evaluate", "a", "--reference", "data", "--json", "scores.json", *arguments)
    assert result.returncode == 0, result.stderr
    text = (folder / "scores.json").read_text()
    assert "NaN" not in text
    written: dict[str, Any] = json.loads(text)
    return written


def test_evaluate_scores_hand_made_masks_as_computed_by_hand(tmp_path: Path, ddmkit: Run) -> None:
    """Two boxes of 2×2×2 voxels of 1×1×2 mm, one voxel apart along z: half overlaps, surfaces are 2 mm apart."""
    affine = np.diag([1.0, 1, 2, 1])
    case = tmp_path / "data/BraTS20_Training_001"
    case.mkdir(parents=True)
    empty = np.zeros((8, 8, 8), np.int16)
    for kind in ("t1", "t1ce", "t2", "flair"):
        nib.save(nib.Nifti1Image(empty, affine), case / f"{case.name}_{kind}.nii.gz")
    reference, prediction = empty.copy(), empty.copy()
    reference[2:4, 2:4, 2:4] = 4  # enhancing
    prediction[2:4, 2:4, 3:5] = 2  # edema
    nib.save(nib.Nifti1Image(reference, affine), case / f"{case.name}_seg.nii.gz")
    (tmp_path / "answers").mkdir()
    nib.save(nib.Nifti1Image(prediction, affine), tmp_path / "answers" / f"{case.name}.nii.gz")
    result = ddmkit("evaluate", "answers", "--reference", "data", "--json", "scores.json")
    assert result.returncode == 0, result.stderr
    whole, core, enhancing = json.loads((tmp_path / "scores.json").read_text())["cases"]
    assert whole == {
        "case": case.name,
        "region": "whole",
        "dice": 0.5,
        "hd95": 2.0,
        "surface_dice": 0.5,
        "note": None,
    }
    diagonal = float(np.sqrt(8**2 + 8**2 + 16**2))
    for region, score in {"core": core, "enhancing": enhancing}.items():
        missed = "prediction is empty, reference has 8 voxels"
        assert score == {
            "case": case.name,
            "region": region,
            "dice": 0.0,
            "hd95": diagonal,
            "surface_dice": 0.0,
            "note": missed,
        }


def test_evaluate_names_what_does_not_fit(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    case = min(data.iterdir())
    empty, stranger, shifted = (tmp_path / name for name in ("empty", "stranger", "shifted"))
    for path in (empty, stranger, shifted):
        path.mkdir()
    reference = next(case.glob("*_seg.nii.gz"))
    segmentation = image(reference)
    nib.save(segmentation, stranger / "Nobody_seg.nii.gz")
    moved = affine(reference)
    moved[0, 3] += 2
    nib.save(nib.Nifti1Image(np.asarray(segmentation.dataobj), moved), shifted / f"{case.name}_seg.nii.gz")
    refused(call(folder, "evaluate", empty, "--reference", data), 1, "holds no answer")
    refused(
        call(folder, "evaluate", stranger, "--reference", data),
        1,
        "holds no answer to a case with",
        "named after Nobody",
    )
    refused(call(folder, "evaluate", shifted, "--reference", data), 1, "affines", case.name)
    refused(call(folder, "evaluate", tmp_path / "nowhere", "--reference", data), 1, "no folder")


@pytest.mark.parametrize(("directions", "expected"), [("pooled", 0), ("maximum", 4), ("mean", 2)])
def test_the_definition_of_hd95_is_a_setting_that_is_printed_and_stored(
    tmp_path: Path, ddmkit: Run, directions: str, expected: float
) -> None:
    """The box has 54 surface voxels; 4 more, 4 mm away, are more than 5 % of 58 and less than 5 % of 112."""
    livers(tmp_path, 1)
    save(tmp_path / "a/p0.nii", (2, 7), more=(10, slice(2, 6), 2))
    options = ["-o", f"scoring.hd95={directions}", "-o", "scoring.tolerance=2.5"]
    result = ddmkit("evaluate", "a", "--reference", "data", "--json", "scores.json", *options)
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "scores.json").read_text())
    (score,) = written["cases"]
    assert (score["hd95"], score["surface_dice"]) == (expected, pytest.approx(108 / 112))
    assert written["scoring"] == {"hd95": directions, "tolerance": 2.5}
    said = " ".join(result.stdout.split())
    for name, meaning in written["definition"].items():
        assert f"{name}: {meaning}" in said


def test_scores_that_have_no_such_setting_are_refused(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 1)
    answered(tmp_path / "a", p0=(2, 7))
    asked = ("evaluate", "a", "--reference", "data")
    refused(ddmkit(*asked, "-o", "scoring.hd95=minimum"), 2, "scoring.hd95", "pooled")
    refused(ddmkit(*asked, "-o", "scoring.hd=mean"), 2, "Did you mean 'hd95'")
    refused(ddmkit(*asked, "-o", "training.steps=3"), 2, "only the settings of dataset, task, scoring")
    refused(ddmkit(*asked, "--against-labels", "1=liver"), 2, "add --against")


def test_what_is_not_scored_is_written_down(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 4)
    answered(tmp_path / "a", p0=(2, 7), p2=(2, 6), stranger=(1, 2))
    save(tmp_path / "a/p3.nii", (2, 7), shape=(12, 8, 7))
    asked = ("evaluate", "a", "--reference", "data")
    refused(ddmkit(*asked), 1, "Scoring a: Case p3", "(12, 8, 7)", "(12, 8, 6)")
    written = scored(tmp_path, ddmkit, "--skip-bad")
    assert [score["case"] for score in written["cases"]] == ["p0", "p2"]
    assert (written["without_prediction"], written["without_reference"]) == (["p1"], ["stranger"])
    assert list(written["left_out"]) == ["p3"]
    assert "(12, 8, 7)" in written["left_out"]["p3"]


def test_two_folders_are_compared_case_by_case(tmp_path: Path, ddmkit: Run) -> None:
    names = livers(tmp_path, 7)
    answered(tmp_path / "a", **dict.fromkeys(names, (2, 7)))
    answered(tmp_path / "b", **dict.fromkeys(names[:-1], (2, 6)), p6=(2, 7))
    written = scored(tmp_path, ddmkit, "--against", "b")
    against = written["against"]
    assert written["summary"]["liver"]["dice_mean"] == 1
    assert [score["dice"] for score in against["cases"]] == pytest.approx([8 / 9] * 6 + [1])
    differences = against["differences"]["liver"]
    mean, p = 6 / 7 / 9, 2 / 2**6  # of all signs of six equal differences, two are as extreme
    assert differences["n"] == 7
    low, high = differences["dice"].pop("interval")
    assert differences["dice"] == pytest.approx({"mean": mean, "p": p, "better": 6, "equal": 1, "worse": 0})
    assert 0 <= low < mean < high <= 1 / 9 + 1e-9
    assert (differences["hd95"]["better"], differences["hd95"]["mean"]) == (6, pytest.approx(-6 / 7))
    assert {"difference", "p", "better"} <= written["definition"].keys()


def test_each_folder_is_read_by_what_its_own_numbers_mean(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 2)
    for name in ("p0", "p1"):
        save(tmp_path / f"a/{name}.nii", (2, 7), label=5)
        save(tmp_path / f"b/{name}.nii", (2, 7), label=9)
    labels = ["--labels", "5=liver", "--against", "b"]
    refused(ddmkit("evaluate", "a", "--reference", "data", *labels), 1, "Scoring b: ", "9")
    difference = scored(tmp_path, ddmkit, *labels, "--against-labels", "9=liver")["against"]["differences"]["liver"][
        "dice"
    ]
    assert difference == {"mean": 0, "interval": [0, 0], "p": None, "better": 0, "equal": 2, "worse": 0}


def test_cases_of_one_folder_only_are_named_and_left_out_only_if_asked(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 4)
    answered(tmp_path / "a", p0=(2, 7), p1=(2, 7), p2=(2, 7))
    answered(tmp_path / "b", p1=(2, 6), p2=(2, 5), p3=(2, 7))
    save(tmp_path / "b/p2.nii", (2, 7), shape=(12, 8, 7))
    asked = ("evaluate", "a", "--reference", "data", "--against", "b")
    refused(ddmkit(*asked), 1, "2 of 4 cases", "p0 (answered in a only)", "p3 (answered in b only)", "--skip-bad")
    result = ddmkit(*asked, "--skip-bad")
    for words in ("left out p0: answered in a only", "left out p3: answered in b only", "left out p2: Scoring b: "):
        assert f"warning: {words}" in result.stderr
    written = scored(tmp_path, ddmkit, "--against", "b", "--skip-bad")
    sides = (written, written["against"])
    assert [[score["case"] for score in side["cases"]] for side in sides] == [["p1"], ["p1"]]
    assert [list(side["left_out"]) for side in sides] == [["p0", "p2"], ["p3", "p2"]]
    assert written["against"]["differences"]["liver"]["n"] == 1


def test_folders_without_a_case_in_common_are_refused(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 2)
    answered(tmp_path / "a", p0=(2, 7))
    answered(tmp_path / "b", p1=(2, 7))
    asked = ("evaluate", "a", "--reference", "data", "--against", "b", "--skip-bad")
    refused(ddmkit(*asked), 1, "no case in common", "p0", "p1")


@pytest.mark.parametrize("more", [[], ["--against", "b"]])
def test_a_picture_of_the_scores_is_drawn(tmp_path: Path, ddmkit: Run, more: list[str]) -> None:
    livers(tmp_path, 2)
    answered(tmp_path / "a", p0=(2, 7), p1=(3, 7))
    answered(tmp_path / "b", p0=(2, 6), p1=(9, 11))
    scored(tmp_path, ddmkit, "--picture", "scores.png", *more)
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
