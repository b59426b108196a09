"""Every layout is trained from, sampled and evaluated through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.layouts import AFFINE, CLASSES, LAYOUTS, SHAPE, patient, save, write
from tests.cli.program import ONE_STEP, Run, affine, image, refused


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_told_by_looking_trained_from_sampled_and_evaluated(
    layout: str, ddmkit: Run, tmp_path: Path
) -> None:
    chosen = write(layout, tmp_path / "data")
    trained = ddmkit("train", "--data", "data", "--run", "run", *ONE_STEP, "-otask.output=classes")
    assert trained.returncode == 0, trained.stderr
    assert f"name: {layout}" in (tmp_path / "run/config.yaml").read_text()

    sampled = ddmkit("sample", "run", "--input", "data", "--cases", chosen.names[0], "--out", "answers")
    assert sampled.returncode == 0, sampled.stderr
    path = tmp_path / f"answers/{chosen.names[0]}_seg.nii.gz"
    answer = image(path)
    assert answer.shape == SHAPE
    assert np.allclose(affine(path), AFFINE, atol=1e-5)
    assert (int(answer.header["sform_code"]), int(answer.header["qform_code"])) == (2, 3)
    assert set(np.unique(np.asarray(answer.dataobj)).tolist()) <= {0, *chosen.numbers}
    meant = json.loads((tmp_path / "answers/sample.json").read_text())["cases"][chosen.names[0]]["answers"]
    necrotic, edema, enhancing = map(str, chosen.numbers)
    assert meant == {necrotic: "necrotic", edema: "edema", enhancing: "enhancing"}

    # What a perfect answer in the layout's own numbers scores is known.
    perfect = np.array([0, *chosen.numbers], np.uint8)[patient(0).classes]
    save(path, perfect)
    evaluated = ddmkit("evaluate", "answers", "--reference", "data", "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    summary = json.loads((tmp_path / "scores.json").read_text())["summary"]
    assert {region: row["dice_mean"] for region, row in summary.items()} == {"whole": 1, "core": 1, "enhancing": 1}


def test_every_layout_is_checked(ddmkit: Run, tmp_path: Path) -> None:
    for layout in LAYOUTS:
        chosen = write(layout, tmp_path / layout)
        checked = ddmkit("check", layout, "--json", "report.json")
        assert checked.returncode == 0, checked.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["dataset"] == layout
        first = report["cases"][0]
        assert (first["case"], first["shape"], first["axes"]) == (chosen.names[0], list(SHAPE), "RAS")
        assert sorted(first["modalities"]) == ["flair", "t1", "t1ce", "t2"]
        voxels = np.bincount(patient(0).classes.ravel()).tolist()
        found = {label["meaning"]: (*label["numbers"], label["voxels"]) for label in first["labels"]}
        assert found.pop("cavity", (4, 0)) == (4, 0)
        assert found == dict(zip(CLASSES[1:], zip(chosen.numbers, voxels[1:], strict=True), strict=True))


def test_a_folder_of_references_alone_is_checked_and_two_layouts_in_one_folder_are_told(
    ddmkit: Run, tmp_path: Path
) -> None:
    write("nnunet", tmp_path / "nnunet")
    checked = ddmkit("check", "nnunet/labelsTr")
    assert checked.returncode == 0, checked.stderr
    assert "2 necrotic" in checked.stdout
    write("brats", tmp_path / "mixed")
    write("brats2023", tmp_path / "mixed")
    refused(ddmkit("check", "mixed"), 1, "--dataset brats or --dataset brats2023")
    told = ddmkit("check", "mixed", "--dataset", "brats")
    assert "20 images under mixed belong to no case of the layout 'brats'" in " ".join(told.stderr.split())


def test_an_answer_in_the_numbers_of_2020_is_scored_against_a_reference_in_those_of_2023(
    ddmkit: Run, tmp_path: Path
) -> None:
    chosen = write("brats2023", tmp_path / "data")
    shifted = np.roll(patient(0).classes, 1, axis=0)
    save(tmp_path / f"answers/{chosen.names[0]}.nii.gz", np.array([0, 1, 2, 4], np.uint8)[shifted])
    save(tmp_path / f"same/{chosen.names[0]}.nii.gz", np.array([0, 1, 2, 3], np.uint8)[shifted])
    told = ddmkit("evaluate", "answers", "--reference", "data", "--labels", "brats", "--json", "a.json")
    assert told.returncode == 0, told.stderr
    assert ddmkit("evaluate", "same", "--reference", "data", "--json", "b.json").returncode == 0
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert one["cases"] == other["cases"]
    for region, members in {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}.items():
        found, truth = np.isin(shifted, members), np.isin(patient(0).classes, members)
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert one["summary"][region]["dice_mean"] == pytest.approx(dice)
    # Read as the reference's, 4 is the cavity left by a resection: nothing enhances.
    assert ddmkit("evaluate", "answers", "--reference", "data", "--json", "c.json").returncode == 0
    assert json.loads((tmp_path / "c.json").read_text())["summary"]["enhancing"]["missed"] == 1
    spelt = ddmkit("evaluate", "answers", "--reference", "data", "--labels", "1=NCR,2=Edema,4=ET", "--json", "d.json")
    assert spelt.returncode == 0, spelt.stderr
    assert json.loads((tmp_path / "d.json").read_text())["cases"] == one["cases"]
    for labels in ("nnunet", "1=necrotic,1=edema", "necrotic"):
        refused(ddmkit("evaluate", "answers", "--reference", "data", "--labels", labels), 2, labels)
    strange = ddmkit("evaluate", "answers", "--reference", "data", "--labels", "1=necrotic,2=bone,4=enhancing")
    assert "Counted as background" in strange.stderr
    assert "bone" in strange.stderr


def test_predictions_with_a_dataset_json_beside_them_are_read_by_what_it_says(ddmkit: Run, tmp_path: Path) -> None:
    """nnU-Net writes one into its output folder; its 1 and 2 are those of BraTS the other way round."""
    chosen = write("brats2023", tmp_path / "data")
    for number, name in enumerate(chosen.names):
        save(tmp_path / f"answers/{name}.nii.gz", np.array([0, 2, 1, 3], np.uint8)[patient(number).classes])
    labels = {"background": 0, "edema": 1, "necrotic": 2, "enhancing": 3}
    described = {"channel_names": {"0": "T1"}, "labels": labels, "file_ending": ".nii.gz", "numTraining": 4}
    (tmp_path / "answers/dataset.json").write_text(json.dumps(described))
    told = ddmkit("evaluate", "answers", "--reference", "data", "--json", "scores.json")
    assert told.returncode == 0, told.stderr
    summary = json.loads((tmp_path / "scores.json").read_text())["summary"]
    assert {region: row["dice_mean"] for region, row in summary.items()} == {"whole": 1, "core": 1, "enhancing": 1}
    save(tmp_path / f"answers/{chosen.names[0]}.nii", np.zeros(SHAPE, np.uint8))
    refused(ddmkit("evaluate", "answers", "--reference", "data"), 1, chosen.names[0], "both answer")
