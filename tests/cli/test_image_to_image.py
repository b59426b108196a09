"""A plugin's task makes one image from another: it learns, samples where the target is missing, is judged by case."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddmkit import Registry
from ddmkit.normalisation import foreground, normalise
from ddmkit_cli.kit import write
from tests.cli.program import TINY, call, image, refused
from tests.installing import install

TASK = "t2-from-t1"
FIRST, SECOND, THIRD = (f"BraTS20_Training_{number:03}" for number in (1, 2, 3))


class Program:
    """ddmkit in a folder, with the package that `ddmkit plugins new --kind volume-task` writes installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{self.folder / 'site'}:{self.folder / 'package' / 'src'}")
            return call(self.folder, *arguments)

    def done(self, *arguments: str | Path) -> str:
        result = self(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Train the task for a few steps, and sample three cases: the first two without their T2 image."""
    made = Program(tmp_path_factory.mktemp("translation"))
    write(made.folder / "package", "volume-task", TASK, Registry())
    install(made.folder / "site", f"ddmkit-{TASK}", "from ddmkit_t2_from_t1 import *", module="translation")
    made.done("train", "--task", TASK, *TINY, "--run", "run")
    made.done("phantom", "new", "--cases", "3", "--shape", "24,24,16", "--seed", "5")
    for case in (FIRST, SECOND):
        next((made.folder / "new").rglob(f"{case}_t2.nii.gz")).rename(made.folder / f"{case}_t2.nii.gz")
    made.done("sample", "run", "--input", "new", "--out", "made", "--ensemble", "2")
    return made


def test_each_validation_is_told_by_the_tasks_own_figures(program: Program) -> None:
    lines = [json.loads(line) for line in (program.folder / "run/metrics.jsonl").read_text().splitlines()]
    validations = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in validations] == [3, 6]
    for line in validations:
        assert {"n", "psnr_mean", "psnr_std", "psnr_interval", "mae_mean"} <= set(line["summary"]["all"])
        assert line["summary"]["all"]["n"] == 2
    best = max(validations, key=lambda line: float(line["summary"]["all"]["psnr_mean"]))
    assert (program.folder / "run/checkpoints/best").read_text().strip() == f"step-{best['step']:08}"


def test_cases_without_their_target_are_sampled_as_those_with_it(program: Program) -> None:
    files = {path.name for path in (program.folder / "made").glob("*.nii.gz")}
    cases = (FIRST, SECOND, THIRD)
    assert files == {f"{case}_member-00{number}.nii.gz" for case in cases for number in (1, 2)}
    program.done("phantom", "whole", "--cases", "3", "--shape", "24,24,16", "--seed", "5")
    program.done("sample", "run", "--input", "whole", "--out", "known", "--ensemble", "2")
    for name in files:
        one, other = (np.asarray(image(program.folder / folder / name).dataobj) for folder in ("made", "known"))
        np.testing.assert_array_equal(one, other)


def test_what_was_made_is_judged_against_the_real_image_of_its_case(program: Program) -> None:
    result = program("evaluate", "made", "--reference", "new", "--json", "refused.json")
    refused(result, 1, f"2 of 3 cases cannot be used. {FIRST}: Case {FIRST} lacks {FIRST}_t2.nii.gz", "--skip-bad")
    said = program.done("evaluate", "made", "--reference", "new", "--skip-bad", "--json", "figures.json")
    found = json.loads((program.folder / "figures.json").read_text())
    assert [case["case"] for case in found["cases"]] == [THIRD]
    expected = by_hand(program.folder, THIRD)
    assert found["cases"][0] == {"case": THIRD, **expected}
    row = found["summary"]["all"]
    assert (row["n"], row["psnr_mean"], row["psnr_interval"]) == (1, expected["psnr"], None)
    assert set(found["left_out"]) == {FIRST, SECOND}
    assert f"{expected['psnr'].expected:.2f}" in said
    assert " region " not in said  # which answers of labels have


def by_hand(folder: Path, case: str) -> dict[str, Any]:
    """Return PSNR and mean absolute error of a case's two members, as numpy has them, from the files."""
    path = next((folder / "new").rglob(f"{case}_t2.nii.gz"))
    read = np.asarray(image(path).dataobj, dtype=np.float32)
    real = normalise(read, foreground(read), (1.0, 99.0))
    members = [np.asarray(image(folder / "made" / f"{case}_member-00{n}.nii.gz").dataobj) for n in (1, 2)]
    psnr = np.mean([-10 * np.log10(np.mean((member - real) ** 2)) for member in members])
    mae = np.mean([np.mean(np.abs(member - real)) for member in members])
    return {"psnr": pytest.approx(float(psnr), rel=1e-4), "mae": pytest.approx(float(mae), rel=1e-4)}


def test_volumes_of_other_cases_are_named_and_those_of_none_refused(program: Program) -> None:
    program.done("phantom", "others", "--cases", "1", "--shape", "24,24,16", "--seed", "5")
    some = program("evaluate", "made", "--reference", "others", "--json", "some.json")
    assert some.returncode == 0, some.stderr
    assert "4 volumes in made are of no case under others and are not compared" in some.stderr
    (program.folder / "strange").mkdir()
    for path in (program.folder / "made").glob(f"{FIRST}*"):
        (program.folder / "strange" / path.name.replace(FIRST, "nobody")).write_bytes(path.read_bytes())
    nothing = program("evaluate", "strange", "--reference", "others", "--task", TASK)
    refused(nothing, 1, "strange holds no volume of a case under others: its files are named after nobody")


def test_a_case_without_its_source_is_refused_by_name(program: Program) -> None:
    program.done("phantom", "sourceless", "--cases", "2", "--shape", "24,24,16", "--seed", "6")
    next((program.folder / "sourceless").rglob(f"{FIRST}_t1.nii.gz")).unlink()
    result = program("sample", "run", "--input", "sourceless", "--out", "never")
    refused(result, 1, f"1 of 2 cases cannot be used. {FIRST}: Case {FIRST} lacks {FIRST}_t1.nii.gz")


def test_where_no_volume_can_be_compared_going_on_without_ends_in_its_fault(program: Program) -> None:
    (program.folder / "torn").mkdir()
    for number in (1, 2):
        (program.folder / f"torn/{THIRD}_member-00{number}.nii.gz").write_bytes(b"torn")
    result = program("evaluate", "torn", "--reference", "new", "--task", TASK, "--skip-bad", "--json", "torn.json")
    refused(result, 1, f"{THIRD}_member-002.nii.gz")
    assert f"warning: left out {THIRD}_member-001" in result.stderr
    assert not (program.folder / "torn.json").exists()
