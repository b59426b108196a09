"""Runs in two processes through the real command line: trained, killed, gone on with, sampled and scored."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.cli.program import PROGRAM, environment, fork, image, refused, tiny_job

TWO = ["--engine", "deepspeed", "-oengine.device=cpu", "-oengine.devices=2"]
STAGES = [*TWO, "-oengine.stages=2"]


def call(
    folder: Path, *arguments: str | Path, kill: Mapping[str, str | int] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ddmkit in `folder`, as a fork of a process that has DeepSpeed; the processes that it begins are real ones."""
    return fork("ddmkit", folder, *arguments, imports=["deepspeed"], kill=kill)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with six steps by one process ("single"), and three through two stages ("stages")."""
    folder = tmp_path_factory.mktemp("deepspeed")
    for run, more in (("single", []), ("stages", [*STAGES, "-otraining.steps=3"])):
        done = call(folder, *tiny_job(run, *more))
        assert done.returncode == 0, done.stderr
    return folder


def losses(run: Path) -> list[float]:
    records = map(json.loads, (run / "metrics.jsonl").read_text("utf-8").splitlines())
    return [record["loss"] for record in records if record["kind"] == "step"]


def workers(run: Path) -> list[int]:
    """Return the processes that write into a run's logs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd" / "1").readlink().parent == run / "logs":
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_until_gone(run: Path) -> None:
    deadline = time.monotonic() + 30
    while workers(run):
        assert time.monotonic() < deadline, "processes go on that nobody works with"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "more",
    [["-oengine.stages=1", "-oengine.zero=2"], ["--engine", "single"]],
    ids=["data parallel", "single"],
)
def test_a_run_goes_on_with_another_engine_or_split(folder: Path, more: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "stages", run)
    done = call(folder, "train", "--resume", run, "-otraining.steps=6", *more)
    assert done.returncode == 0, done.stderr
    assert "Process" not in done.stderr
    back = "to go back, type --engine deepspeed -o engine.devices=2 -o engine.stages=2."
    assert (back in done.stderr) == ("single" in more)
    assert losses(run) == pytest.approx(losses(folder / "single"), rel=1e-5)
    files = [f"checkpoints/step-00000006/{name}.safetensors" for name in ("model", "training")]
    for found, expected in ((load_file(run / file), load_file(folder / "single" / file)) for file in files):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].shape == tensor.shape
            assert float((found[name] - tensor).abs().max()) <= 1e-4 * float(tensor.abs().max()) + 1e-9


def test_the_run_folder_looks_as_with_one_process(folder: Path) -> None:
    alone, shared = ({path.name for path in (folder / run).iterdir()} for run in ("single", "stages"))
    assert shared == alone | {"logs"}
    assert [path.name for path in (folder / "stages" / "logs").iterdir()] == ["process-1.log"]
    assert not (folder / "stages" / "logs" / "process-1.log").read_text("utf-8")


def test_a_killed_process_ends_the_run_and_nothing_is_lost(folder: Path) -> None:
    run = folder / "killed"
    job: list[str | Path] = [
        PROGRAM,
        *tiny_job("killed", *STAGES, "-oengine.cuts=5", "-otraining.steps=1000000", "-ovalidation.every=1000000"),
    ]
    with subprocess.Popen(job, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True) as started:
        while not (run / "checkpoints" / "last").is_file():
            assert started.poll() is None
            time.sleep(0.05)
        (worker,) = workers(run)
        os.kill(worker, signal.SIGKILL)
        said = started.communicate(timeout=60)[1]
    refused(subprocess.CompletedProcess(job, started.returncode, "", said), 1, "Process 1 of 2", "SIGKILL", "--resume")
    wait_until_gone(run)
    step = int((run / "checkpoints" / "last").read_text("utf-8").strip().removeprefix("step-"))
    more = ["--engine", "single", f"-otraining.steps={step + 2}", "-ovalidation.test=false"]
    done = call(folder, "train", "--resume", run, *more)
    assert done.returncode == 0, done.stderr
    assert len(losses(run)) == step + 2


