"""Installed packages that are broken in some way: one sentence names each, and everything else still works."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.installing import install

from ddmkit import Registry, Schedule
from ddmkit.interface import INTERFACE
from ddmkit.origin import package_of

SCHEDULE = '''
from typing import ClassVar

from pydantic import Field

from ddmkit import Component, Schedule, hookimpl


class {cls}(Schedule):
    """Every step keeps the same share of the signal."""

    name: ClassVar[str] = "{name}"
    {setting}

    def alphas_bar(self):
        import torch

        return 0.99 ** torch.arange(self.timesteps + 1, dtype=torch.float64)


{mark}
def {hook}() -> list[type[Component]]:
    return [{cls}]
'''
RENEWAL = "mend that if it is yours, else try pip install --upgrade acme, or pip uninstall acme"
SETTING = 'keep: float = Field(default=0.99, gt=0, lt=1, description="Share of the signal\'s power that a step keeps.")'


def schedule(
    name: str, setting: str = SETTING, cls: str = "Geometric", mark: str = "@hookimpl", hook: str = "ddmkit_components"
) -> str:
    return SCHEDULE.format(name=name, setting=setting, cls=cls, mark=mark, hook=hook)


BROKEN = {
    "fails to import": (
        "import tensorpipe",
        (
            r"fails to load with ModuleNotFoundError: No module named 'tensorpipe' \(in \S+/acme\.py, line 1\); "
            r"install the package that tensorpipe comes with, or pip uninstall acme"
        ),
    ),
    "imports what ddmkit has no more": (
        "from ddmkit.old import Levitation",
        rf"fails to load with ModuleNotFoundError: No module named 'ddmkit\.old' \(in \S+, line 1\); {RENEWAL}",
    ),
    "ends the program": (
        "raise SystemExit(3)",
        rf"fails to load with SystemExit: 3 \(in \S+/acme\.py, line 1\); {RENEWAL}",
    ),
    "fails to import by a mistake in its settings": (
        "from pydantic import BaseModel\n\n\nclass Keeping(BaseModel):\n    keep: int\n\n\nKeeping(keep='x')\n",
        rf"fails to load with ValidationError: 1 .* Input should be a valid integer, .* \(in \S+, line 8\); {RENEWAL}",
    ),
    "has no hook": (
        "ddmkit = 3",
        r"offers nothing: no function in it is marked with ddmkit's @hookimpl; add ddmkit_components\(\), which .*",
    ),
    "lists nothing": (
        schedule("acme").replace("return [Geometric]", "return []"),
        r"offers nothing: its ddmkit_components\(\) returns an empty list; return \[MySampler\]",
    ),
    "forgets to return": (
        schedule("acme").replace("return [Geometric]", "[Geometric]"),
        r"returns None from ddmkit_components\(\), which is no list of Component classes; add return \[MySampler\]",
    ),
    "returns the class alone": (
        schedule("acme").replace("return [Geometric]", "return Geometric"),
        r"returns <class 'acme\.Geometric'> from .*, which is no list .*; write return \[Geometric\]",
    ),
    "lists an object": (
        schedule("acme").replace("return [Geometric]", "return [Geometric()]"),
        r"offers an instance of Geometric, which is not a Component class; give the class: Geometric, without \(\)",
    ),
    "misspells its interface": (
        f"ddmkit_interfaces = {INTERFACE + 1}\n",
        "has a variable ddmkit_interfaces that ddmkit does not know; call it ddmkit_interface; it offers nothing: .*",
    ),
    "is no Python": ("def (:", rf"fails to load with SyntaxError: invalid syntax \(acme\.py, line 1\); {RENEWAL}"),
    "takes a first-party name": (
        schedule("linear"),
        r"offers the schedule 'linear' as acme\.Geometric, but \S+\.Linear of ddmkit .* already; choose another .*",
    ),
    "is made for a later interface": (
        f"ddmkit_interface = {INTERFACE + 1}\n{schedule('acme')}",
        rf"is made for version {INTERFACE + 1} of .*, and ddmkit [\d.]+ has version {INTERFACE}; upgrade ddmkit: .*",
    ),
    "is made for an earlier interface": (
        f"ddmkit_interface = {INTERFACE - 1}\n{schedule('acme')}",
        rf"is made for version {INTERFACE - 1} of the plugin interface, .*; upgrade acme: pip install --upgrade acme",
    ),
    "is made for a later interface, whose names it imports": (
        f"from ddmkit import Levitation\n\nddmkit_interface: int = {INTERFACE + 1}\n",
        rf"is made for version {INTERFACE + 1} of the plugin interface, .*; upgrade ddmkit: .*",
    ),
    "says nonsense of its interface": (
        f"ddmkit_interface = 'newest'\n{schedule('acme')}",
        rf"says ddmkit_interface = 'newest', which is no whole number; write ddmkit_interface = {INTERFACE}",
    ),
    "has a setting called name": (
        schedule("acme", 'name: str = Field(default="acme", description="Its name.")'),
        r"offers acme\.Geometric, whose setting name hides what every schedule has under that name; .*",
    ),
    "has a setting called kind": (
        schedule("acme", 'kind: str = Field(default="acme", description="Its kind.")'),
        r"offers .*, whose setting kind hides what every .*; rename the setting",
    ),
    "has a setting called tree": (
        schedule("acme", 'tree: int = Field(default=1, description="How many trees.")'),
        r"offers .*, whose setting tree hides what every schedule has under that name; rename the setting",
    ),
    "has a setting called as a part of pydantic": (
        schedule("acme", 'model_extra: int = Field(default=1, description="More.")'),
        r"offers .*, whose setting model_extra hides .*",
    ),
    "has a setting called as a method of pydantic": (
        schedule("acme", 'model_dump: int = Field(default=1, description="More.")'),
        r"fails to load with \w+Error: Field .model_dump. conflicts .*",
    ),
    "has a setting called as a method of its interface": (
        schedule("acme", 'alphas_bar: int = Field(default=1, description="Levels.")').replace(
            "def alphas_bar", "def a"
        ),
        r"offers .*, whose setting alphas_bar hides .*",
    ),
    "has a default that YAML does not know": (
        schedule("acme", 'table: object = Field(default=object(), description="Levels.")'),
        r"offers .*, whose default of table cannot be written as YAML \(.*\); give it a type of numbers, words, .*",
    ),
    "has a default that is not read back": (
        schedule("acme", 'keep: float = Field(default=2.0, lt=1, description="Share.")'),
        r"offers .*, whose default of keep cannot be read back from YAML \(Input should be less than 1\); .*",
    ),
    "has a default that comes back changed": (
        schedule("acme", 'table: object = Field(default=(1, 2), description="Levels.")'),
        r"offers .*, whose default of table comes back from YAML changed; .*",
    ),
    "has a tree of its own": (
        schedule("acme", "def tree(self): return {'name': 'acme', 'half': 1j}"),
        r"offers .*, whose tree\(\) is no YAML \(RepresenterError: .*\); leave tree\(\) as it is",
    ),
    "cannot be made": (
        schedule("acme", 'keep: float = Field(default_factory=lambda: 1 / 0, description="Share.")'),
        r"offers .*, which cannot be made with its defaults: ZeroDivisionError: .*",
    ),
    "marks a misspelt hook": (
        schedule("acme", hook="ddmkit_componets"),
        "has a hook ddmkit_componets that ddmkit does not know; call it ddmkit_components",
    ),
    "marks no hook": (
        schedule("acme", mark=""),
        r"has a function ddmkit_components\(\) without @hookimpl, which is never called; mark it with ddmkit's .*",
    ),
    "marks no misspelt hook": (
        schedule("acme", mark="", hook="ddmkit_componets"),
        r"has a function ddmkit_componets\(\) without .*; call it ddmkit_components, marked with ddmkit's @hookimpl",
    ),
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder on the path, of which nothing stays imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


@pytest.mark.parametrize(("text", "sentence"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_in_one_sentence_and_the_others_work(
    text: str, sentence: str, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = Registry().components()
    install(site, "acme", text)
    install(site, "zenith", schedule("zenith"))
    registry = Registry()
    others = [component for component in registry.components() if component.__module__ != "zenith"]
    assert others == expected
    assert registry.get(Schedule, "zenith").kind == "schedule"
    assert re.fullmatch(rf"The plugin acme \(acme, acme 1\.0\) {sentence}\.", caplog.messages[0])
    assert len(caplog.messages) == 1


def test_of_two_packages_with_one_name_the_first_keeps_it_whatever_the_order_of_folders(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "acme", schedule("geometric"))
    install(site / "before", "zenith", schedule("geometric"))
    monkeypatch.syspath_prepend(site / "before")
    registry = Registry()
    kept = registry.get(Schedule, "geometric")
    assert (kept.__module__, registry.package(kept)) == ("acme", "acme 1.0")
    (said,) = caplog.messages
    assert said == (
        "The plugin zenith (zenith, zenith 1.0) offers the schedule 'geometric' as zenith.Geometric, but "
        "acme.Geometric of acme 1.0 has that name already; uninstall one of the two packages."
    )


LISTENER = """
from ddmkit import hookimpl


