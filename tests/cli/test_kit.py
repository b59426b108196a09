"""`ddmkit plugins new`: what it writes installs, passes its own tests and linters, and works in ddmkit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from ddmkit import Registry
from ddmkit_cli.kit import FORMS, KINDS, write
from tests.borrowing import borrowing_environment
from tests.cli.program import TINY, Run, environment, fork, refused
from tests.installing import install

WRITTEN = (*KINDS, *FORMS)
LONGEST = "abcdefghijklm-nopqrs-tuvwxyz01"


def _named(kind: str) -> str:
    return f"my-{kind}"


class Outside:
    """A fresh environment that borrows the libraries of this one, with a package of each kind installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = borrowing_environment(folder / "environment")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run Python there."""
        return self.started([self.python, *arguments])

    def fork(self, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a console script there, as a fork of a process that has imported all but the packages."""
        return fork(script, self.folder, *arguments, python=self.python)

    def started(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        asked = environment(self.folder)
        return subprocess.run(command, cwd=self.folder, env=asked, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    """Write a package of each kind, and install all by pip."""
    made = Outside(tmp_path_factory.mktemp("outside"))
    packages = [made.folder / kind for kind in WRITTEN]
    for kind, package in zip(WRITTEN, packages, strict=True):
        write(package, kind, _named(kind), Registry())
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", made.python, "install", *offline, *packages]
    installed = made.started(pip)
    assert installed.returncode == 0, installed.stderr
    return made


def test_packages_of_all_kinds_pass_the_tests_that_they_were_written_with(outside: Outside) -> None:
    tests = [outside.folder / kind / "tests" for kind in WRITTEN]
    options = ["-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-W", "error"]
    result = outside.fork("pytest", *options, *tests)
    assert result.returncode == 0, result.stdout
    for kind in WRITTEN:
        collected = outside.folder / kind / "tests" / f"test_{FORMS.get(kind, kind)}.py"
        assert collected.is_file()


def test_packages_of_all_kinds_pass_plugins_check(outside: Outside) -> None:
    result = outside.fork("ddmkit", "plugins", "check", *map(_named, WRITTEN))
    assert result.returncode == 0, result.stdout
    assert sorted(result.stdout.splitlines()) == sorted(
        f"✓ {FORMS.get(kind, kind)} {_named(kind)} (ddmkit-{_named(kind)} 0.1.0)" for kind in WRITTEN
    )


def test_packages_of_all_kinds_are_listed_with_their_packages(outside: Outside) -> None:
    begun = outside.run("-m", "ddmkit_cli", "plugins", "list")
    listed = outside.fork("ddmkit", "plugins", "list")
    assert (begun.returncode, begun.stdout) == (0, listed.stdout), "a fork is no other than a Python just started"
    for kind in WRITTEN:
        assert any(
            f" {_named(kind)} " in line and f"ddmkit-{_named(kind)} 0.1.0" in line for line in begun.stdout.splitlines()
        )


def test_packages_of_all_kinds_work_together_in_a_run(outside: Outside) -> None:
    chosen = [word for kind in KINDS if kind != "dataset" for word in (f"--{kind}", _named(kind))]
    kept = [option for option in TINY if "backbone." not in option and "patch." not in option]
    settings = ["-opatch.side=16", "-obackbone.width=4", "-oschedule.steepness=4"]
    result = outside.fork("ddmkit", "train", *chosen, *kept, *settings, "--run", "run")
    assert result.returncode == 0, result.stderr
    assert (outside.folder / "run/steps.csv").read_text("utf-8").count("\n") == 1 + 6
    resumed = outside.fork("ddmkit", "train", "--resume", "run", "-otraining.steps=8")
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize("name", ["a", "my-own", LONGEST])
def test_what_is_written_is_formatted_and_passes_ruff_whatever_its_name(name: str, tmp_path: Path) -> None:
    for kind in WRITTEN:
        write(tmp_path / kind, kind, name, Registry())
    for command in (["format", "--diff"], ["check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout


def test_what_is_written_is_typed(outside: Outside) -> None:
    sources = [outside.folder / kind / part for kind in WRITTEN for part in ("src", "tests")]
    # Torch, whose types take a minute, is left out here; it may be subclassed all the same. The others, which double
    # the time, are what libraries import: no package that is written does.
    quick = outside.folder / "mypy.ini"
    left_out = "[mypy-torch.*,matplotlib.*,PIL.*,scipy.*]"
    quick.write_text(f"{left_out}\nfollow_imports = skip\nfollow_imports_for_stubs = true\n", "utf-8")
    lenient = ["--allow-subclassing-any", "--no-warn-return-any", "--no-warn-unused-ignores"]
    options = [*lenient, "--untyped-calls-exclude=nibabel", "--explicit-package-bases", f"--cache-dir={os.devnull}"]
    result = outside.run("-m", "mypy", "--strict", "--config-file", quick, *options, *sources)
    assert result.returncode == 0, result.stdout


def test_the_command_writes_a_package_and_says_what_to_type_next(tmp_path: Path, ddmkit: Run) -> None:
    result = ddmkit("plugins", "new", "my package", "--kind", "sampler", "--name", "my-sampler")
    assert result.returncode == 0, result.stderr
    *written, last = result.stdout.splitlines()
    files = sorted(path for path in (tmp_path / "my package").rglob("*") if path.is_file())
    assert sorted(tmp_path / line.removeprefix("wrote ") for line in written) == files
    assert [str(path.relative_to(tmp_path / "my package")) for path in files] == [
        ".github/workflows/test.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/ddmkit_my_sampler/__init__.py",
        "src/ddmkit_my_sampler/py.typed",
        "src/ddmkit_my_sampler/sampler.py",
        "tests/test_sampler.py",
    ]
    assert last == (
        "Next: cd 'my package' && pip install -e '.[test]' && python -m pytest && ddmkit plugins check my-sampler"
    )


def test_a_folder_that_is_empty_will_do(tmp_path: Path, ddmkit: Run) -> None:
    (tmp_path / "package").mkdir()
    assert ddmkit("plugins", "new", "package", "--kind", "patch", "--name", "cubes").returncode == 0


REFUSED = {
    "an unknown kind": (
        "new",
        "smapler",
        "mine",
        ["--kind 'smapler' is no kind", "Did you mean 'sampler'?", "tracker", "volume-task"],
    ),
    "a listener": (
        "new",
        "listener",
        "mine",
        ["--kind listener: a listener is ", "docs/plugins/listening.md shows how"],
    ),
    "a name with capitals": ("new", "sampler", "Mine", ["--name 'Mine' is no name", "such as my-sampler"]),
    "a name with a space": ("new", "sampler", "my own", ["--name 'my own' is no name"]),
    "a name that goes up": ("new", "sampler", "../mine", ["--name '../mine' is no name"]),
    "no name": ("new", "sampler", "", ["--name '' is no name"]),
    "a name too long": ("new", "sampler", f"{LONGEST}2", ["at most 30 in all"]),
    "a name that is taken": ("new", "sampler", "ddim", ["--name ddim is taken by ddmkit 0.1.0; choose another."]),
    "a listener's name": ("new", "tracker", "first-party-pictures", ["is taken by ddmkit 0.1.0"]),
    "the name of a kind": ("new", "sampler", "task", ["--name task is what ddmkit calls a kind of plugin"]),
    "the name of a section": ("new", "sampler", "training", ["or a section of a configuration"]),
    "ddmkit's own package": ("new", "sampler", "plugins", ["a second package ddmkit_plugins, which is there already"]),
    "a folder that is not empty": ("full", "sampler", "mine", ["full is not empty; give a folder that is, or one"]),
    "a file": ("full/notes.txt", "sampler", "mine", ["full/notes.txt is not empty"]),
}


@pytest.mark.parametrize(("folder", "kind", "name", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(
    folder: str, kind: str, name: str, words: list[str], tmp_path: Path, ddmkit: Run
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    refused(ddmkit("plugins", "new", folder, "--kind", kind, "--name", name), 2, *words)
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("kind", "name"), [("task", "label"), ("task", "volume"), ("volume-task", "label-task")])
def test_a_class_is_never_called_like_one_that_it_imports(kind: str, name: str, tmp_path: Path) -> None:
    write(tmp_path, kind, name, Registry())
    text = next(tmp_path.rglob("src/*/task.py")).read_text("utf-8")
    [defined] = re.findall(r"^class (\w+)\((?:Label|Volume)Task\):", text, flags=re.MULTILINE)
    assert defined == f"My{name.removesuffix('-task').capitalize()}Task"
    assert f"[{defined}]" in next(tmp_path.rglob("__init__.py")).read_text("utf-8")


def test_the_continuous_tests_install_ddmkit_from_a_repository_that_is_named_once(tmp_path: Path) -> None:
    write(tmp_path, "sampler", "mine", Registry())
    workflow = yaml.safe_load((tmp_path / ".github/workflows/test.yml").read_text("utf-8"))
    steps = [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]
    assert steps[0] == 'git clone --depth 1 "$DDMKIT" ../ddmkit'
    assert steps[1].endswith("../ddmkit -e '.[test]'")
    assert [*workflow["env"]] == ["DDMKIT"]


def test_a_name_of_one_kind_may_be_used_for_another(tmp_path: Path) -> None:
    assert write(tmp_path / "new", "schedule", "ddim", Registry())


def test_a_broken_plugin_does_not_keep_anyone_from_writing_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ddmkit: Run
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    install(tmp_path / "site", "acme", "import tensorpipe_that_nobody_has")
    assert ddmkit("plugins", "new", "new", "--kind", "task", "--name", "mine").returncode == 0
