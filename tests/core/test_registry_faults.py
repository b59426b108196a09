"""Plugins that are wrong in part: each is named in one warning, and what is right works."""

from __future__ import annotations

import logging
import re
from copy import copy
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from tests.core.offers import (
    Asking,
    Distribution,
    Entry,
    Flat,
    FlatToo,
    Listener,
    Misspelt,
    Nameless,
    Offer,
    OfferNonsense,
    OfferPresets,
    Raising,
    RaisingPresets,
    Steep,
    Unfinished,
    Wrapping,
    install,
)

from ddmkit import ComponentConflictError, ConfigurationError, PluginError, Registry, UnknownComponentError, hookimpl

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
