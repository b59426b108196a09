"""The packages under examples/, installed from outside into a fresh environment, work in every command."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.borrowing import borrowing_environment
from tests.cli.program import TINY, affine, environment, fork, image, refused

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 300
"""Seconds that a process may take."""
QUICK = ["-obackbone.width=4", "-obackbone.multipliers=1,2"]
OTHERS = [option for option in TINY if option not in QUICK]
"""What is tiny whatever the backbone."""


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False, timeout=PATIENCE
    )


class Installed:
    """A fresh environment that the examples are installed into, and the folder that its commands run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = [
            shutil.copytree(path, folder / "sources" / path.name) for path in sorted(EXAMPLES.glob("ddmkit-*"))
        ]
        self.python = borrowing_environment(folder / "env")
        pip = ("-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-build-isolation")
        result = run(folder, self.python, *pip, *self.sources)
        assert result.returncode == 0, result.stderr

    def fork(self, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a console script of this environment; MONAI, which takes long to import, is there already."""
        return fork(script, self.folder, *arguments, python=self.python, imports=["monai.networks.nets"])

    def ddmkit(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.fork("ddmkit", *arguments)

    def done(self, *arguments: str | Path) -> str:
        """Run a command that has to work, and return what it printed."""
        result = self.ddmkit(*arguments)
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr, result.stderr
        return result.stdout

    @property
    def data(self) -> Path:
        return self.folder / "phantom" / "data"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install once, with data that no reference lies beside."""
    made = Installed(tmp_path_factory.mktemp("installed"))
    made.done("phantom", "phantom/data", "--cases", "8", "--shape", "24,24,16")
    for mask in made.data.rglob("*_seg.nii.gz"):
        mask.unlink()
    return made


def test_their_own_tests_pass_where_they_are_installed(installed: Installed) -> None:
    result = installed.fork("pytest", "-q", "-p", "no:cacheprovider", *installed.sources)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", sorted(EXAMPLES.glob("ddmkit-*")), ids=lambda path: path.name)
def test_each_declares_all_that_it_imports(package: Path) -> None:
    declared = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {re.split(r"[^\w-]", requirement, maxsplit=1)[0].replace("-", "_") for requirement in declared}
    own = {path.name for path in (package / "src").iterdir()}
    for module in (package / "src").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(module.read_text("utf-8"))))
        imported = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        imported += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        assert {name.partition(".")[0] for name in imported} <= names | own | sys.stdlib_module_names, module.name


def test_they_are_listed_with_their_packages(installed: Installed) -> None:
    begun = run(installed.folder, installed.python, "-m", "ddmkit_cli", "plugins", "list")
    listed = installed.done("plugins", "list")
    assert (begun.returncode, begun.stdout) == (0, listed), "a fork is no other than a Python that was just started"
    for name, package in (
        ("generate", "ddmkit-generate"),
        ("monai-unet", "ddmkit-monai"),
        ("monai-pndm", "ddmkit-monai"),
        ("edm-unet3d", "ddmkit-edm"),
    ):
        (line,) = [line for line in listed.splitlines() if f" {name} " in line]
        assert f"{package} 0.1.0" in line


@pytest.fixture(scope="module")
def generated(installed: Installed) -> Installed:
    """Learn to generate without references, and sample."""
    options = [option for option in TINY if not option.startswith("-odataset.")]
    said = installed.done("train", "--task", "generate", "--data", installed.data, "--run", "generating", *options)
    assert "MMD" in said
    installed.done("sample", "generating", "--input", installed.data, "--ensemble", "2", "--out", "generated")
    return installed


