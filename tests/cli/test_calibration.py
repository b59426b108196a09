"""`ddmkit calibrate`, `sample --calibration` and what `evaluate` says of maps, as their users run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.program import Run, affine, call, image, refused, tiny_job
from tests.cli.test_evaluate import answered, livers, scored

Said = subprocess.CompletedProcess[str]
Trained = tuple[Path, Said]
Arguments = list[str | Path]


def cases_of(folder: Path, split: str) -> list[str]:
    names: list[str] = json.loads((folder / "run/split.json").read_text())[split]
    return names


def data_of(folder: Path) -> Path:
    return next((folder / "phantom").iterdir())


def sampled(folder: Path, out: Path, split: str, *more: str | Path) -> Said:
    return call(folder, "sample", "run", "--input", data_of(folder), "--split", split, "--out", out, *more)


def volume(path: Path) -> np.ndarray:
    return np.asarray(image(path).dataobj)


def written(path: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads(path.read_text())


def write_drawn(data: Path, out: Path, case: str, power: float) -> None:
    """Draw a probability for each voxel and the reference by it, and say the probability raised to a power."""
    reference = data / case / f"{case}_seg.nii.gz"
    random = np.random.default_rng(int(case[-3:]))
    right = random.uniform(0, 1, volume(reference).shape)
    truth = (random.uniform(0, 1, right.shape) < right).astype(np.uint8)
    grid = affine(reference)
    nib.save(nib.Nifti1Image(truth, grid), reference)
    nib.save(nib.Nifti1Image((right**power).astype(np.float32), grid), out / f"{case}_mean.nii.gz")


@pytest.fixture(scope="module")
def calibrated(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Fit a calibration to validation cases and sample test cases with it: both folders, the first with the file."""
    folder, _ = trained
    kept, answers = tmp_path_factory.mktemp("kept"), tmp_path_factory.mktemp("answers")
    assert sampled(folder, kept, "validation", "--ensemble", "2").returncode == 0
    result = call(folder, "calibrate", kept, "--reference", data_of(folder), "--out", kept / "calibration.json")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    assert "other half" in " ".join(result.stdout.split())
    using = sampled(folder, answers, "test", "--ensemble", "2", "--calibration", kept / "calibration.json")
    assert using.returncode == 0, using.stderr
    return kept, answers


def test_calibrated_maps_are_the_curve_of_the_mean_on_the_inputs_own_grid(
    trained: Trained, calibrated: tuple[Path, Path]
) -> None:
    folder, _ = trained
    kept, answers = calibrated
    curve = written(kept / "calibration.json")["calibration"]["curves"]["whole"]
    for case in cases_of(folder, "test"):
        mean, prob = (answers / f"{case}_{what}.nii.gz" for what in ("mean", "prob"))
        expected = np.interp(volume(mean), curve["mean"], curve["probability"])
        np.testing.assert_allclose(volume(prob), expected, atol=1e-6)
        assert volume(prob).dtype == np.float32
        assert np.array_equal(affine(prob), affine(mean))
    record = written(answers / "sample.json")
    assert record["calibrated_on"] == cases_of(folder, "validation")


