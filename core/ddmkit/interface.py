"""The version of the plugin interface, and whether a plugin is made for it."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ddmkit.spelling import nearest

INTERFACE = 1
"""Version of what plugins rely on: the hooks, the interface of each kind, and all that these hand over.

A plugin says in the module of its entry point what it is made for, `ddmkit_interface = 1`; one that says nothing is
taken as it comes. The number rises when something is taken away or means something else than before. It stays when
something is added that no plugin has to know: a hook, a kind, an argument or a method with a default.
"""
_DECLARATION = "ddmkit_interface"
_CONTAINED = "ddmkit_contained"
_WRITTEN = re.compile(r"^ddmkit_interface\b[^=\n]*=\s*(\d+)", re.MULTILINE)


def declared(plugin: object, module: str = "") -> object:
    """Return what a plugin says it is made for; None where it says nothing.

    Args:
        plugin: what its entry point leads to.
        module: of the entry point, where the plugin is an object in it.
    """
    return _variable(_DECLARATION, plugin, module)


def contained(plugin: object, module: str = "") -> bool:
    """Return whether a plugin says `ddmkit_contained = True`, as a tracker does by `Tracker.contained`.

    Then it writes into the run's folder alone and needs no server, and `ddmkit plugins check` tells it of a run.

    Args:
        plugin: what its entry point leads to.
        module: of the entry point, where the plugin is an object in it.
    """
    return _variable(_CONTAINED, plugin, module) is True


def undecided(plugin: object, module: str = "") -> str:
    """Say, in words that go on from "The plugin NAME", what is neither yes nor no in it; nothing if nothing is.

    Args:
        plugin: what its entry point leads to.
        module: of the entry point, where the plugin is an object in it.
    """
    said = _variable(_CONTAINED, plugin, module)
    if said is None or isinstance(said, bool):
        return ""
    return f"says {_CONTAINED} = {said!r}, which is neither True nor False; write one of them"


def _variable(name: str, plugin: object, module: str) -> object:
    return getattr(plugin, name, getattr(sys.modules.get(module), name, None))


def misspelt(plugin: object, module: str = "") -> str:
    """Say, in words that go on from "The plugin NAME", which variable may be meant to declare; nothing if none is.

    Args:
        plugin: what its entry point leads to.
        module: of the entry point, where the plugin is an object in it.
    """
    variables = {**getattr(sys.modules.get(module), "__dict__", {}), **getattr(plugin, "__dict__", {})}
    if _DECLARATION in variables:
        return ""
    for name, value in variables.items():
        if isinstance(value, int) and nearest(name, [_DECLARATION], alike=0.85):
            return f"has a variable {name} that ddmkit does not know; call it {_DECLARATION}"
    return ""


def written(module: str) -> int | None:
    """Return what a module that fails to import says it is made for, as far as its text tells.

    What it lacks may well be what makes the other version another one.
    """
    with suppress(Exception, SystemExit):  # finding it imports its parents, which may be what fails
        spec = find_spec(module)
        text = Path(spec.origin).read_text("utf-8") if spec is not None and spec.origin is not None else ""
        if said := _WRITTEN.search(text):
            return int(said[1])
    return None


def misfit(made_for: object, package: str) -> str:
    """Say, in words that go on from "The plugin NAME", why what a plugin declares does not fit; nothing if it does.

    Args:
        made_for: from `declared` or `written`.
        package: its distribution; empty where that is not known.
    """
    if made_for is None or (made_for == INTERFACE and not isinstance(made_for, bool)):
        return ""
    if not isinstance(made_for, int) or isinstance(made_for, bool):
        return f"says ddmkit_interface = {made_for!r}, which is no whole number; write ddmkit_interface = {INTERFACE}"
    old = "ddmkit" if made_for > INTERFACE else package or "the plugin"
    here = f"and ddmkit {version('ddmkit')} has version {INTERFACE}"
    typed = f": pip install --upgrade {old}" if old != "the plugin" else ""
    return f"is made for version {made_for} of the plugin interface, {here}; upgrade {old}{typed}"
