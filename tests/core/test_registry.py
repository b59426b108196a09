"""Finding components and presets by name."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import (
    Component,
    ComponentConflictError,
    ConfigurationError,
    PluginError,
    Registry,
    Sampler,
    Schedule,
    UnknownComponentError,
    hookimpl,
)


class Flat(Schedule):
    """A schedule that keeps the signal."""

    name: ClassVar[str] = "flat"

    @override
    def alphas_bar(self) -> Tensor:
        return torch.ones(self.timesteps + 1, dtype=torch.float64)


class FlatToo(Flat):
    """Another class under the same name."""


class Steep(Flat):
    """A second schedule."""

    name: ClassVar[str] = "steep"


class Unfinished(Schedule):
    """A schedule without its one method."""

    name: ClassVar[str] = "unfinished"


class Nameless(Flat):
    """A schedule whose name is no word."""

    name: ClassVar[str] = 3  # type: ignore[assignment]  # the mistake under test


class Offer:
    """A plugin in hand that offers what it is given."""

    def __init__(self, *components: Any) -> None:  # noqa: ANN401 - a plugin may offer anything
        self.components = components

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return list(self.components)


class OfferPresets:
    """A plugin with a folder of presets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def ddmkit_presets(self) -> Path:
        return self.folder


class Misspelt:
    """A plugin with a hook that does not exist."""

    @hookimpl
    def ddmkit_componnents(self) -> list[type[Component]]:
        return []


class Asking:
    """A plugin of which one hook asks for what nobody tells, beside one that is right."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Flat]

    @hookimpl
    def ddmkit_step_done(self, stepp: object) -> None:
        """Do nothing."""


class Raising:
    """A plugin whose components fail to import, beside a listener."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        msg = "No module named 'tensorpipe'"
        raise ModuleNotFoundError(msg)

    @hookimpl
    def ddmkit_step_done(self) -> None:
        """Do nothing."""


class RaisingPresets:
    """A plugin that does not find its presets."""

    @hookimpl
    def ddmkit_presets(self) -> Path:
        msg = "presets"
        raise KeyError(msg)


class Wrapping:
    """A plugin that wraps a hook, which has no meaning here."""

    @hookimpl(wrapper=True)
    def ddmkit_step_done(self) -> Any:  # noqa: ANN401 - pluggy's wrappers yield and return anything
        return (yield)


class OfferNonsense:
    """A plugin that returns what it is given from both hooks that offer something."""

    def __init__(self, returned: object) -> None:
        self.returned = returned

    @hookimpl
    def ddmkit_components(self) -> object:
        return self.returned

    @hookimpl
    def ddmkit_presets(self) -> object:
        return self.returned


class Listener:
    """A plugin that listens to one event."""

    @hookimpl
    def ddmkit_step_done(self) -> None:
        """Do nothing."""


class Distribution(NamedTuple):
    """The likeness of an installed package."""

    name: str
    version: str


class Entry:
    """An installed entry point, or the likeness of one."""

    def __init__(self, name: str, load: Callable[[], object], dist: Distribution | None = None) -> None:
        self.dist = dist
        self.name, self.value, self.load = name, f"{name}_package.hooks", load


def install(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    monkeypatch.setattr("ddmkit.registry.installed", lambda: list(entries))


def broken() -> object:
    msg = "No module named 'tensorpipe'"
    raise ModuleNotFoundError(msg)


def test_a_plugin_in_hand_needs_no_install() -> None:
    registry = Registry(Offer(Flat))
    assert registry.names(Schedule) == ["flat"]
    assert registry.get(Schedule, "flat") is Flat


def test_components_are_listed_by_kind_and_name_whatever_the_order_of_plugins() -> None:
    assert Registry(Offer(Steep), Offer(Flat)).components() == [Flat, Steep]
    assert Registry(Offer(Flat), Offer(Steep)).components() == [Flat, Steep]


def test_a_name_belongs_to_one_kind() -> None:
    registry = Registry(Offer(Flat))
    assert registry.names(Sampler) == []
    with pytest.raises(UnknownComponentError, match=r"^No sampler is named 'flat'\. Installed: none\. If it"):
        registry.get(Sampler, "flat")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(
        UnknownComponentError, match=r"^No schedule is named 'stepp'\. Did you mean 'steep'\? Installed: flat, steep\.$"
    ):
        Registry(Offer(Flat, Steep)).get(Schedule, "stepp")


def test_a_name_like_no_other_is_answered_with_the_list_and_may_be_of_a_package_that_is_gone() -> None:
    said = r"^No schedule is named 'quux'\. Installed: flat\. If it comes with a plugin, install .*package \(again\)\.$"
    with pytest.raises(UnknownComponentError, match=said):
        Registry(Offer(Flat)).get(Schedule, "quux")


def test_two_plugins_may_not_share_a_name_and_both_are_named() -> None:
    said = r"^The plugin Offer offers the schedule 'flat' as .*\.FlatToo, but .*\.Flat of this program has that name"
    with pytest.raises(ComponentConflictError, match=said):
        Registry(Offer(Flat), Offer(FlatToo))


def test_one_class_offered_twice_is_no_conflict() -> None:
    assert Registry(Offer(Flat), Offer(Flat)).components() == [Flat]


def test_a_plugin_that_fails_to_import_leaves_the_others_working(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Entry("tracker", broken), Entry("flat", lambda: Offer(Flat)))
    registry = Registry()
    assert registry.names(Schedule) == ["flat"]
    assert [str(error) for error in registry.broken.values()] == [
        "fails to load with ModuleNotFoundError: No module named 'tensorpipe'"
    ]


def test_an_unknown_name_tells_of_the_plugins_that_failed_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Entry("tracker", broken))
    with pytest.raises(
        UnknownComponentError,
        match=r"\(The plugin tracker \(tracker_package\.hooks\) fails to load .*: No module named 'tensorpipe'\.\)$",
    ):
        Registry().get(Schedule, "flat")