def test_evaluate_tells_the_error_of_both_maps_as_computed_by_hand(
    trained: Trained, calibrated: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, _ = trained
    _, answers = calibrated
    arguments: Arguments = ["--json", tmp_path / "scores.json", "--reliability", tmp_path / "reliability.png"]
    result = call(folder, "evaluate", answers, "--reference", data_of(folder), *arguments)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    scores = written(tmp_path / "scores.json")
    assert "have no reference" not in result.stderr
    maps: dict[str, list[np.ndarray]] = {"mean": [], "prob": [], "seg": []}
    for case in cases_of(folder, "test"):
        for what, found in maps.items():
            source = data_of(folder) / case if what == "seg" else answers
            found.append(volume(source / f"{case}_{what}.nii.gz").ravel())
    mean, prob, labels = (np.concatenate(found) for found in maps.values())
    counts = mean > 0.01
    for what, values in {"mean": mean, "prob": prob}.items():
        row = scores["calibration"][what]["whole"]
        probability, truth = values.clip(0, 1)[counts], (labels > 0)[counts]
        place = np.clip(np.ceil(probability * 15) - 1, 0, 14)
        gaps = [abs((probability - truth)[place == number].sum(dtype=float)) for number in range(15)]
        assert (row["cases"], row["voxels"]) == (2, counts.sum())
        assert row["ece"] == pytest.approx(sum(gaps) / counts.sum(), abs=1e-6)
        assert f"{row['ece']:.4f}" in result.stdout
    assert {"ece", "counted", "unseen"} <= scores["definition"].keys()


def test_means_that_are_distorted_are_repaired(trained: Trained, calibrated: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = trained
    kept, data = tmp_path / "kept", tmp_path / "data"
    shutil.copytree(calibrated[0], kept)
    shutil.copytree(data_of(folder), data)
    for case in cases_of(folder, "validation"):
        write_drawn(data, kept, case, power=3)
    result = call(folder, "calibrate", kept, "--reference", data, "--out", kept / "calibration.json")
    assert result.returncode == 0, result.stderr
    before, _, others = written(kept / "calibration.json")["reliability"]["whole"].values()
    assert before["ece_volume"] == pytest.approx(1 / 2 - 1 / 4, abs=0.02)  # the mean of p - p^3 over uniform p
    assert others["ece_volume"] < 0.03
    curve = written(kept / "calibration.json")["calibration"]["curves"]["whole"]
    means = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.interp(means, curve["mean"], curve["probability"]), np.cbrt(means), atol=0.06)


def test_a_calibration_of_other_answers_is_refused(
    trained: Trained, calibrated: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, _ = trained
    file = calibrated[0] / "calibration.json"
    using: Arguments = ["--calibration", file]
    out = tmp_path / "out"
    refused(sampled(folder, out, "test", "--ensemble", "3", *using), 2, "ensemble was 2, now 3", "ddmkit calibrate")
    refused(sampled(folder, out, "test", "--ensemble", "2", "--steps", "3", *using), 2, "sampler was")
    other: Arguments = ["--ensemble", "2", "--checkpoint", "last", *using]
    last = sampled(folder, out, "test", *other)
    best, newest = ((folder / "run/checkpoints" / name).read_text() for name in ("best", "last"))
    if best == newest:
        assert last.returncode == 0
    else:
        refused(last, 2, "weights was")
    refused(sampled(folder, out, "test", "--budget", "1m", *using), 2, "--budget 1m picks its own", "type --steps")
    refused(sampled(folder, out, "test", "--calibration", "nowhere.json"), 1, "nowhere.json", "No such file")
    assert "calibration was" in sampled(folder, calibrated[1], "test", "--ensemble", "2").stderr


def test_calibrating_on_cases_that_are_not_kept_for_it_is_said(
    trained: Trained, calibrated: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, _ = trained
    train = cases_of(folder, "train")[0]
    out, file = tmp_path / "out", tmp_path / "calibration.json"
    assert call(folder, "sample", "run", "--input", data_of(folder), "--cases", train, "--out", out).returncode == 0
    result = call(folder, "calibrate", out, "--reference", data_of(folder), "--out", file)
    assert result.returncode == 0, result.stderr
    assert f"1 of the 1 cases are train cases of the run: {train}" in result.stderr
    assert "a single case" in result.stderr
    again = tmp_path / "again"
    arguments: Arguments = ["--cases", train, "--calibration", file]
    assert call(folder, "sample", "run", "--input", data_of(folder), *arguments, "--out", again).returncode == 0
    scores = call(folder, "evaluate", again, "--reference", data_of(folder))
    assert f"the calibration was fitted to 1 of the 1 cases whose maps are counted: {train}" in scores.stderr
    tested = call(folder, "calibrate", calibrated[1], "--reference", data_of(folder), "--out", tmp_path / "t.json")
    assert "2 of the 2 cases are test cases of the run" in tested.stderr


def test_maps_that_cannot_be_counted_are_left_out_and_named(
    trained: Trained, calibrated: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, _ = trained
    answers = tmp_path / "answers"
    shutil.copytree(calibrated[1], answers)
    missing, kept = cases_of(folder, "test")
    (answers / f"{missing}_mean.nii.gz").unlink()
    asked: Arguments = ["--reference", data_of(folder)]
    result = call(folder, "evaluate", answers, *asked, "--json", tmp_path / "scores.json")
    assert result.returncode == 0, result.stderr
    assert f"the maps of {missing} in {answers} are not counted: has no mean map beside it" in result.stderr
    scores = written(tmp_path / "scores.json")
    assert scores["summary"]["whole"]["n"] == 2
    assert scores["calibration"]["mean"]["whole"]["cases"] == 1
    assert list(scores["calibration"]["left_out"]) == [missing]
    fitting: Arguments = ["calibrate", answers, *asked, "--out", tmp_path / "calibration.json"]
    refused(call(folder, *fitting), 1, missing, "no mean map", "--skip-bad")
    assert call(folder, *fitting, "--skip-bad").returncode == 0
    assert written(tmp_path / "calibration.json")["calibration"]["cases"] == [kept]


def test_nothing_is_said_of_maps_where_another_program_predicted(tmp_path: Path, ddmkit: Run) -> None:
    livers(tmp_path, 1)
    answered(tmp_path / "a", p0=(2, 7))
    assert "calibration" not in scored(tmp_path, ddmkit)
    drawing = ddmkit("evaluate", "a", "--reference", "data", "--reliability", "reliability.png")
    refused(drawing, 1, "a holds no mean maps to draw", "--reliability reliability.png")
    refused(ddmkit("calibrate", "a", "--reference", "data", "--out", "c.json"), 1, "a has no sample.json")
    refused(ddmkit("calibrate", "a", "--reference", "data", "--out", "c.json", "-otask.x=1"), 2, "of the layout")


def test_each_channel_has_a_curve_and_a_map_of_its_own(tmp_path: Path, ddmkit: Run) -> None:
    regions = ["-otask.output=regions", "-otraining.steps=1", "-ovalidation.test=false"]
    assert ddmkit(*tiny_job("run", *regions)).returncode == 0
    assert sampled(tmp_path, tmp_path / "kept", "validation").returncode == 0
    data = data_of(tmp_path)
    fitted = ddmkit("calibrate", "kept", "--reference", data, "--out", "calibration.json")
    assert fitted.returncode == 0, fitted.stderr
    assert sampled(tmp_path, tmp_path / "answers", "test", "--calibration", "calibration.json").returncode == 0
    case = cases_of(tmp_path, "test")[0]
    curves = written(tmp_path / "calibration.json")["calibration"]["curves"]
    assert list(curves) == ["whole", "core", "enhancing"]
    for channel, curve in curves.items():
        mean, prob = (volume(tmp_path / f"answers/{case}_{what}_{channel}.nii.gz") for what in ("mean", "prob"))
        np.testing.assert_allclose(prob, np.interp(mean, curve["mean"], curve["probability"]), atol=1e-6)
    scores = ddmkit("evaluate", "answers", "--reference", data, "--json", "scores.json")
    assert scores.returncode == 0, scores.stderr
    assert list(written(tmp_path / "scores.json")["calibration"]["prob"]) == ["whole", "core", "enhancing"]
