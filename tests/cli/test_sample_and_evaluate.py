"""`ddmkit sample` and `ddmkit evaluate`, as their users run them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np

from ddmkit import Registry, Sampler
from ddmkit.assembly import component
from tests.cli.program import affine, call, image, refused

Trained = tuple[Path, "subprocess.CompletedProcess[str]"]


def next_command(said: str) -> list[str]:
    """Return the arguments of the command that a command proposed."""
    line = next(line for line in said.splitlines() if line.startswith("Next: ddmkit "))
    return shlex.split(line.removeprefix("Next: ddmkit "))


def test_the_proposed_commands_lead_from_training_to_scores(trained: Trained) -> None:
    folder, result = trained
    sampled = call(folder, *next_command(result.stdout))
    assert sampled.returncode == 0, sampled.stderr
    evaluated = call(folder, *next_command(sampled.stdout), "--json", "scores.json")
    assert evaluated.returncode == 0, evaluated.stderr
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["summary"]["whole"]["n"] == 2
    assert {"dice_mean", "hd95_std", "surface_dice_interval", "missed"} <= set(scores["summary"]["whole"])
    assert set(scores["cases"][0]) == {"case", "region", "dice", "hd95", "surface_dice", "note"}
    assert {"dice", "hd95", "surface_dice", "both_empty", "one_empty"} <= set(scores["definition"])


def test_sampling_with_the_runs_seed_repeats_the_scores_of_training(trained: Trained) -> None:
    folder, _ = trained
    records = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    expected = {score["case"]: score["dice"] for score in records[-1]["scores"]}
    data = next((folder / "phantom").iterdir())
    assert (
        call(folder, "sample", "run", "--input", data, "--cases", ",".join(expected), "--out", "same").returncode == 0
    )
    assert call(folder, "evaluate", "same", "--reference", data, "--json", "same.json").returncode == 0
    found = {score["case"]: score["dice"] for score in json.loads((folder / "same.json").read_text())["cases"]}
    assert found == expected


def test_answers_lie_on_an_oblique_inputs_own_grid(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    case = min(next((folder / "phantom").iterdir()).iterdir())
    rotation = np.array([[0.9, -0.2, 0.1, 5], [0.3, 1.1, 0, -7], [0, 0.1, -0.8, 3], [0, 0, 0, 1]])
    target = tmp_path / "data" / case.name
    target.mkdir(parents=True)
    for path in case.glob("*.nii.gz"):
        array = np.asarray(image(path).dataobj)[1:, :, 2:]
        turned = nib.Nifti1Image(array, rotation)
        turned.set_qform(rotation, code=1)
        turned.set_sform(rotation, code=4)
        turned.header.set_xyzt_units("mm", "sec")
        nib.save(turned, target / path.name)
    result = call(folder, "sample", "run", "--input", tmp_path / "data", "--out", tmp_path / "out", "--ensemble", "2")
    assert result.returncode == 0, result.stderr
    path = next(target.glob("*_t1.nii.gz"))
    given = image(path)
    for suffix in ("seg", "mean", "var"):
        answer = tmp_path / "out" / f"{case.name}_{suffix}.nii.gz"
        made = image(answer)
        assert made.shape == given.shape
        assert np.array_equal(affine(answer), affine(path))
        for field in ("qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b", "qoffset_x", "pixdim"):
            assert np.array_equal(made.header[field], given.header[field]), field


def test_members_in_one_batch_or_one_by_one_give_the_same_answer(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    case = min(data.iterdir()).name
    for name, at_once in (("together", "3"), ("alone", "1")):
        options = ["--ensemble", "3", "-o", f"sampling.members_at_once={at_once}"]
        result = call(folder, "sample", "run", "--input", data, "--cases", case, "--out", tmp_path / name, *options)
        assert result.returncode == 0, result.stderr
    for suffix in ("mean", "var"):
        together, alone = (
            np.asarray(image(tmp_path / name / f"{case}_{suffix}.nii.gz").dataobj) for name in ("together", "alone")
        )
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_seed_decides_the_samples(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    case = min(data.iterdir()).name
    means = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        call(folder, "sample", "run", "--input", data, "--cases", case, "--out", tmp_path / name, "--seed", seed)
        means.append(np.asarray(image(tmp_path / name / f"{case}_mean.nii.gz").dataobj))
    assert np.array_equal(means[0], means[1])
    assert not np.array_equal(means[0], means[2])


def test_another_sampler_begins_with_its_own_defaults_and_the_runs_own_keeps_its_settings(
    trained: Trained, tmp_path: Path
) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    chosen = {
        ("--sampler", "ddpm", "--steps", "3"): {"name": "ddpm", **with_defaults("ddpm"), "steps": 3},
        ("--sampler", "heun", "-o", "sampler.steps=1"): {"name": "heun", **with_defaults("heun"), "steps": 1},
        ("--sampler", "ddim"): {"name": "ddim", **with_defaults("ddim"), "steps": 2},  # as TINY trained
    }
    for number, (typed, expected) in enumerate(chosen.items()):
        out = tmp_path / str(number)
        case = ["--input", str(data), "--cases", "BraTS20_Training_001", "--out", str(out)]
        result = call(folder, "sample", "run", *case, *typed)
        assert result.returncode == 0, result.stderr
        assert json.loads((out / "sample.json").read_text())["sampler"] == expected
    refused(call(folder, "sample", "run", "--input", data, "--out", tmp_path, "--sampler", "dddim"), 2, "'ddim'")


def with_defaults(name: str) -> dict[str, object]:
    """Return the settings that a sampler has where nobody says anything."""
    return component(Registry(), Sampler, name).model_dump(mode="json")


def test_the_cases_of_a_split_are_sampled_without_their_references(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    split = json.loads((folder / "run/split.json").read_text())
    data = tmp_path / "data"
    shutil.copytree(next((folder / "phantom").iterdir()), data)
    for mask in data.rglob("*_seg.nii.gz"):
        mask.write_bytes(b"no image")
    result = call(folder, "sample", "run", "--input", data, "--split", "test", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / "out/sample.json").read_text())
    assert {name: facts["split"] for name, facts in record["cases"].items()} == dict.fromkeys(split["test"], "test")


def test_evaluating_training_cases_or_not_all_cases_is_said(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    split = json.loads((folder / "run/split.json").read_text())
    data = next((folder / "phantom").iterdir())
    cases, out = f"{split['train'][0]},{split['test'][0]}", tmp_path / "out"
    assert call(folder, "sample", "run", "--input", data, "--cases", cases, "--out", out).returncode == 0
    (out / f"._{split['test'][0]}_seg.nii.gz").write_bytes(b"what another system leaves behind")
    result = call(folder, "evaluate", out, "--reference", data)
    assert result.returncode == 0, result.stderr
    assert "6 of 8 references have no prediction" in result.stderr
    assert f"1 of the 2 scored cases were training cases of the run: {split['train'][0]}." in result.stderr


def test_sampling_names_what_is_wrong(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    out = ["--out", str(tmp_path / "out")]
    refused(call(folder, "sample", "run", "--input", data, "--cases", "nobody", *out), 2, "'nobody'", "BraTS20")
    refused(call(folder, "sample", "nowhere", "--input", data, *out), 2, "nowhere is no run folder")
    refused(call(folder, "sample", "run", "--input", data, "--steps", "2000", *out), 2, "sampler.steps")
    refused(call(folder, "sample", "run", "--input", data, "--checkpoint", "7", *out), 1, "'7'", "step-00000006")
    refused(call(folder, "sample", "run", "--input", data, "-o", "backbone.width=8", *out), 2, "trained network")
    strange = ["-o", "engine.name=other"]
    refused(call(folder, "sample", "run", "--input", data, *strange, *out), 2, "No engine is named 'other'")
    both = ["--split", "test", "--cases", "nobody"]
    refused(call(folder, "sample", "run", "--input", data, *both, *out), 2, "--cases nobody", "--split test")


def test_a_checkpoint_of_another_configuration_is_refused(trained: Trained, tmp_path: Path) -> None:
    folder, _ = trained
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    configuration = (folder / "run/config.yaml").read_text()
    assert "width: 4" in configuration
    (other / "config.yaml").write_text(configuration.replace("width: 4", "width: 8"))
    for path in (folder / "run/checkpoints").rglob("*"):
        target = other / "checkpoints" / path.relative_to(folder / "run/checkpoints")
        target.parent.mkdir(exist_ok=True)
        if path.is_file():
            target.write_bytes(path.read_bytes())
    data = next((folder / "phantom").iterdir())
    result = call(folder, "sample", other, "--input", data, "--out", tmp_path / "out")
    refused(result, 1, "another configuration", "config.yaml")