FAULTS: dict[str, tuple[object, str]] = {
    "a misspelt hook": (
        Misspelt(),
        r"^has a hook ddmkit_componnents that ddmkit does not know; call it ddmkit_components$",
    ),
    "a wrong argument": (Asking(), r"^asks for stepp in ddmkit_step_done\(\), whose arguments are run, step$"),
    "a hook that raises": (Raising(), r"^fails in ddmkit_components\(\) with ModuleNotFoundError: No module named"),
    "presets that raise": (RaisingPresets(), r"^fails in ddmkit_presets\(\) with KeyError: 'presets'$"),
    "a wrapper": (Wrapping(), r"^wraps ddmkit_step_done, which ddmkit does not allow; mark .* plain @hookimpl$"),
    "nothing": (
        OfferNonsense(None),
        r"^returns None from ddmkit_components\(\), which is no list .*; it returns None ",
    ),
    "a word": (
        OfferNonsense("flat"),
        r"^returns 'flat' from .*; it returns 'flat' from .* the pathlib\.Path of a folder; write return Path\(.*",
    ),
    "a missing folder": (OfferPresets(Path("nowhere")), r"^returns .*nowhere.* from ddmkit_presets\(\)"),
    "an abstract component": (Offer(Unfinished), r"^offers .*\.Unfinished, which lacks alphas_bar; define that"),
    "a component without a name": (Offer(Nameless), r"^offers .*\.Nameless, which lacks name"),
    "no component": (Offer(3), r"^offers 3, which is not a Component class; list classes derived from ddmkit\.Sampler"),
}


