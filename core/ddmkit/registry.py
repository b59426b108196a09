"""Find what installed plugins offer."""

from __future__ import annotations

import difflib
import logging
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar, cast

from ddmkit.component import Component
from ddmkit.errors import ComponentConflictError, PluginError, UnknownComponentError
from ddmkit.offer import Manager, Offer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pluggy

_log = logging.getLogger(__name__)
C = TypeVar("C", bound=Component)


class Registry:
    """Components by kind and name, presets by name, and the plugins that listen to a run.

    Args:
        plugins: objects with ddmkit hooks; by default, every installed plugin.
    """

    def __init__(self, *plugins: object) -> None:
        self.broken: dict[str, Exception] = {}
        """Entry points with their package that failed, wholly or in part, and why; everything else still works."""
        self._packages: dict[str, str] = {}
        self._classes: dict[tuple[str, str], type[Component]] = {}
        self._preset_folders: list[Path] = []
        self._manager = Manager()
        for plugin in plugins:
            self.register(plugin)
        if not plugins:
            self._register_installed()

    def register(self, plugin: object) -> None:
        """Add a plugin in hand, such as a listener to the events of a run.

        Raises:
            PluginError: something in it cannot be used; nothing of it is added.
            ComponentConflictError: it offers what another plugin offers already.
        """
        offer = self._manager.offer(plugin)
        if offer.faults:
            fault = offer.faults[0]
            msg = f"The plugin {getattr(plugin, '__name__', type(plugin).__name__)} {fault}."
            raise PluginError(msg) from fault.__cause__
        self._add(plugin, offer)

    def names(self, interface: type[Component]) -> list[str]:
        """Return every name offered for `interface`, sorted."""
        return sorted(name for kind, name in self._classes if kind == interface.kind)

    def components(self) -> list[type[Component]]:
        """Return every component, sorted by kind and name."""
        return [self._classes[key] for key in sorted(self._classes)]

    def get(self, interface: type[C], name: str) -> type[C]:
        """Return the class offered as `name` for `interface`.

        Raises:
            UnknownComponentError: no installed plugin offers it.
        """
        found = self._classes.get((interface.kind, name))
        if found is None:
            raise UnknownComponentError(self._unknown(interface.kind, name, self.names(interface)))
        return cast("type[C]", found)

    def presets(self) -> dict[str, Path]:
        """Return the file of every preset by name, sorted.

        Raises:
            ComponentConflictError: two plugins offer a preset of one name.
        """
        presets: dict[str, Path] = {}
        for path in sorted(path for folder in self._preset_folders for path in folder.glob("*.yaml")):
            other = presets.setdefault(path.stem, path)
            if other != path:
                msg = f"Both {other} and {path} are the preset {path.stem!r}; uninstall one of their packages."
                raise ComponentConflictError(msg)
        return dict(sorted(presets.items()))

    def preset(self, name: str) -> Path:
        """Return the file of one preset.

        Raises:
            UnknownComponentError: no installed plugin offers it.
        """
        presets = self.presets()
        if name not in presets:
            raise UnknownComponentError(self._unknown("preset", name, list(presets)))
        return presets[name]

    def package(self, component: type[Component]) -> str:
        """Return the distribution and version a component came from, such as "ddmkit 0.1.0"."""
        return self._packages.get(component.__module__.partition(".")[0], "this program")

    def listeners(self, event: str) -> Sequence[pluggy.HookImpl]:
        """Return the implementations of one run event, in the order they were registered."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, event)
        return caller.get_hookimpls()

    def _register_installed(self) -> None:
        for entry in entry_points(group="ddmkit"):
            package = "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
            if package:
                self._packages[entry.value.partition(".")[0]] = package
            plugin = f"{entry.name} ({', '.join(filter(None, (entry.value, package)))})"
            try:
                loaded = entry.load()
            except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
                self._pass_over(plugin, error, f"fails to load with {type(error).__name__}: {error}")
                continue
            offer = self._manager.offer(loaded)
            if offer.faults:
                fault = PluginError("; it ".join(map(str, offer.faults)))
                self._pass_over(plugin, fault, str(fault))
            self._add(loaded, offer)

    def _pass_over(self, plugin: str, error: Exception, what: str) -> None:
        self.broken[plugin] = error
        _log.warning("The plugin %s %s.", plugin, what)

    def _add(self, plugin: object, offer: Offer) -> None:
        classes = dict(self._classes)
        for cls in offer.components:
            other = classes.setdefault((cls.kind, cls.name), cls)
            if other is not cls:
                msg = f"Both {_where(other)} and {_where(cls)} offer the {cls.kind} {cls.name!r}; uninstall one."
                raise ComponentConflictError(msg)
        self._classes = classes
        self._preset_folders += offer.presets
        if not self._manager.is_registered(plugin):
            self._manager.register(plugin)

    def _unknown(self, kind: str, name: str, names: list[str]) -> str:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        parts = [f"No {kind} is named {name!r}."]
        parts += [f"Did you mean {near[0]!r}?"] if near else []
        parts += [f"Installed: {', '.join(names) or 'none'}."]
        parts += [] if near else ["If it comes with a plugin, install that plugin's package (again)."]
        parts += [f"(The plugin {plugin} is broken: {error}.)" for plugin, error in self.broken.items()]
        return " ".join(parts)


def _where(cls: type[Component]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
