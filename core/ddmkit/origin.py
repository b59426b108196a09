"""Which installed package a plugin and its components come from."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from ddmkit.component import Component

UNPACKED = "this program"
"""What stands for the package of what no installed package offers."""
_PACKAGES: WeakKeyDictionary[type[Component], str] = WeakKeyDictionary()
"""Distribution and version of each component that an installed plugin offered to a registry of this process."""


def installed() -> list[EntryPoint]:
    """Return every plugin's entry point: ddmkit's own first, then by package, on every machine in one order."""
    return sorted(entry_points(group="ddmkit"), key=lambda plugin: (_name(plugin) != "ddmkit", _name(plugin)))


def package_of(component: type[Component]) -> str:
    """Return the distribution and version of the plugin that offered a component; "this program" where none did."""
    return _PACKAGES.get(component, UNPACKED)


def remember(component: type[Component], package: str) -> None:
    """Take down which distribution and version an installed plugin's component came with; the first is where it is."""
    _PACKAGES.setdefault(component, package)


def title_of(plugin: EntryPoint) -> str:
    """Return a plugin's distribution and version; nothing where no distribution is known."""
    return "" if plugin.dist is None else f"{plugin.dist.name} {plugin.dist.version}"


def module_of(plugin: EntryPoint) -> str:
    """Return the module that an entry point leads into."""
    return plugin.value.partition(":")[0].strip()


def _name(plugin: EntryPoint) -> str:
    return "" if plugin.dist is None else plugin.dist.name
