"""A run knows which packages its components came with, and says so where they are missing."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from ddmkit import Registry, Schedule, UnknownComponentError
from ddmkit.assembly import assemble, read_tree
from ddmkit.configuration import Configuration
from ddmkit.run.folder import RunFolder
from ddmkit_cli.assembling import Typed
from tests.installing import install

GEOMETRIC = '''
from typing import ClassVar

from ddmkit import Schedule, hookimpl


class Geometric(Schedule):
    """Every step keeps the same share of the signal."""

    name: ClassVar[str] = "{name}"

    def alphas_bar(self):
        raise NotImplementedError


@hookimpl
def ddmkit_components():
    return [Geometric]
'''


class Site:
    """A folder on the path, in which one package stands or none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, text: str, version: str = "1.0") -> Registry:
        self.clear()
        install(self.folder, "acme-plugins", text, version, "acme")
        importlib.invalidate_caches()
        return Registry()

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        sys.modules.pop("acme", None)
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.syspath_prepend(tmp_path / "site")
    made = Site(tmp_path / "site")
    yield made
    made.clear()


def _quick(registry: Registry, **names: str) -> Configuration:
    return assemble(registry, base=[read_tree(registry.preset("quick"))], names=names)


@pytest.fixture
def run(site: Site, tmp_path: Path) -> RunFolder:
    """Return a run with a schedule of acme-plugins 1.0."""
    registry = site.install(GEOMETRIC.format(name="geometric"))
    folder = RunFolder(tmp_path / "run")
    folder.create(_quick(registry, schedule="geometric"), {})
    return folder


def _packages(run: RunFolder) -> dict[str, str]:
    packages: dict[str, str] = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))["components"]
    return packages


def _refused(run: RunFolder, registry: Registry) -> str:
    with pytest.raises(UnknownComponentError) as error:
        run.configuration(registry)
    return str(error.value)


def test_a_run_says_which_package_each_component_came_with(run: RunFolder) -> None:
    own = f"ddmkit {version('ddmkit')}"
    packages = _packages(run)
    assert packages["schedule/geometric"] == "acme-plugins 1.0"
    assert packages["backbone/unet3d-avg"] == packages["engine/single"] == own
    assert {key.partition("/")[0] for key in packages} == {
        "task", "dataset", "backbone", "schedule", "sampler", "patch", "encoding", "engine"
    }  # fmt: skip


def test_a_component_whose_package_is_gone_is_told_with_what_to_install(run: RunFolder, site: Site) -> None:
    site.clear()
    registry = Registry()
    said = "No schedule is named 'geometric': it came with acme-plugins 1.0: pip install acme-plugins==1.0"
    assert _refused(run, registry) == said
    for config in (run.path, run.path / "config.yaml"):
        with pytest.raises(UnknownComponentError) as error:
            Typed.of(None, config, None, None, None, {}, None).assembled(registry)
        assert str(error.value) == said


def test_what_is_named_in_its_place_stands_for_a_component_that_is_not_here(run: RunFolder, site: Site) -> None:
    site.clear()
    registry = Registry()
    assert "geometric" not in registry.names(Schedule)
    assert run.configuration(registry, names={"schedule": "linear"}).schedule.name == "linear"


def test_a_component_whose_package_is_broken_is_told_with_what_is_broken(run: RunFolder, site: Site) -> None:
    said = _refused(run, site.install("import tensorpipe_that_nobody_has"))
    assert said.startswith(
        "No schedule is named 'geometric': it came with acme-plugins 1.0, which is installed but broken: the plugin "
        "acme-plugins (acme, acme-plugins 1.0) fails to load with ModuleNotFoundError: No module named "
        "'tensorpipe_that_nobody_has'"
    )
    assert "pip install acme-plugins" not in said


def test_a_component_that_its_package_has_no_more_is_told_with_the_version_that_had_it(
    run: RunFolder, site: Site
) -> None:
    assert _refused(run, site.install(GEOMETRIC.format(name="another"), version="2.0")) == (
        "No schedule is named 'geometric': it came with acme-plugins 1.0, and acme-plugins 2.0, which is installed, "
        "does not offer it: pip install acme-plugins==1.0"
    )
    assert _refused(run, site.install(GEOMETRIC.format(name="another"))) == (
        "No schedule is named 'geometric': it came with acme-plugins 1.0, which is installed but does not offer it: "
        "pip install --force-reinstall acme-plugins==1.0"
    )


def test_a_name_that_the_run_does_not_know_is_answered_as_ever(run: RunFolder) -> None:
    with pytest.raises(UnknownComponentError, match=r"^No sampler is named 'huen'\. Did you mean 'heun'\? Installed: "):
        Typed.of(None, run.path, None, None, None, {"sampler": "huen"}, None).assembled(Registry())


@pytest.mark.parametrize("text", ["", "[]", '{"components": 3}', None])
def test_without_what_was_written_down_the_name_alone_is_told(text: str | None, run: RunFolder, site: Site) -> None:
    environment = run.path / "environment.json"
    environment.unlink() if text is None else environment.write_text(text, encoding="utf-8")
    site.clear()
    assert _refused(run, Registry()).startswith("No schedule is named 'geometric'. Installed: cosine, linear.")


def test_a_run_that_goes_on_with_another_component_knows_that_package_too(run: RunFolder, site: Site) -> None:
    before = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    registry = site.install(GEOMETRIC.format(name="geometric"), version="1.1")
    run.write_configuration(_quick(registry, schedule="geometric", engine="deepspeed"))
    after = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    packages = after["components"]
    assert (packages["schedule/geometric"], packages["engine/deepspeed"]) == (
        "acme-plugins 1.1",
        packages["engine/single"],
    )
    assert {**after, "components": None} == {**before, "components": None}