@pytest.mark.parametrize(("plugin", "fault"), FAULTS.values(), ids=FAULTS)
def test_an_installed_plugin_with_a_fault_is_named_in_one_warning_and_the_others_work(
    plugin: object, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entry = Entry("faulty", lambda: plugin, Distribution("acme", "1.0"))
    install(monkeypatch, entry, Entry("steep", lambda: Offer(Steep)))
    registry = Registry()
    assert Steep in registry.components()
    assert registry.presets() == {}
    ((name, error),) = registry.broken.items()
    assert name == "faulty (faulty_package.hooks, acme 1.0)"
    assert re.search(fault, str(error))
    assert [(record.name, record.levelno) for record in caplog.records] == [("ddmkit.registry", logging.WARNING)]
    assert caplog.messages == [f"The plugin {name} {error}."]


@pytest.mark.parametrize(("plugin", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_plugin_in_hand_with_a_fault_is_refused_whole(plugin: object, fault: str) -> None:
    registry = Registry(Offer(Steep))
    first = fault.removeprefix("^").partition("; it ")[0].removesuffix("$")
    with pytest.raises(PluginError, match=rf"^The plugin {type(plugin).__name__} {first}"):
        registry.register(plugin)
    assert registry.components() == [Steep]
    assert not registry.listeners("ddmkit_step_done")


def test_what_is_right_in_an_installed_plugin_with_a_fault_works(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = (Offer(Unfinished, Steep), Asking(), Raising())
    install(monkeypatch, *(Entry(type(plugin).__name__, partial(copy, plugin)) for plugin in plugins))
    registry = Registry()
    assert len(registry.broken) == 3
    assert registry.components() == [Flat, Steep]
    assert [type(listener.plugin) for listener in registry.listeners("ddmkit_step_done")] == [Raising]


def test_the_cause_of_a_fault_in_hand_is_kept_for_its_author() -> None:
    with pytest.raises(PluginError) as caught:
        Registry(Raising())
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_two_entry_points_to_one_plugin_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Offer(Flat)
    install(monkeypatch, Entry("one", lambda: plugin), Entry("other", lambda: plugin))
    registry = Registry()
    assert registry.components() == [Flat]
    assert {name: str(error) for name, error in registry.broken.items()} == {
        "other (other_package.hooks)": "is there twice; give it, or its entry point, once"
    }


def test_one_plugin_in_hand_twice_is_refused_and_stays_once() -> None:
    listener = Listener()
    registry = Registry(listener)
    with pytest.raises(PluginError, match=r"^The plugin Listener is there twice"):
        registry.register(listener)
    assert len(registry.listeners("ddmkit_step_done")) == 1


def test_one_plugin_may_not_offer_one_name_twice() -> None:
    with pytest.raises(ComponentConflictError, match=r"offers the schedule 'flat' as .*\.FlatToo, but .*\.Flat of "):
        Registry(Offer(Flat, FlatToo))


def test_a_plugin_registered_late_offers_its_components() -> None:
    registry = Registry(Offer(Flat))
    registry.register(Offer(Steep))
    assert registry.names(Schedule) == ["flat", "steep"]


def test_a_hook_like_no_other_is_refused_with_the_hooks_there_are() -> None:
    plugin = ModuleType("invented")
    plugin.__dict__["ddmkit_coffee"] = hookimpl(lambda: None)
    with pytest.raises(
        PluginError, match=r"^The plugin invented has a hook ddmkit_coffee .* the hooks are ddmkit_chec"
    ):
        Registry(plugin)


def test_a_listener_with_a_misspelt_hook_does_not_stay_registered() -> None:
    registry = Registry(Offer(Flat))
    with pytest.raises(PluginError):
        registry.register(Misspelt())
    registry.register(Listener())
    assert len(registry.listeners("ddmkit_step_done")) == 1


def test_a_component_that_lacks_a_method_is_refused_with_its_name() -> None:
    with pytest.raises(
        PluginError, match=r"^The plugin Offer offers .*\.Unfinished, which lacks alphas_bar; define that in its class"
    ):
        Registry(Offer(Unfinished))


def test_a_component_whose_name_is_no_word_is_refused() -> None:
    with pytest.raises(PluginError, match=r"\.Nameless, which lacks name"):
        Registry(Offer(Nameless))


@pytest.mark.parametrize("offered", [Flat(), int, "flat"], ids=["an instance", "another class", "a word"])
def test_what_is_no_component_class_is_refused(offered: object) -> None:
    with pytest.raises(PluginError, match="which is not a Component class"):
        Registry(Offer(offered))


def test_every_refusal_is_an_error_of_configuration() -> None:
    assert issubclass(PluginError, ConfigurationError)
    assert issubclass(ComponentConflictError, ConfigurationError)
    assert issubclass(UnknownComponentError, ConfigurationError)


def test_presets_are_the_yaml_files_of_every_plugins_folder(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one / "small.yaml", other / "large.yaml", other / "notes.txt"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    registry = Registry(OfferPresets(one), OfferPresets(other))
    assert list(registry.presets().items()) == [("large", other / "large.yaml"), ("small", one / "small.yaml")]
    assert registry.preset("small") == one / "small.yaml"


def test_an_unknown_preset_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "patchddm.yaml").touch()
    with pytest.raises(
        UnknownComponentError, match=r"^No preset is named 'pachddm'\. Did you mean 'patchddm'\? Installed: patchddm\.$"
    ):
        Registry(OfferPresets(tmp_path)).preset("pachddm")


def test_listeners_stand_in_the_order_they_were_registered() -> None:
    first, second = Listener(), Listener()
    registry = Registry(first)
    registry.register(second)
    assert [listener.plugin for listener in registry.listeners("ddmkit_step_done")] == [first, second]


def test_a_component_of_no_installed_package_comes_from_this_program() -> None:
    assert Registry(Offer(Flat)).package(Flat) == "this program"


def test_the_first_party_plugin_is_installed_as_any_other() -> None:
    registry = Registry()
    assert registry.broken == {}
    assert all(registry.package(component).startswith("ddmkit ") for component in registry.components())


def test_listing_the_first_party_components_does_not_import_torch() -> None:
    program = (
        "import sys, ddmkit; names = ddmkit.Registry().names(ddmkit.Schedule); print(names, 'torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['cosine', 'linear'] False"
