"""`ddmkit train`, as its users run it."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from tests.cli.program import PROGRAM, TINY, Run, call, call_program, environment, kill_after, refused, tiny_job

Said = subprocess.CompletedProcess[str]


def weights(run: Path) -> bytes:
    """Return a run's last weights, averaged and raw, and the optimizer's moments, as they lie on disk."""
    last = run / "checkpoints" / (run / "checkpoints/last").read_text().strip()
    return (last / "model.safetensors").read_bytes() + (last / "training.safetensors").read_bytes()


def losses(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [(record["step"], record["loss"]) for record in records if record["kind"] == "step"]
    assert len(steps) == len(dict(steps)), "a step is written twice"
    return dict(steps)


def test_the_main_job_says_what_it_uses_and_what_to_type_next(
    trained: tuple[Path, Said],
) -> None:
    _, result = trained
    assert "quick" in result.stderr
    assert "phantom" in result.stderr
    assert "HD95" in result.stdout
    assert "Next: ddmkit sample run --input phantom/" in result.stdout


def test_a_run_folder_holds_everything_about_the_run(trained: tuple[Path, Said]) -> None:
    run = trained[0] / "run"
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kinds = [record["kind"] for record in records]
    split = json.loads((run / "split.json").read_text())
    assert kinds == ["step"] * 3 + ["validation"] + ["step"] * 3 + ["validation", "test"]
    assert {name: len(cases) for name, cases in split.items()} == {"train": 4, "validation": 2, "test": 2}
    assert set(records[0]) >= {"step", "loss", "seconds", "peak_memory"}
    assert json.loads((run / "environment.json").read_text())["torch"]
    assert (run / "checkpoints/last").read_text() == "step-00000006\n"
    assert (run / "checkpoints" / (run / "checkpoints/best").read_text().strip() / "model.safetensors").is_file()
    assert {path.suffix for path in (run / "pictures").iterdir()} == {".png"}


def test_a_saved_configuration_reproduces_its_run_bit_for_bit(
    trained: tuple[Path, Said],
) -> None:
    """In a process begun by the console script itself, where the first was forked from one that had begun long ago."""
    folder, _ = trained
    result = call_program(folder, PROGRAM, "train", "--config", "run/config.yaml", "--run", "again")
    assert result.returncode == 0, result.stderr
    assert weights(folder / "again") == weights(folder / "run")
    assert losses(folder / "again") == losses(folder / "run")
    assert (folder / "again/config.yaml").read_text() == (folder / "run/config.yaml").read_text()


def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    """SIGKILL after growing numbers of lines, then resume, until it gets through: as if nothing had happened.

    The first kill comes before the first checkpoint.
    """
    longer = ["-otraining.steps=12", "-ovalidation.every=4", "-ovalidation.test=false"]
    assert call(tmp_path, *tiny_job("whole", *longer)).returncode == 0
    arguments = tiny_job("killed", *longer)
    for lines in (1, 5, 9):
        kill_after(lines, tmp_path / "killed/metrics.jsonl", tmp_path, *arguments)
        arguments = ["train", "--resume", "killed"]
    result = call(tmp_path, "train", "--resume", "killed")
    assert result.returncode == 0, result.stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert not list((tmp_path / "killed/checkpoints").glob(".*"))


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path, trained: tuple[Path, Said]) -> None:
    process = subprocess.Popen(
        [PROGRAM, *tiny_job("run", "-otraining.steps=5000", "-ovalidation.every=5000")],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "run/metrics.jsonl"
    while process.poll() is None and not (metrics.is_file() and metrics.read_text().count("\n") > 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    step = max(losses(tmp_path / "run"))
    assert process.returncode == 1
    assert f"Stopped after step {step}" in said
    assert "ddmkit train --resume run" in said
    assert "Traceback" not in said
    data = next((tmp_path / "phantom").iterdir())
    early = call(tmp_path, "sample", "run", "--input", data, "--cases", min(data.iterdir()).name, "--out", "early")
    assert early.returncode == 0, early.stderr
    assert "using the last one" in early.stderr
    result = call(tmp_path, "train", "--resume", "run", "--steps", str(step + 2), "-o", "validation.every=2")
    assert result.returncode == 0, result.stderr
    same = losses(trained[0] / "run")
    assert {number: loss for number, loss in losses(tmp_path / "run").items() if number in same}.keys() == same.keys()


def test_a_dry_run_on_brats2020_prints_the_whole_plan(tmp_path: Path, ddmkit: Run) -> None:
    image = nib.Nifti1Image(np.zeros((240, 240, 155), np.int16), np.diag([-1.0, -1, 1, 1]))
    nib.save(image, tmp_path / "zeros.nii.gz")
    for number in range(1, 11):
        name = f"BraTS20_Training_{number:03d}"
        (tmp_path / "data" / name).mkdir(parents=True)
        for kind in ("t1", "t1ce", "t2", "flair", "seg"):
            os.link(tmp_path / "zeros.nii.gz", tmp_path / "data" / name / f"{name}_{kind}.nii.gz")
    result = ddmkit("train", "--preset", "patchddm", "--data", "data", "--dry-run")
    assert result.returncode == 0, result.stderr
    for fact in (
        "train 8, validation 1, test 1",
        "240×240×155 (10 cases)",
        "256×256×256",
        "128×128×128",
        "24,260,299 parameters",
        "8 in (condition 4, encoding 3, x_t 1), 1 out",
    ):
        assert fact in result.stdout
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("preset", "prediction", "patch", "encoding", "channels"),
    [
        ("patchddm", "eps", "center", "coords", "8 in"),
        ("patchddm-nocoords", "eps", "center", "none", "5 in"),
        ("halfres", "eps", "half", "none", "5 in"),
        ("fullres", "eps", "full", "none", "5 in"),
    ],
)
def test_the_papers_presets_are_the_papers(
    preset: str,
    prediction: str,
    patch: str,
    encoding: str,
    channels: str,
    trained: tuple[Path, Said],
) -> None:
    data = next((trained[0] / "phantom").iterdir())
    result = call(trained[0], "train", "--preset", preset, "--data", data, "--dry-run")
    assert result.returncode == 0, result.stderr
    configuration = yaml.safe_load(result.stdout[result.stdout.index("\nseed:") :])
    assert channels in result.stdout
    assert configuration["diffusion"] == {"prediction": prediction, "weighting": "uniform"}
    assert configuration["patch"]["name"] == patch
    assert configuration["encoding"]["name"] == encoding
    assert configuration["schedule"] == {"name": "linear", "timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
    training = configuration["training"]
    assert (training["learning_rate"], training["batch_size"], training["ema"]) == (1e-5, 1, None)
    assert (training["betas"], training["weight_decay"]) == ([0.9, 0.999], 0.01)


def test_a_dry_run_says_what_it_can_of_data_that_are_still_to_be_made(tmp_path: Path, ddmkit: Run) -> None:
    result = ddmkit(*tiny_job("run"), "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "made when the run starts" in result.stdout
    assert "8 in (condition 4, encoding 3, x_t 1), 1 out" in result.stdout
    configuration = yaml.safe_load(result.stdout[result.stdout.index("\nseed:") :])
    assert (configuration["data"], configuration["dataset"]["count"]) == (None, 8)
    assert not list(tmp_path.iterdir())


def test_a_window_larger_than_the_volume_is_said_and_padded(trained: tuple[Path, Said]) -> None:
    result = call(trained[0], *tiny_job("other"), "-opatch.sides=32,16,16", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "larger than the volume" in result.stderr
    assert "32×24×16" in result.stdout
    assert "train 4, validation 2, test 2" in result.stdout


def test_validation_scores_are_printed_as_such_where_nothing_is_tested(tmp_path: Path, ddmkit: Run) -> None:
    """In a folder whose name looks like markup and needs quotes; two of the cases have no reference."""
    data = tmp_path / "my [bold] data"
    assert ddmkit("phantom", data.name, "--cases", "8", "--shape", "24,24,16").returncode == 0
    for case in sorted(data.iterdir())[:2]:
        next(case.glob("*_seg.nii.gz")).unlink()
    options = [option for option in TINY if "dataset." not in option]
    result = ddmkit("train", "--data", data.name, "--run", "a [red] run", *options, "-ovalidation.test=false")
    assert result.returncode == 0, result.stderr
    assert "(2 without reference left out)" in result.stderr
    assert "Run: a [red] run" in result.stderr
    assert "Validation cases, which chose the checkpoint" in result.stdout
    assert "never seen" not in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.startswith("Next: "))
    assert shlex.split(line)[1:6] == ["ddmkit", "sample", "a [red] run", "--input", str(data)]


def test_a_run_goes_on_with_data_that_were_moved(trained: tuple[Path, Said], tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "run", tmp_path / "run")
    shutil.copytree(next((trained[0] / "phantom").iterdir()), tmp_path / "moved")
    result = call(tmp_path, "train", "--resume", "run", "--data", "moved", "--steps", "7")
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"] == str(tmp_path / "moved")
    assert max(losses(tmp_path / "run")) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--backbone", "unet3d-av"],
            ["No backbone is named 'unet3d-av'", "Did you mean 'unet3d-avg'", "unet3d-concat"],
        ),
        (["--preset", "patchdm"], ["No preset is named 'patchdm'", "'patchddm'"]),
        (["-o", "backbone.widht=8"], ["backbone.widht is no setting", "Did you mean 'width'", "multipliers"]),
        (["-o", "backbone.width=-1"], ["backbone.width=-1", "greater than or equal to 2"]),
        (["-o", "training.learning_rate=fast"], ["training.learning_rate='fast'", "number"]),
        (["-o", "bakcbone.width=8"], ["there is no 'bakcbone' to set", "Did you mean 'backbone'"]),
        (["-o", "width=8"], ["KIND.FIELD=VALUE", "'width=8'"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        (["--preset", "patchddm"], ["--data PATH"]),
        (["--resume", "nowhere"], ["nowhere is no run folder"]),
        (["--resume", "nowhere", "--preset", "quick"], ["leave out --preset"]),
    ],
)
def test_a_wrong_command_line_is_answered_with_what_to_type(
    arguments: list[str], words: list[str], ddmkit: Run
) -> None:
    refused(ddmkit("train", *arguments), 2, *words)


def test_a_path_without_cases_says_what_was_looked_for(tmp_path: Path, ddmkit: Run) -> None:
    (tmp_path / "empty").mkdir()
    refused(ddmkit("train", "--data", "empty"), 1, "empty", "looks for", "flair", "ddmkit.yaml")
    refused(ddmkit("train", "--data", "nowhere"), 1, "nowhere")


def test_a_run_folder_in_use_is_refused(trained: tuple[Path, Said]) -> None:
    refused(call(trained[0], *tiny_job("run")), 2, "run is not empty", "--resume run")


def test_resuming_refuses_what_would_make_another_run(trained: tuple[Path, Said]) -> None:
    result = call(trained[0], "train", "--resume", "run", "-o", "backbone.width=8")
    refused(result, 2, "backbone.width=8", "training")
    refused(call(trained[0], "train", "--resume", "run", "-o", "engine.name=other"), 2, "No engine is named 'other'")


def test_a_missing_modality_is_named_with_its_case(tmp_path: Path, ddmkit: Run) -> None:
    ddmkit("phantom", "data", "--cases", "4", "--shape", "16,16,16")
    next((tmp_path / "data/BraTS20_Training_002").glob("*_t2.nii.gz")).unlink()
    refused(ddmkit("train", "--data", "data", *TINY[2:]), 1, "BraTS20_Training_002", "t2")


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path, ddmkit: Run) -> None:
    ddmkit("phantom", "data", "--cases", "4", "--shape", "16,16,16")
    broken = next((tmp_path / "data/BraTS20_Training_003").glob("*_flair.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:700])
    refused(ddmkit("train", "--data", "data", "--run", "run", *TINY[2:]), 1, "1 of 4 cases", broken.name, "--skip-bad")


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path, ddmkit: Run) -> None:
    result = ddmkit(
        *tiny_job("run"), "-otraining.learning_rate=1e30", "-otraining.warmup=0", "-otraining.checkpoint_every=1"
    )
    refused(result, 1, "at step", "checkpoint")
    last = tmp_path / "run/checkpoints" / (tmp_path / "run/checkpoints/last").read_text().strip()
    assert (last / "model.safetensors").is_file()


def test_a_full_disk_ends_in_one_sentence_and_whole_checkpoints(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: the same calls fail, with the same kind of error."""
    limited = ["bash", "-c", 'ulimit -f 100; exec "$0" "$@"', str(PROGRAM), *tiny_job("run", "-obackbone.width=16")]
    phantoms = call(tmp_path, *tiny_job("other", "-otraining.steps=1", "-ovalidation.test=false"))
    assert phantoms.returncode == 0, phantoms.stderr
    result = subprocess.run(
        limited, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False, timeout=60
    )
    refused(result, 1, "Cannot write")
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_an_engines_missing_device_is_said(ddmkit: Run) -> None:
    refused(ddmkit(*tiny_job("run"), "-oengine.device=cuda:99"), 1, "cuda:99", "engine.device=cpu")


