"""Whose mistake it is that ended a command."""

from __future__ import annotations

from itertools import takewhile
from operator import eq
from typing import TYPE_CHECKING

from ddmkit.errors import named
from ddmkit.origin import innermost, installed, module_of, title_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

_OWN = frozenset({"ddmkit", "ddmkit_cli", "ddmkit_plugins"})


def blame(error: Exception) -> str:
    """Say which installed plugin's code an error came up in, or below, and how to go on; nothing where in none.

    Args:
        error: that nobody foresaw.
    """
    plugins = [plugin for plugin in installed() if _top(plugin) not in _OWN]
    tops = {_top(plugin) for plugin in plugins}
    found, deepest = innermost(error, tops), innermost(error, tops | _OWN)
    if found is None or deepest is None:
        return ""
    module, place = found
    packages = _packages(module, plugins)
    does = "ends the command by" if deepest == found else "asked ddmkit for what ends the command by"
    checked = " ".join(package.partition(" ")[0] for package in packages)
    return (
        f"The code of {' or '.join(packages)} {does} {named(error)} (in {place.filename}, line {place.lineno}): go on "
        f"without what it offers; its author learns more from ddmkit plugins check {checked}."
    )


def _top(plugin: EntryPoint) -> str:
    return module_of(plugin).partition(".")[0]


def _packages(module: str, plugins: Sequence[EntryPoint]) -> list[str]:
    """Return the packages that a module may belong to: of those that share a namespace, the nearest."""
    near = {plugin: _shared(module, module_of(plugin)) for plugin in plugins}
    nearest = [plugin for plugin in plugins if near[plugin] == max(near.values())]
    return list(dict.fromkeys(title_of(plugin) or plugin.name for plugin in nearest))


def _shared(module: str, other: str) -> int:
    """Return how many packages two modules are both in, counted from the top."""
    return sum(takewhile(bool, map(eq, module.split("."), other.split("."))))
