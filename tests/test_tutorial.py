"""The code on the pages for authors of plugins, and on that of configuration, does what the pages say."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typing_extensions import override

from ddmkit import Registry
from ddmkit.events import Announcer, Report, Run, StepDone, Validation
from tests.borrowing import borrowing_environment
from tests.cli.program import PATIENCE, call, environment, fork
from tests.pages import blocks, files

PART = " (in it)"
"""After the name of a file of which a page shows a part."""


WRITTEN = {".github", ".gitignore", "README.md", "pyproject.toml", "src", "tests"}
"""What the package has in version control."""


CLIENT = """
import json, os, socket, sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server, server.makefile("rw") as lines:
    print(json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]), file=lines, flush=True)
    status, said, complained = json.loads(lines.readline())
sys.stdout.write(said)
sys.stderr.write(complained)
sys.exit(status)
"""
"""Stands in for the console script: has a command run as a fork, where, as and with what it was typed."""


class Forking(socketserver.TCPServer):
    """Runs what `CLIENT` is told to, in an environment that borrows what is installed here."""

    def __init__(self, python: Path) -> None:
        super().__init__(("127.0.0.1", 0), Typed)
        self.python = python

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Typed(socketserver.StreamRequestHandler):
    """One command."""

    @override
    def handle(self) -> None:
        assert isinstance(self.server, Forking)
        arguments, place, variables = json.loads(self.rfile.readline())
        done = fork("ddmkit", Path(place), *arguments, python=self.server.python, variables=variables)
        self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode() + b"\n")


class Reader:
    """Somebody who follows a page: writes its files, types its commands, in an environment of their own."""

    def __init__(self, folder: Path, python: Path, port: int) -> None:
        self._place = folder
        self._venv = python.parent.parent
        client = folder / "client.py"
        client.write_text(CLIENT, encoding="utf-8")
        self._program("ddmkit", f'"{python}" -IS "{client}" {port}')
        self._program("pip", f'"{python}" -m pip')

    def write(self, title: str, text: str) -> None:
        """Write a file that a page shows, from where its commands are typed."""
        (self._place / title).write_text(text, encoding="utf-8")

    def find(self, title: str, text: str) -> None:
        """Look for what a page shows of a file that was written by a command."""
        assert text in (self._place / title).read_text(encoding="utf-8")

    def type(self, commands: str) -> str:
        """Type the lines of a page; return what they say, and stay where they lead."""
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", f"{commands}\npwd >&2"],
            cwd=self._place,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self._place = Path(done.stderr.splitlines()[-1])
        return done.stdout

    def _program(self, name: str, command: str) -> None:
        program = self._venv / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)

    def _environment(self) -> dict[str, str]:
        """Return one in which pip finds everything here and asks nobody."""
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        path = f"{self._venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**environment(self._venv), **offline, "PATH": path}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Return a reader in an environment of their own, whose commands are answered until the test ends."""
    python = borrowing_environment(tmp_path / "venv")
    with Forking(python) as server:
        answering = threading.Thread(target=server.serve_forever, args=(0.01,))
        answering.start()
        yield Reader(tmp_path, python, server.port)
        server.shutdown()
        answering.join()


def test_who_follows_the_tutorial_ends_with_a_plugin_that_trains_and_samples(reader: Reader, tmp_path: Path) -> None:
    said = []
    for block in blocks("plugins/tutorial.md"):
        if block.title.endswith(PART):
            reader.find(block.title.removesuffix(PART), block.code)
        elif block.title:
            reader.write(block.title, block.code)
        elif block.language == "bash":
            said.append(reader.type(block.code))
    listed, used = said[1], said[-1]
    assert "ddmkit-my-sampler 0.1.0" in listed
    begun = reader.type("python -m ddmkit_cli plugins list")
    assert begun == reader.type("ddmkit plugins list"), "a fork is no other than a Python that was just started"
    assert any("✓ schedule my-schedule (ddmkit-my-sampler 0.1.0)" in lines for lines in said)
    run = tmp_path / "my-sampler" / "runs" / "first"
    assert yaml.safe_load((run / "config.yaml").read_text())["sampler"] == {
        "name": "my-sampler",
        "steps": 2,
        "power": 3.0,
    }
    assert len(list((tmp_path / "my-sampler" / "answers").glob("*_seg.nii.gz"))) == 1
    assert "ddmkit evaluate answers" in used
    ignored = (tmp_path / "my-sampler" / ".gitignore").read_text().splitlines()
    assert {f"/{path.name}/" for path in (tmp_path / "my-sampler").iterdir() if path.name not in WRITTEN} <= {
        *ignored,
        *(f"/{name}" for name in ignored),
    }


@pytest.mark.parametrize("title", files("plugins/testing.md"))
def test_the_tests_that_the_page_on_testing_shows_pass(title: str) -> None:
    namespace = executed(title, files("plugins/testing.md")[title])
    tests = [value for name, value in vars(namespace).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def executed(title: str, code: str) -> types.ModuleType:
    """Return the module that a page shows."""
    module = types.ModuleType(Path(title).stem)
    exec(code, module.__dict__)  # noqa: S102 - the page's own code
    return module


def run_in(folder: Path) -> Run:
    """Return a run that is about nothing but its folder."""
    return Run(folder, configuration=None, first_step=0)  # type: ignore[arg-type]  # no listener here looks at it


def test_the_tracker_of_the_page_on_listening_writes_a_row_for_each_step(tmp_path: Path) -> None:
    tracker = executed("my_tracker.py", files("plugins/listening.md")["my_tracker.py"])
    announcer = Announcer(Registry(tracker), run_in(tmp_path))
    for step, loss in ((1, 0.5), (2, 0.25)):
        announcer.tell("ddmkit_step_done", step=StepDone(step, loss, 1.0, 1e-3, 0.1, 1000))
    assert (tmp_path / "loss.csv").read_text() == "1,0.5\n2,0.25\n"


def test_the_listener_with_a_memory_adds_up_until_the_run_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = executed("my_summary.py", files("plugins/listening.md")["my_summary.py"])
    announcer = Announcer(Registry(module.summary), run_in(tmp_path))
    for seconds in (1.5, 2.0):
        validation = Validation(3, "validation", [], {}, None, seconds, best=True, figures=())  # type: ignore[arg-type]  # as above
        announcer.tell("ddmkit_validated", validation=validation)
    announcer.tell("ddmkit_run_ended", report=Report("completed", 6))
    assert capsys.readouterr().out == "completed after step 6; validation took 3.5 s\n"


def test_what_wins_in_the_example_of_the_page_on_configuration(tmp_path: Path) -> None:
    for title, text in files("configuration.md").items():
        (tmp_path / title).write_text(text)
    [command] = [block.code for block in blocks("configuration.md") if block.language == "bash"]
    result = call(tmp_path, *command.split()[1:])
    assert result.returncode == 0, result.stderr
    configured = yaml.safe_load(result.stdout[result.stdout.index("seed:") :])
    sampler, training = configured["sampler"], configured["training"]
    assert configured["seed"] == 7
    assert (sampler["name"], sampler["steps"], "eta" in sampler) == ("heun", 3, False)
    assert (training["steps"], training["learning_rate"], training["batch_size"]) == (500, 0.001, 2)
