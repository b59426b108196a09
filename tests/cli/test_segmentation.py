"""Any organ in any images, of any shape: trained from, sampled and scored as the README says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np

from tests.cli.layouts import SHAPE, patient, save
from tests.cli.program import ONE_STEP, Run, image, refused

HALVES = [option for option in ONE_STEP if "patch.sides" not in option]
"""Windows of half the sides, whatever those are."""
NAMES = ("anna", "bela", "carlo", "dora", "emil")
DESCRIPTION = """
images:
  CT: "{case}/ct.nii.gz"
reference: "{case}/organs.nii.gz"
labels: {1: Liver, 2: lesion}
"""


def organs(number: int) -> np.ndarray:
    """Return the labels of a case: 1 for the liver, 2 for a lesion in it; every case has another shape."""
    classes = patient(number).classes[: SHAPE[0] - number]
    labels: np.ndarray = np.array([0, 2, 1, 2], dtype=np.uint8)[classes]
    return labels


def write(root: Path) -> None:
    """Write CT of five cases, the last without a reference."""
    root.mkdir()
    (root / "ddmkit.yaml").write_text(DESCRIPTION)
    for number, name in enumerate(NAMES):
        save(root / name / "ct.nii.gz", patient(number).images["t1"][: SHAPE[0] - number] * 10 - 1000)
        if name != NAMES[-1]:
            save(root / name / "organs.nii.gz", organs(number))


def dice(scores: Path) -> dict[str, float]:
    summary = json.loads(scores.read_text())["summary"]
    return {region: row["dice_mean"] for region, row in summary.items()}


def test_the_readmes_segmentation_learns_from_cases_of_different_shapes_and_is_scored_as_it_was_sampled(
    ddmkit: Run, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    task = ["--task", "segmentation", "-otask.images=CT", "-otask.classes=Liver,lesion"]
    trained = ddmkit("train", "--data", "data", "--run", "run", *task, *HALVES)
    assert trained.returncode == 0, trained.stderr
    assert "type -o patch.sides=" in trained.stderr.replace("\n", " ").replace("         ", "")

    refused(ddmkit("sample", "run", "--input", "data", "--out", "data"), 2, "--out data is where the data lie")
    unlabelled = ddmkit("sample", "run", "--input", "data", "--cases", NAMES[-1], "--out", "answers")
    assert unlabelled.returncode == 0, unlabelled.stderr
    assert "Next:" not in unlabelled.stdout
    sampled = ddmkit("sample", "run", "--input", "data", "--cases", NAMES[0], "--out", "answers")
    assert sampled.returncode == 0, sampled.stderr
    assert sampled.stdout.endswith("Next: ddmkit evaluate answers --reference data\n")

    # Its own means and variances are no predictions, also of cases that are not there.
    references = tmp_path / "references"
    references.mkdir()
    (references / "ddmkit.yaml").write_text(DESCRIPTION)
    (references / NAMES[0]).symlink_to(tmp_path / "data" / NAMES[0])
    evaluated = ddmkit("evaluate", "answers", "--reference", "references", "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert dice(tmp_path / "scores.json").keys() == {"liver", "lesion"}
    assert f"1 predictions in answers have no reference and are not scored: {NAMES[-1]}" in evaluated.stderr
    chosen = ddmkit("evaluate", "answers", "--reference", "data", "-o", "task.classes=Lesion", "--json", "one.json")
    assert chosen.returncode == 0, chosen.stderr
    assert dice(tmp_path / "one.json").keys() == {"lesion"}


def test_another_programs_predictions_are_scored_by_what_both_sides_name(ddmkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "data")
    for number, name in enumerate(NAMES[:-1]):
        same, other = organs(number), np.array([0, 5, 9], dtype=np.uint8)[organs(number)]
        save(tmp_path / f"same/{name}.nii.gz", same)
        save(tmp_path / f"other/{name}.nii.gz", other)
    evaluated = ddmkit("evaluate", "same", "--reference", "data", "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "No --task is given: scored by the task 'segmentation' (liver, lesion)." in evaluated.stderr
    assert dice(tmp_path / "scores.json") == {"liver": 1, "lesion": 1}
    assert json.loads((tmp_path / "scores.json").read_text())["task"]["classes"] == ["liver", "lesion"]

    refused(ddmkit("evaluate", "other", "--reference", "data"), 1, "without a meaning: 5", "as in --labels 1=liver")
    numbers = ["--labels", "5=Liver,9=lesion"]
    evaluated = ddmkit("evaluate", "other", "--reference", "data", *numbers, "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert dice(tmp_path / "scores.json") == {"liver": 1, "lesion": 1}
    lesion = ["--task", "segmentation", "-otask.classes=lesion"]
    evaluated = ddmkit("evaluate", "other", "--reference", "data", *numbers, *lesion, "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert dice(tmp_path / "scores.json") == {"lesion": 1}
    strange = ddmkit("evaluate", "other", "--reference", "data", "-obackbone.width=3")
    refused(strange, 2, "only the settings of dataset, task, scoring may change")


def test_what_to_type_next_keeps_what_was_typed_of_the_layout(ddmkit: Run, tmp_path: Path) -> None:
    write(tmp_path / "data")
    (tmp_path / "data/ddmkit.yaml").rename(tmp_path / "mine.yaml")
    described = ["--dataset", "folders", "-o", "dataset.description=mine.yaml"]
    task = ["--task", "segmentation", "-otask.images=ct", "-otask.classes=liver,lesion"]
    ct = tmp_path / f"data/{NAMES[1]}/ct.nii.gz"
    whole = ct.read_bytes()
    ct.write_bytes(whole[:-20])
    check = "ddmkit check {} --dataset folders -o dataset.description=mine.yaml shows what each case has"
    training = ["train", "--data", "data", "--run", "run", *described, *task, *HALVES]
    refused(ddmkit(*training), 1, check.format(shlex.quote(str(tmp_path / "data"))))
    other = [option.replace("task.images=ct", "task.images=CT,PET") for option in training]
    refused(ddmkit(*other), 1, "asks for images called pet", "they have ct", "-o task.images=ct")
    ct.write_bytes(whole)
    assert ddmkit(*training).returncode == 0
    sampled = ddmkit("sample", "run", "--input", "data", "--cases", NAMES[0], "--out", "answers")
    assert sampled.returncode == 0, sampled.stderr
    proposed = f"Next: ddmkit evaluate answers --reference data {shlex.join(described)}\n"
    assert sampled.stdout.endswith(proposed), sampled.stdout
    evaluated = ddmkit(*shlex.split(proposed)[2:])
    assert evaluated.returncode == 0, evaluated.stderr
    assert image(tmp_path / f"answers/{NAMES[0]}_seg.nii.gz").shape == SHAPE