def stopped(folder: Path, run: str, number: int) -> subprocess.CompletedProcess[str]:
    """Return how a run ended whose first process got a signal once it had begun."""
    job = tiny_job(run, *TWO, "-otraining.steps=1000000", "-ovalidation.every=1000000")
    ended = call(folder, *job, kill={"file": str(folder / run / "metrics.jsonl"), "lines": 1, "number": number})
    assert (folder / run / "logs" / "process-1.log").is_file()
    wait_until_gone(folder / run)
    return ended


def test_the_others_end_where_the_first_process_is_killed(folder: Path) -> None:
    assert stopped(folder, "headless", signal.SIGKILL).returncode == -signal.SIGKILL


def test_ctrl_c_saves_the_step_and_ends_all_processes(folder: Path) -> None:
    ended = stopped(folder, "stopped", signal.SIGINT)
    assert ended.returncode == 1
    assert "which is saved. Go on with: ddmkit train --resume stopped" in ended.stderr


def test_answers_through_stages_are_those_of_one_process(folder: Path) -> None:
    (data,) = (folder / "phantom").iterdir()
    for out, more in (("in-stages", []), ("alone", ["--engine", "single"])):
        sampled = call(folder, "sample", "stages", "--input", data, "--split", "test", "--out", out, *more)
        assert sampled.returncode == 0, sampled.stderr
    means = sorted((folder / "alone").glob("*_mean.nii.gz"))
    assert means
    for mean in means:
        found, expected = (np.asarray(image(path).dataobj) for path in (folder / "in-stages" / mean.name, mean))
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    scored = call(folder, "evaluate", "in-stages", "--reference", data, "--json", "scores.json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads((folder / "scores.json").read_text("utf-8"))["cases"]


def test_a_launcher_s_processes_work_on_one_run(folder: Path) -> None:
    job = tiny_job("joined", "--engine", "deepspeed", "-oengine.device=cpu", "-otraining.steps=3")
    done = fork("torchrun", folder, "--standalone", "--nproc-per-node", "2", "-m", "--", "ddmkit_cli", *job)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Pictures: ") == 1
    assert done.stderr.count("cases to train on") == 1
    assert losses(folder / "joined") == pytest.approx(losses(folder / "single")[:3], rel=1e-5)
    assert [path.name for path in (folder / "joined" / "logs").iterdir()] == ["process-1.log"]


def test_a_launcher_of_one_process_s_engine_is_answered_with_the_engine_for_several(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(call(folder, *tiny_job("twice")), 2, "add --engine deepspeed")
    assert not (folder / "twice").exists()


def test_a_setting_of_the_other_engine_is_answered_with_its_name(folder: Path) -> None:
    refused(call(folder, *tiny_job("twice", "-oengine.stages=2")), 2, "is one of deepspeed: add --engine deepspeed")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-otraining.batch_size=3"], ["training.batch_size=3", "2 rows", "training.batch_size=2 or 4"]),
        (["-oengine.stages=3"], ["devices=2 is no multiple of stages=3"]),
        (["-oengine.stages=2", "-oengine.cuts=99"], ["too few for engine.cuts=99: name lower ones"]),
        (["-oengine.stages=2", "-oengine.cuts=foo"], ["engine.cuts='foo': it should be a list, which is typed a,b,c"]),
        (["-oengine.config=ds.json"], ["gradient_clipping=0.5", "training.gradient_clip, which is 1.0"]),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_begun(
    folder: Path, more: list[str], words: list[str]
) -> None:
    (folder / "ds.json").write_text('{"gradient_clipping": 0.5}', encoding="utf-8")
    refused(call(folder, *tiny_job("refused", *TWO, "-otraining.gradient_clip=1.0", *more)), 2, *words)
    assert not (folder / "refused").exists()