def test_a_task_of_another_package_learns_and_is_judged_by_its_own_figures(generated: Installed) -> None:
    lines = [json.loads(line) for line in (generated.folder / "generating/metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["kind"] != "step"]
    assert [line["kind"] for line in judged] == ["validation", "validation", "test"]
    for line in judged:
        assert line["figures"][0]["name"] == "mmd"
        assert {"mmd", "ms_ssim", "ms_ssim_real"} <= line["summary"]["all"].keys() & line["definition"].keys()
    least = min(judged[:-1], key=lambda line: line["summary"]["all"]["mmd"])
    assert (generated.folder / "generating/checkpoints/best").read_text().strip() == f"step-{least['step']:08d}"
    pictures = {path.name for path in (generated.folder / "generating/pictures").iterdir()}
    assert "curves.png" in pictures
    assert len(pictures) == 2


def test_each_sample_is_a_volume_of_its_own_on_the_grid_of_its_case(generated: Installed) -> None:
    folder = generated.folder / "generated"
    cases = sorted(path.name for path in generated.data.iterdir() if path.is_dir())
    names = {f"{case}_member-{number:03}.nii.gz" for case in cases for number in (1, 2)}
    assert {path.name for path in folder.iterdir()} == names | {"sample.json"}
    one, other = (folder / f"{cases[0]}_member-00{number}.nii.gz" for number in (1, 2))
    flair = next((generated.data / cases[0]).glob("*_flair.nii.gz"))
    assert np.array_equal(affine(one), affine(flair))
    assert image(one).shape == image(flair).shape == (24, 24, 16)
    assert not np.array_equal(np.asarray(image(one).dataobj), np.asarray(image(other).dataobj))


def test_a_folder_of_volumes_is_judged_beside_a_folder_of_real_ones(generated: Installed) -> None:
    generated.done("evaluate", "generated", "--reference", generated.data, "--json", "figures.json")
    found = json.loads((generated.folder / "figures.json").read_text())
    row = found["summary"]["all"]
    assert (found["generated"], found["real"], row["n"], row["n_real"]) == (16, 8, 16, 8)
    assert all(isinstance(row[name], float) for name in ("mmd", "ms_ssim", "ms_ssim_real"))
    assert [figure["name"] for figure in found["figures"]] == ["mmd", "ms_ssim", "ms_ssim_real"]
    assert {"mmd", "ms_ssim", "ms_ssim_real"} <= found["definition"].keys()


def test_real_volumes_are_as_good_as_real_ones_also_from_elsewhere(generated: Installed) -> None:
    elsewhere = generated.folder / "elsewhere"
    elsewhere.mkdir()
    for path in generated.data.rglob("*_flair.nii.gz"):
        array = np.asarray(image(path).dataobj).astype(np.float32)
        corners = array[:: array.shape[0] - 1, :: array.shape[1] - 1, :: array.shape[2] - 1]
        background = np.median(corners)
        low, high = np.percentile(array[array != background], (1, 99))
        made = type(image(path))(np.clip((array - low) / (high - low), 0, 1), affine(path))
        made.to_filename(elsewhere / path.name)
    task = ["--task", "generate", "-o", "task.images=flair"]
    generated.done("evaluate", elsewhere, "--reference", generated.data, *task, "--json", "real.json")
    row = json.loads((generated.folder / "real.json").read_text())["summary"]["all"]
    assert abs(row["mmd"]) < 0.01
    assert row["ms_ssim"] == pytest.approx(row["ms_ssim_real"], abs=0.02)


def test_what_needs_single_cases_is_refused_in_a_sentence(generated: Installed) -> None:
    result = generated.ddmkit("evaluate", "generated", "--reference", generated.data, "--against", "generated")
    refused(result, 2, "--against", "'generate' answers with volumes")


@pytest.fixture(scope="module")
def together() -> list[str]:
    """Return options by which parts of two packages work as one: a network in another's, over levels of a third."""
    inner = "{channels: [4, 8], attention_levels: [false, true], blocks: 1, head_channels: 4, groups: 4}"
    names = ["--backbone=edm-unet3d", "--schedule=edm", "--sampler=monai-pndm"]
    return [*names, "-obackbone.inner=monai-unet", f"-obackbone.settings={inner}", *OTHERS]


def test_all_of_them_are_planned_together(installed: Installed, together: list[str]) -> None:
    said = installed.done("plan", "--task", "generate", *together, "--memory", "4GB")
    assert "It fits as it is." in said
    assert "--task generate" in said


def test_networks_schedules_and_samplers_of_other_packages_segment(installed: Installed, together: list[str]) -> None:
    installed.done("train", *together, "--run", "segmenting", "-ovalidation.test=false")
    data = next(path for path in (installed.folder / "phantom").iterdir() if path != installed.data)
    installed.done("sample", "segmenting", "--input", data, "--split", "test", "--ensemble", "2", "--out", "answers")
    installed.done("evaluate", "answers", "--reference", data, "--json", "scores.json")
    scores = json.loads((installed.folder / "scores.json").read_text())
    assert scores["summary"]["whole"]["n"] == 2
