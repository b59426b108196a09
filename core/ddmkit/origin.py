"""Which installed package a plugin and its components come from."""

from __future__ import annotations

from importlib.metadata import entry_points
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ddmkit.component import Component


def installed() -> list[EntryPoint]:
    """Return every plugin's entry point: ddmkit's own first, then by package, on every machine in one order."""
    return sorted(entry_points(group="ddmkit"), key=lambda plugin: (_name(plugin) != "ddmkit", _name(plugin)))


def package_of(component: type[Component]) -> str:
    """Return the distribution and version of the plugin whose module lies nearest to a component's."""
    return package_at(component.__module__)


def package_at(module: str) -> str:
    """Return the distribution and version of the plugin whose module lies nearest to a module."""
    near = {plugin: _shared(module_of(plugin), module) for plugin in installed()}
    nearest = max(near, key=near.__getitem__, default=None)
    return title_of(nearest) if nearest is not None and near[nearest] else "this program"


def title_of(plugin: EntryPoint) -> str:
    """Return a plugin's distribution and version; nothing where no distribution is known."""
    return "" if plugin.dist is None else f"{plugin.dist.name} {plugin.dist.version}"


def module_of(plugin: EntryPoint) -> str:
    """Return the module that an entry point leads into."""
    return plugin.value.partition(":")[0].strip()


def _name(plugin: EntryPoint) -> str:
    return "" if plugin.dist is None else plugin.dist.name


def _shared(one: str, other: str) -> int:
    """Return how many names two dotted modules begin with alike."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
