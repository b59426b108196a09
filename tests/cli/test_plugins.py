"""`ddmkit plugins list`, `show` and `check`."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ddmkit_plugins.samplers.heun import Heun
from tests.cli.program import Run, refused
from tests.installing import install

MIXED = '''
"""A package of which half is whole."""

from typing import ClassVar, Literal

from pydantic import Field

from ddmkit import Component, Schedule, hookimpl

ddmkit_contained = True


class Geometric(Schedule):
    """Every step keeps the same share of the signal.

    It goes on for a second line.
    """

    name: ClassVar[str] = "geometric"
    keep: float = Field(default=0.99, gt=0, lt=1, description="Share of the signal's power that a step keeps.")
    pair: tuple[int, Literal["a", "b"]] = Field(default=(1, "a"), description="Two of a kind.")
    steep: bool = Field(default=False, description="Whether it is steep.")

    def alphas_bar(self):
        import torch

        return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)


class Needy(Geometric):
    """A schedule that somebody has to think about."""

    name: ClassVar[str] = "needy"
    thought: list[int] = Field(description="What came to mind.")


class Coarse(Geometric):
    """A schedule that forgets half of its digits."""

    name: ClassVar[str] = "coarse"

    def alphas_bar(self):
        return Geometric.alphas_bar(self).float()


class Absent(Geometric):
    """A schedule whose library is missing."""

    name: ClassVar[str] = "absent"

    def alphas_bar(self):
        import tensorpipe


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    return [Geometric, Needy, Coarse, Absent]


@hookimpl
def ddmkit_step_done(step):
    pass


def ddmkit_step_don(step):
    pass
'''


POSTING = '''
from pathlib import Path

from ddmkit import hookimpl


class Post:
    """Tells somebody of every run."""

    @hookimpl
    def ddmkit_run_started(self):
        Path(__file__).with_name("posted").touch()


post = Post()
'''

CLUSTER = '''
from typing import ClassVar

from ddmkit import DeviceError, Engine, hookimpl


class Cluster(Engine):
    """Many machines."""

    name: ClassVar[str] = "cluster"

    def open(self, network, training=None, logs=None):
        raise DeviceError("There is no cluster; buy one.")


@hookimpl
def ddmkit_components():
    return [Cluster]
'''


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the package above for the commands of this test, and return its file."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    install(tmp_path / "site", "acme-plugins", MIXED, version="2.5", module="acme")
    return tmp_path / "site/acme.py"


def _row(table: str, *words: str) -> str:
    (row,) = [line for line in table.splitlines() if all(f" {word} " in line for word in words)]
    return row


@pytest.mark.usefixtures("mixed")
def test_list_tells_kind_name_help_package_and_version_of_all_that_is_installed(ddmkit: Run) -> None:
    listed = ddmkit("plugins", "list").stdout
    assert "Every step keeps the same share of the signal." in _row(listed, "schedule", "geometric", "acme-plugins 2.5")
    assert "It goes on" not in listed
    assert "A package of which half is whole." in _row(listed, "listener", "acme-plugins", "acme-plugins 2.5")
    for kind, name in (("backbone", "unet3d-avg"), ("sampler", "ddim"), ("preset", "patchddm")):
        assert "ddmkit 0.1.0" in _row(listed, kind, name)
    assert _row(listed, "section", "preprocessing")


def test_show_gives_types_ranges_defaults_and_where_a_component_is_defined(mixed: Path, ddmkit: Run) -> None:
    shown = ddmkit("plugins", "show", "geometric").stdout
    assert f"acme-plugins 2.5, acme, {mixed}" in shown
    assert "It goes on for a second line." in shown
    assert "Share of the signal" in _row(shown, "schedule.keep", "number > 0 < 1", "0.99")
    assert _row(shown, "schedule.timesteps", "integer ≥ 1", "1000")
    assert _row(shown, "schedule.pair", "integer, a | b", "1,a")
    assert _row(shown, "schedule.steep", "boolean", "false")
    assert _row(ddmkit("plugins", "show", "needy").stdout, "schedule.thought", "list of integer", "has to be given")
    assert "A package of which half is whole." in ddmkit("plugins", "show", "acme-plugins").stdout


def test_show_takes_kinds_sections_and_presets_too(ddmkit: Run) -> None:
    shown = ddmkit("plugins", "show", "heun").stdout
    assert f"ddmkit 0.1.0, ddmkit_plugins.samplers.heun, {inspect.getsourcefile(Heun)}" in shown
    assert _row(shown, "sampler.s_tmax", "number ≥ 0 | null", "null")
    kind = ddmkit("plugins", "show", "patch").stdout
    assert _row(kind, "patch.narrow")
    assert "3 × integer ≥ 1 | null" in kind
    assert _row(ddmkit("plugins", "show", "training").stdout, "training.betas", "2 × number ≥ 0 < 1", "0.9,0.999")
    assert "multipliers" in ddmkit("plugins", "show", "quick").stdout


def test_show_tells_of_every_listener_and_how_one_is_written(ddmkit: Run) -> None:
    shown = ddmkit("plugins", "show", "listener").stdout
    assert "listener first-party-pictures  (ddmkit 0.1.0)" in shown
    assert shown.endswith("docs/plugins/listening.md shows how one is written.\n")


@pytest.mark.parametrize("command", ["show", "check"])
def test_a_name_that_nothing_has_is_answered_with_the_nearest(command: str, ddmkit: Run) -> None:
    refused(ddmkit("plugins", command, "unet"), 2, "'unet'. Did you mean 'unet3d-avg' or 'unet3d-concat'?")
    refused(ddmkit("plugins", command, "schedul"), 2, "Did you mean 'schedule'?")


@pytest.mark.usefixtures("mixed")
def test_check_says_what_fails_in_a_sentence_each_and_ends_with_1(ddmkit: Run) -> None:
    result = ddmkit("plugins", "check", "acme-plugins")
    refused(result, 1, "3 of 6 fail: mend what the lines with ✗ say, or pass them on to the authors.")
    assert "WARNING" not in result.stderr  # its fault is among the results
    lines = result.stdout.splitlines()
    by = "(acme-plugins 2.5)"
    absent, place = lines[0].removesuffix(").").rsplit(" (in ", 1)
    assert (
        absent == f"✗ schedule absent {by}: Absent's check ends with ModuleNotFoundError: No module named 'tensorpipe'"
    )
    path, number = place.split(", line ")
    assert Path(path).read_text("utf-8").splitlines()[int(number) - 1] == "        import tensorpipe"
    assert lines[1:3] == [
        f"✗ schedule coarse {by}: Coarse computes in torch.float32, not in float64.",
        f"✓ schedule geometric {by}",
    ]
    assert lines[3] == (
        f"– schedule needy {by} is not checked without settings that have no default: "
        "ddmkit plugins check needy -o schedule.thought=VALUE"
    )
    assert lines[4] == f"✓ listener acme-plugins {by}"
    assert lines[5].startswith(f"✗ plugin acme-plugins {by}: it has a function ddmkit_step_don() without @hookimpl")
    assert len(lines) == 6
    assert "components checked 6/6" in result.stderr


@pytest.mark.usefixtures("mixed")
def test_check_of_something_else_still_warns_of_a_plugin_that_is_broken(ddmkit: Run) -> None:
    result = ddmkit("plugins", "check", "linear")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("ddmkit_step_don()") == 1
    assert result.stdout == "✓ schedule linear (ddmkit 0.1.0)\n"


@pytest.mark.usefixtures("mixed")
def test_check_of_what_keeps_its_promises_ends_with_0(ddmkit: Run) -> None:
    result = ddmkit("plugins", "check", "geometric", "cosine", "encoding")
    assert result.returncode == 0, result.stderr
    names = ["encoding coords", "encoding none", "schedule cosine", "schedule geometric"]
    assert [line.partition(" (")[0] for line in result.stdout.splitlines()] == [f"✓ {name}" for name in names]


@pytest.mark.parametrize("contained", [False, True])
def test_a_listener_is_told_of_a_made_up_run_only_if_it_says_that_it_keeps_to_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ddmkit: Run, *, contained: bool
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    install(tmp_path / "site", "acme", f"{POSTING}ddmkit_contained = {contained}\n", value="acme:post")
    result = ddmkit("plugins", "check", "acme")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "site/posted").exists() == contained
    assert result.stdout == (
        "✓ listener acme (acme 1.0)\n"
        if contained
        else "– listener acme (acme 1.0) is not checked, as it may write elsewhere than into a run's folder: its "
        "author's tests tell it of a run by ddmkit.testing.check_listener\n"
    )


def test_an_engine_that_cannot_work_here_is_not_checked_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ddmkit: Run
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    install(tmp_path / "site", "acme", CLUSTER)
    result = ddmkit("plugins", "check", "cluster")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "– engine cluster (acme 1.0) is not checked: There is no cluster; buy one.\n"


def test_a_name_that_a_broken_package_would_offer_is_answered_with_what_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ddmkit: Run
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    install(tmp_path / "site", "zenith", "import tensorpipe_that_nobody_has")
    result = ddmkit("plugins", "check", "my-sampler")
    assert result.returncode == 2
    assert "The plugin zenith (zenith, zenith 1.0) fails to load" in " ".join(result.stderr.split())
