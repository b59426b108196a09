"""`ddmkit plan`, as its users run it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cli.program import TINY, Run, refused

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Said = subprocess.CompletedProcess[str]

FOREIGN = "-oengine.device=cuda"
"""A device that may not be there, of which all that is said comes from shapes."""


def line_of(text: str) -> list[str]:
    """Return the words after `ddmkit` of the train line in what was said."""
    found = re.search(r"ddmkit (train .*?)\.?$", text, flags=re.MULTILINE)
    assert found is not None, text
    return shlex.split(found.group(1))


def test_the_paper_s_whole_volumes_are_trained_in_16_gb(ddmkit: Run) -> None:
    result = ddmkit(
        "plan", "--preset", "fullres", "--memory", "16GB", "-oengine.device=cuda", "-oengine.precision=bfloat16"
    )
    assert result.returncode == 0, result.stderr
    plain, slabs, recompute = (line for line in result.stdout.splitlines() if "256×256×256 │" in line)
    steps = [line.split("│")[4] for line in (plain, slabs, recompute)]
    assert ["✓" in step for step in steps] == [False, False, True]
    assert "57.5" in recompute  # TFLOP: 2.1 a forward at 128³, eight times as much at 256³, and there and back again
    assert line_of(result.stdout) == [
        "train", "--preset", "fullres", "--data", "DIR", "-o", "engine.device=cuda", "-o", "engine.precision=bfloat16",
        "-o", "engine.memory=16GB",
    ]  # fmt: skip


def test_what_is_too_little_names_the_least_and_its_line_trains_within_it(begun: Run, tmp_path: Path) -> None:
    small = [*TINY, "-oengine.device=cpu", "--seed", "5"]
    result = begun("plan", *small, "--memory", "20MB")
    refused(result, 2, "20MB of memory are too little for anything", "24×24×16", "ddmkit train")
    words = line_of(result.stderr)
    assert {"--seed", "5", "backbone.width=4"} < set(words)
    least = next(int(word.removeprefix("engine.memory=").removesuffix("MB")) for word in words if "memory=" in word)
    trained = begun(*words, "--run", "run")
    assert trained.returncode == 0, trained.stderr
    steps = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert max(step["peak_memory"] for step in steps if step["kind"] == "step") < 1.15e6 * least


def test_scripts_are_told_in_json_and_nothing_else(trained: tuple[Path, Said], ddmkit: Run) -> None:
    run = trained[0] / "run"
    result = ddmkit("plan", "--config", run, "--json", "--memory", "4GB", "--shape", "20,24,18", "-oengine.device=cpu")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["device"], found["memory"], found["shape"]) == ("cpu", 4 * 10**9, [20, 24, 18])
    assert found["changes"] == {}
    line = ["ddmkit", "train", "--config", str(run), "-o", "engine.device=cpu", "-o", "engine.memory=4GB"]
    assert shlex.split(found["command"]) == line
    steps = [candidate["step"] for candidate in found["candidates"] if candidate["step"]]
    assert [step["proposed"] for step in steps].count(True) == 1
    assert all(step["peak"] > 10**8 and step["operations"] > 10**8 and step["seconds"] > 0 for step in steps)


def test_a_plan_for_an_ensemble_that_decides_its_size_is_one_for_the_most_members(ddmkit: Run) -> None:
    common = ["plan", *TINY, FOREIGN, "--memory", "1GB"]
    auto = [*common, "-osampling.ensemble=auto", "-osampling.most=7"]
    result = ddmkit(*auto)
    assert result.returncode == 0, result.stderr
    assert "Both take up to 7 members." in " ".join(result.stdout.split())
    given = ddmkit(*common, "-osampling.ensemble=7", "--json")
    assert json.loads(ddmkit(*auto, "--json").stdout)["candidates"] == json.loads(given.stdout)["candidates"]


def test_a_gpu_that_is_not_here_is_planned_for_by_its_allocator_alone(ddmkit: Run) -> None:
    result = ddmkit("plan", *TINY, FOREIGN + ":9", "--memory", "1GB", "--json")
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    steps = [candidate["step"] for candidate in json.loads(result.stdout)["candidates"] if candidate["step"]]
    assert all(step["seconds"] is None and step["peak"] < 10**8 for step in steps)
    refused(ddmkit("plan", *TINY, FOREIGN + ":9"), 2, "Nobody knows how much memory cuda:9 has free", "--memory 16GB")


def test_the_shape_is_that_of_most_cases(ddmkit: Run, tmp_path: Path, write_cases: Callable[..., Path]) -> None:
    data = write_cases(tmp_path / "data", count=3, shape=(20, 18, 16))
    shutil.move(write_cases(tmp_path / "other", count=1, shape=(30, 30, 30)) / "BraTS20_Training_001", data / "large")
    (data / "large").rename(data / "BraTS20_Training_009")
    for file in (data / "BraTS20_Training_009").iterdir():
        file.rename(file.with_name(file.name.replace("001", "009")))
    options = ("--data", "data", *TINY[2:], "-opatch.sides=22,8,8", FOREIGN, "--memory", "1GB")
    result = ddmkit("plan", *options)
    assert result.returncode == 0, result.stderr
    assert "Cases of 20×18×16 voxels, sampled as 22×18×16" in result.stdout
    said = " ".join(result.stderr.split())
    assert "1 of 4 cases are larger than most: plan for them too with --shape 30,30,30" in said
    assert "padded to (22, 18, 16)" in said
    assert line_of(result.stdout)[:5] == ["train", "--preset", "quick", "--data", "data"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--memory", "16"], ["--memory 16", "no size such as 16GB"]),
        (["--memory", "1GB", "--shape", "24,24"], ["--shape 24,24 is no shape", "240,240,155"]),
    ],
)
def test_mistakes_are_one_sentence(ddmkit: Run, options: list[str], words: list[str]) -> None:
    refused(ddmkit("plan", *options), 2, *words)


def test_too_little_memory_is_refused_before_a_run_begins_and_what_is_said_suffices(
    trained: tuple[Path, Said], ddmkit: Run, begun: Run, tmp_path: Path
) -> None:
    folder, _ = trained
    words = ["train", *TINY[2:], "--data", next((folder / "phantom").iterdir()), "-oengine.device=cpu"]
    for run, more in ((ddmkit, ["--dry-run"]), (begun, ["--run", "run"])):
        result = run(*words, *more, "-o", "engine.memory=20MB")
        refused(
            result, 1, "engine.memory=20MB is too little", "ask ddmkit plan, with the same options and --memory 20MB"
        )
        assert not (tmp_path / "run").exists()
    told = re.search(r"Type -o (engine\.memory=\d+MB)", " ".join(result.stderr.split()))
    assert told is not None
    trained_within = begun(*words, "--run", "run", "-o", told[1])
    assert trained_within.returncode == 0, trained_within.stderr


def test_sampling_without_enough_memory_names_the_planner_who_knows_the_configuration(
    trained: tuple[Path, Said], ddmkit: Run
) -> None:
    folder, _ = trained
    data = next((folder / "phantom").iterdir())
    sampled = ddmkit("sample", folder / "run", "--input", data, "--out", "out", "-o", "engine.memory=20MB")
    refused(sampled, 1, f"ddmkit plan --config {folder / 'run'} -o engine.memory=20MB")


@pytest.mark.parametrize("run", ["runs/mine", "runs/my own"])
def test_a_run_given_as_if_to_sample_is_answered_with_the_option_that_takes_it(
    ddmkit: Run, run: str, tmp_path: Path
) -> None:
    (tmp_path / run).mkdir(parents=True)
    (tmp_path / run / "config.yaml").touch()
    result = ddmkit("plan", run, "--memory", "1GB")
    assert result.returncode == 2
    assert f"type --config {shlex.quote(run)}." in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_no_run_is_not_taken_for_one(ddmkit: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    result = ddmkit("plan", "data")
    assert result.returncode == 2
    assert "unexpected extra argument" in result.stderr
    assert "--config" not in result.stderr
