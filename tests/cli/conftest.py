"""Fixtures of the command line's tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, Run, call, call_program, tiny_job


@pytest.fixture
def ddmkit(tmp_path: Path) -> Run:
    """Run ddmkit in this test's own folder."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return call(tmp_path, *arguments)

    return run


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    """Run ddmkit in this test's own folder as a process of its own from the start, as where its memory matters."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return call_program(tmp_path, PROGRAM, *arguments)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Train the main job, shrunk, once: the folder it ran in, which holds `run/`, and what it said."""
    folder = tmp_path_factory.mktemp("trained")
    result = call(folder, *tiny_job("run"))
    assert result.returncode == 0, result.stderr
    return folder, result
