"""`ddmkit phantom`, `check`, and the command line as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.program import PROGRAM, Run, affine, environment, image, refused


def test_phantoms_are_checked_clean(ddmkit: Run) -> None:
    made = ddmkit("phantom", "data", "--cases", "3", "--shape", "24,20,16", "--seed", "5")
    assert made.returncode == 0, made.stderr
    assert "Next: ddmkit train --data data" in made.stdout
    checked = ddmkit("check", "data")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("24×20×16") == 3
    assert "edema" in checked.stdout


def test_check_says_what_is_wrong_and_changes_nothing(tmp_path: Path, ddmkit: Run) -> None:
    ddmkit("phantom", "data", "--cases", "3", "--shape", "16,16,16")
    path = next((tmp_path / "data/BraTS20_Training_002").glob("*_t2.nii.gz"))
    moved = affine(path)
    moved[2, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(image(path).dataobj), moved), path)
    next((tmp_path / "data/BraTS20_Training_001").glob("*_flair.nii.gz")).unlink()
    before = {file: file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()}
    result = ddmkit("check", "data")
    refused(result, 1, "2 of 3 cases")
    assert "affines" in result.stdout
    assert "lacks" in result.stdout
    assert result.stdout.count("16×16×16") == 1
    assert {file: file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file()} == before


def test_ctrl_c_while_phantoms_are_made_says_how_to_go_on(tmp_path: Path, ddmkit: Run) -> None:
    arguments = ["phantom", "my data", "--cases", "3000", "--shape", "16,16,16"]
    process = subprocess.Popen(
        [PROGRAM, *arguments], cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(tmp_path.glob("my data/*_002")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    refused(subprocess.CompletedProcess(arguments, process.returncode, "", said), 1, "Stopped")
    assert "ddmkit phantom 'my data' --cases 3000 --shape 16,16,16" in said
    made = len(list(tmp_path.glob("my data/BraTS20_*")))
    result = ddmkit(*arguments[:3], str(made), *arguments[4:])
    assert result.returncode == 0, result.stderr


def test_a_reader_that_has_seen_enough_causes_no_traceback(tmp_path: Path) -> None:
    for command in ("plugins list", "train --help"):
        result = subprocess.run(
            ["/bin/sh", "-c", f'"{PROGRAM}" {command} | true'],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.stderr == ""


@pytest.mark.parametrize("shape", ["24,24", "24,24,x", "8,24,24", "300,24,24"])
def test_a_phantom_shape_that_cannot_be_is_refused(shape: str, ddmkit: Run) -> None:
    refused(ddmkit("phantom", "data", "--shape", shape), 2, "shape")


@pytest.mark.parametrize(("command", "meant"), [("sample", "--input"), ("evaluate", "--reference")])
def test_an_option_of_another_command_is_answered_with_this_ones(command: str, meant: str, ddmkit: Run) -> None:
    result = ddmkit(command, "folder", "--data", "data")
    assert result.returncode == 2
    assert f"No such option: --data (Possible options: {meant})" in result.stderr


PLUGINS = ("plugins list", "plugins show", "plugins check", "plugins new")
COMMANDS = ("", "train", "sample", "evaluate", "phantom", "check", *PLUGINS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, ddmkit: Run) -> None:
    result = ddmkit(*command.split(), "--help")
    assert result.returncode == 0
    assert "ddmkit " in result.stdout.replace("\n", " ").partition("Usage")[2].partition("ddmkit")[2]


def test_shell_completion_is_offered(tmp_path: Path) -> None:
    asked = {**environment(tmp_path), "_DDMKIT_COMPLETE": "complete_bash", "COMP_WORDS": "ddmkit tr", "COMP_CWORD": "1"}
    program = Path(sys.executable).parent / "ddmkit"
    answered = subprocess.run([program], env=asked, capture_output=True, text=True, check=False)
    assert answered.stdout.split() == ["train"]


STARTING = ("import ddmkit_cli.app", "from ddmkit import Registry; Registry()", "import ddmkit.configuration")


def test_help_needs_neither_plugins_nor_settings() -> None:
    code = "import sys; import ddmkit_cli.app; sys.exit(bool(sys.modules.keys() & {'pluggy', 'pydantic', 'yaml'}))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0


@pytest.mark.parametrize("statement", STARTING)
def test_starting_up_imports_neither_torch_nor_numpy(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit(bool(sys.modules.keys() & {{'torch', 'numpy', 'h5py', 'matplotlib'}}))"
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False).returncode == 0