def test_cases_that_came_since_change_nothing_in_a_run_that_goes_on(tmp_path: Path, ddmkit: Run) -> None:
    once = ["-ovalidation.every=6", "-ovalidation.test=false"]
    data = ["--data", "data", *[option for option in TINY if "dataset." not in option], *once]
    assert ddmkit("phantom", "data", "--cases", "8", "--shape", "24,24,16").returncode == 0
    assert ddmkit("train", *data, "--run", "whole").returncode == 0
    assert ddmkit("train", *data, "--run", "grown", "-otraining.steps=3").returncode == 0
    assert ddmkit("phantom", "data", "--cases", "12", "--shape", "24,24,16").returncode == 0
    result = ddmkit("train", "--resume", "grown", "--steps", "6")
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "grown/split.json").read_text()) == json.loads(
        (tmp_path / "whole/split.json").read_text()
    )
    shutil.rmtree(tmp_path / "data/BraTS20_Training_001")
    refused(ddmkit("train", "--resume", "grown", "--steps", "9"), 1, "BraTS20_Training_001", "put it back")


def test_a_finished_run_says_so_and_where_more_steps_take_the_learning_rate(ddmkit: Run, tmp_path: Path) -> None:
    once = ["-ovalidation.every=6", "-ovalidation.test=false"]
    assert ddmkit(*tiny_job("run", "-otraining.warmup=0", "-otraining.steps=4", *once)).returncode == 0
    again = ddmkit("train", "--resume", "run")
    assert "All 4 steps were done before" in again.stderr
    assert "type -o training.steps=8" in again.stderr
    more = ddmkit("train", "--resume", "run", "--steps", "5")
    assert more.returncode == 0, more.stderr
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = {record["step"]: record["learning_rate"] for record in records if record["kind"] == "step"}
    before, then = 2e-3 * (1 + math.cos(math.pi * 3 / 4)) / 2, 2e-3 * (1 + math.cos(math.pi * 3 / 5)) / 2
    assert rates[4] == pytest.approx(before)
    assert "training.decay=cosine spreads over 5 steps now, not 4" in more.stderr
    assert f"goes on from {then:.2g} and was {before:.2g}." in more.stderr


def test_what_is_set_by_o_comes_last(tmp_path: Path) -> None:
    planned = call(tmp_path, *tiny_job("run", "--steps", "7", "-o", "training.steps=5", "--dry-run"))
    assert (
        yaml.safe_load(planned.stdout.partition("seed:")[1] + planned.stdout.partition("seed:")[2])["training"]["steps"]
        == 5
    )
