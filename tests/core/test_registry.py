"""Finding components and presets by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.core.offers import Entry, Flat, FlatToo, Listener, Offer, OfferPresets, Steep, broken, install

from ddmkit import ComponentConflictError, Registry, Sampler, Schedule, UnknownComponentError


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


def test_a_name_like_no_other_beside_a_plugin_that_is_broken_may_be_of_that_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, Entry("tracker", broken), Entry("flat", lambda: Offer(Flat)))
    said = (
        r"^No schedule is named 'quux'\. Installed: flat\. If it comes with a plugin, that one may be broken here, or "
    )
    with pytest.raises(UnknownComponentError, match=said) as error:
        Registry().get(Schedule, "quux")
    assert "(again)" not in str(error.value)
    with pytest.raises(UnknownComponentError, match=r"Did you mean 'flat'\? Installed: flat\.$"):
        Registry().get(Schedule, "flatt")  # and what is broken was warned of
    assert (error.value.kind, error.value.name) == ("schedule", "quux")


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


def test_a_plugin_registered_late_offers_its_components() -> None:
    registry = Registry(Offer(Flat))
    registry.register(Offer(Steep))
    assert registry.names(Schedule) == ["flat", "steep"]


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
