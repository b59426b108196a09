"""Run the real command line as a process, on tiny phantoms."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeAlias

import nibabel as nib
import numpy as np

PROGRAM = Path(sys.executable).parent / "ddmkit"
PATIENCE = 120
"""Seconds that a command may take."""
TINY = [
    f"-o{option}"
    for option in (
        "dataset.count=8",
        "dataset.shape=24,24,16",
        "split.validation=0.2",
        "split.test=0.2",
        "backbone.width=4",
        "backbone.multipliers=1,2",
        "patch.sides=16,16,16",
        "sampler.steps=2",
        "training.steps=6",
        "training.checkpoint_every=2",
        "validation.every=3",
        "validation.picture_members=2",
    )
]
"""Options that make the quick preset take a second."""
ONE_STEP = [*TINY[2:], "-otraining.steps=1", "-ovalidation.test=false", "-ovalidation.picture_members=1"]
"""All but the options of the phantoms, for a single step on cases that are there."""

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing leaves `folder`; one thread, so that tests can run beside each other."""
    return {**os.environ, "DDMKIT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def call(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ddmkit in `folder`, as a fork of a process that has imported all it needs, and return what it said."""
    return fork("ddmkit", folder, *arguments)


def fork(
    script: str,
    folder: Path,
    *arguments: str | Path,
    python: Path | None = None,
    variables: Mapping[str, str] | None = None,
    imports: Sequence[str] = (),
    kill: Mapping[str, str | int] | None = None,
    seconds: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run a console script in `folder`, as a fork of a process that has imported all it needs.

    Args:
        script: one of the server's.
        folder: to run in.
        arguments: as typed.
        python: of the environment that it runs in, one that borrows what is installed here; by default this one.
        variables: of its environment; by default those by which nothing leaves `folder`.
        imports: modules that are to be imported before the fork, once for all that need them.
        kill: a file, its lines and the number of a signal, by default SIGKILL: once it has so many, the fork gets it.
        seconds: that it may take.
    """
    command = [*map(str, arguments)]
    with NamedTemporaryFile("r+", encoding="utf-8") as out, NamedTemporaryFile("r+", encoding="utf-8") as err:
        asked = {
            "script": script,
            "arguments": command,
            "folder": str(folder),
            "python": str(python or sys.executable),
            "environment": dict(variables or environment(folder)),
            "imports": imports,
            "kill": kill or {},
            "stdout": out.name,
            "stderr": err.name,
            "seconds": seconds,
        }
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(asked), file=server.stdin, flush=True)
        status = json.loads(server.stdout.readline())
        said = out.read(), err.read()
    if status is None:
        raise subprocess.TimeoutExpired([script, *command], seconds, *said)
    return subprocess.CompletedProcess([script, *command], status, *said)


@cache
def _server() -> subprocess.Popen[str]:
    """Return the one server of this process, which ends with it: then it has nothing more to read."""
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("server.py")],
        # A command's own path is added in its fork; DeepSpeed settles on a device when it is imported.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "DS_ACCELERATOR": "cpu"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def call_program(folder: Path, program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, away from the user's own cache, and return what it said."""
    return subprocess.run(
        [program, *map(str, arguments)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def kill_after(lines: int, metrics: Path, folder: Path, *arguments: str, imports: Sequence[str] = ()) -> None:
    """Run ddmkit in `folder`, as `fork` does, and kill it once its metrics have so many lines."""
    result = fork("ddmkit", folder, *arguments, imports=imports, kill={"file": str(metrics), "lines": lines})
    assert result.returncode == -signal.SIGKILL, "the run ended before it was killed"


def refused(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Check that a command answered a mistake with one sentence that has `words`, and no traceback."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == status, result.stderr
    assert "Traceback" not in result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


def tiny_job(run: str, *more: str) -> Sequence[str]:
    """Return the README's main job, shrunk."""
    return ["train", "--backbone", "unet3d-avg", "--patch", "center", "--run", run, *TINY, *more]


def image(path: Path) -> nib.Nifti1Image:
    """Open a NIfTI file."""
    return nib.Nifti1Image.from_filename(path)


def affine(path: Path) -> np.ndarray:
    """Read the affine of a NIfTI file."""
    found = image(path).affine
    assert found is not None
    return np.asarray(found)