@hookimpl
def ddmkit_step_done():
    pass
"""


def test_a_plugin_that_two_packages_install_is_there_once_and_both_are_named(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "acme", LISTENER, module="acme_hooks")
    install(site, "acme-fork", LISTENER, version="2.0", module="acme_hooks")
    assert [one.package for one in Registry().always_listening() if one.name.startswith("acme")] == ["acme 1.0"]
    (said,) = caplog.messages
    assert said == (
        "The plugin acme-fork (acme_hooks, acme-fork 2.0) is the plugin acme of acme 1.0 once more; uninstall one of "
        "the two packages."
    )


def test_a_misspelt_interface_keeps_nothing_from_working(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(site, "acme", f"ddmkit_interfaces = {INTERFACE}\n{schedule('acme')}")
    assert "acme" in Registry().names(Schedule)
    assert caplog.messages[0].endswith("does not know; call it ddmkit_interface.")


def test_a_package_that_was_installed_by_half_keeps_nothing_from_working(site: Path) -> None:
    install(site, "acme", schedule("acme"))
    facts = site / "acme-1.0.dist-info" / "METADATA"
    facts.write_text("Metadata-Version: 2.1\nName: acme\n", "utf-8")
    registry = Registry()
    assert registry.package(registry.get(Schedule, "acme")) == "acme"


def test_a_listener_that_says_neither_yes_nor_no_works_and_is_told_so(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "acme", f"ddmkit_contained = 'yes'\n{LISTENER}")
    (listener,) = (one for one in Registry().always_listening() if one.name == "acme")
    assert not listener.contained
    assert caplog.messages[0].endswith(
        " says ddmkit_contained = 'yes', which is neither True nor False; write one of them."
    )


def test_a_hook_of_another_version_that_is_marked_so_is_passed_over(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = "@hookimpl(optionalhook=True)\ndef ddmkit_levitated(height):\n    pass\n"
    install(site, "acme", f"{schedule('acme')}\n\n{later}")
    install(site, "later", f"from ddmkit import hookimpl\n\n\n{later}")
    registry = Registry()
    assert "acme" in registry.names(Schedule)
    assert registry.broken == {}
    assert caplog.messages == []


def test_a_class_of_hooks_that_nobody_made_an_object_of_is_told_so(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "from ddmkit import hookimpl\n\n\nclass Hooks:\n"
    for hook in ("ddmkit_step_done", "ddmkit_components"):
        text += f"    @hookimpl\n    def {hook}(self):\n        return []\n"
    install(site, "acme", text, value="acme:Hooks")
    assert "acme" not in [listener.name for listener in Registry().always_listening()]
    (said,) = caplog.messages
    sentence = "is a class whose hooks are methods; let the entry point lead to an object of it, hooks = Hooks()."
    assert said == f"The plugin acme (acme:Hooks, acme 1.0) {sentence}"


def test_what_offered_a_component_is_known_wherever_it_is_asked_for(site: Path) -> None:
    install(site, "acme", schedule("acme"), module="zenith_parts")
    install(site, "zenith", LISTENER)
    geometric = Registry().get(Schedule, "acme")
    assert package_of(geometric) == "acme 1.0"
    assert package_of(Schedule) == "this program"


def test_a_preset_of_a_name_that_is_taken_is_passed_over_and_its_package_named(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = Registry().presets()
    presets = """
    from pathlib import Path

    from ddmkit import hookimpl


    @hookimpl
    def ddmkit_presets() -> Path:
        return Path(__file__).parent / "presets"
    """
    (site / "presets").mkdir()
    for name in ("quick", "slow"):
        (site / "presets" / f"{name}.yaml").touch()
    install(site, "acme", presets)
    assert Registry().presets() == {**before, "slow": site / "presets/slow.yaml"}
    assert len(caplog.messages) == 1
    assert re.match(r"The plugin acme \(acme, acme 1\.0\) offers the preset 'quick' as ", caplog.messages[0])


def test_one_function_that_is_no_hook_leaves_the_rest_of_its_plugin_working(site: Path) -> None:
    install(site, "acme", schedule("acme") + "\n\ndef ddmkit_step_don(run):\n    pass\n")
    registry = Registry()
    assert "acme" in registry.names(Schedule)
    (error,) = registry.broken.values()
    assert str(error).endswith("; call it ddmkit_step_done, marked with ddmkit's @hookimpl")
