"""Which installed package a plugin and its components come from."""

from __future__ import annotations

import traceback
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Container
    from importlib.metadata import Distribution, EntryPoint

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
    return "" if plugin.dist is None else " ".join(filter(None, _told(plugin.dist)))


def module_of(plugin: EntryPoint) -> str:
    """Return the module that an entry point leads into."""
    return plugin.value.partition(":")[0].strip()


def innermost(error: BaseException, packages: Container[str]) -> tuple[str, traceback.FrameSummary] | None:
    """Return the module of some packages in which an error came up, or below which, and the place; None: in none.

    Args:
        error: as it was caught.
        packages: names of top-level ones, as they are imported.
    """
    frames = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = zip(reversed(frames), reversed(traceback.extract_tb(error.__traceback__)), strict=True)
    return next(((name, place) for name, place in places if name.partition(".")[0] in packages), None)


def _name(plugin: EntryPoint) -> str:
    return "" if plugin.dist is None else _told(plugin.dist)[0]


@lru_cache(maxsize=256)
def _told(distribution: Distribution) -> tuple[str, str]:
    """Return what a distribution is called, and its version, each of which it would read anew whenever it is asked.

    What its facts lack, as where it was installed by half, is empty.
    """
    metadata = distribution.metadata
    name, version = (metadata[fact] if fact in metadata else "" for fact in ("Name", "Version"))  # noqa: SIM401 - no get()
    return name, version
