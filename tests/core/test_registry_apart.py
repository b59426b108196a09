"""Plugins that must not get into each other's way, nor end the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ddmkit import Component, PluginError, Registry, hookimpl
from ddmkit.interface import written

if TYPE_CHECKING:
    from pathlib import Path


def plugin(heard: list[str], name: str) -> type:
    """Return a class with a static hook; each is called Plugin."""

    class Plugin:
        @staticmethod
        @hookimpl
        def ddmkit_run_started() -> None:
            heard.append(name)

    return Plugin


def test_two_plugins_may_be_classes_of_one_name() -> None:
    heard: list[str] = []
    registry = Registry(plugin(heard, "one"), plugin(heard, "other"))
    for listener in registry.listeners("ddmkit_run_started"):
        listener.function()
    assert sorted(heard) == ["one", "other"]


class Leaving:
    """A plugin that would end the program."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        msg = "no\nlicence"
        raise SystemExit(msg)


def test_a_plugin_that_would_end_the_program_is_refused_in_one_line() -> None:
    with pytest.raises(PluginError, match=r"fails in ddmkit_components\(\) with SystemExit: no licence\.$"):
        Registry(Leaving())


def test_a_package_that_would_end_the_program_tells_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving").mkdir()
    (tmp_path / "leaving" / "__init__.py").write_text("raise SystemExit(3)")
    (tmp_path / "leaving" / "hooks.py").write_text("ddmkit_interface = 2")
    monkeypatch.syspath_prepend(tmp_path)
    assert written("leaving.hooks") is None
