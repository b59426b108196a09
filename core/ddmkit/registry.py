"""Find what installed plugins offer."""

from __future__ import annotations

import difflib
import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from ddmkit import hookspecs
from ddmkit.component import Component
from ddmkit.errors import ComponentConflictError, PluginError, UnknownComponentError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

C = TypeVar("C", bound=Component)


class Registry:
    """Components by kind and name, presets by name, and the plugins that listen to a run.

    Args:
        plugins: objects with ddmkit hooks; by default, every installed plugin.
    """

    def __init__(self, *plugins: object) -> None:
        self.broken: dict[str, Exception] = {}
        """Entry points that failed to import, and why; everything else still works."""
        self._packages: dict[str, str] = {}
        self._manager = pluggy.PluginManager("ddmkit")
        self._manager.add_hookspecs(hookspecs)
        for plugin in plugins or self._installed():
            self.register(plugin)
        self._classes = self._collect()

    def register(self, plugin: object) -> None:
        """Add a plugin in hand, such as a listener to the events of a run.

        Raises:
            PluginError: it implements a hook that does not exist.
        """
        self._manager.register(plugin)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            self._manager.unregister(plugin)
            raise PluginError(_unknown_hook(plugin, error)) from error

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
        folders: list[Path] = self._manager.hook.ddmkit_presets()
        presets: dict[str, Path] = {}
        for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
            other = presets.setdefault(path.stem, path)
            if other is not path:
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

    def _installed(self) -> list[object]:
        plugins: list[object] = []
        for entry in entry_points(group="ddmkit"):
            try:
                plugins.append(entry.load())
            except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
                self.broken[f"{entry.name} ({entry.value})"] = error
            if entry.dist is not None:
                self._packages[entry.value.partition(".")[0]] = f"{entry.dist.name} {entry.dist.version}"
        return plugins

    def _collect(self) -> dict[tuple[str, str], type[Component]]:
        classes: dict[tuple[str, str], type[Component]] = {}
        offered: list[list[type[Component]]] = self._manager.hook.ddmkit_components()
        for cls in (cls for group in reversed(offered) for cls in group):
            _check_class(cls)
            other = classes.setdefault((cls.kind, cls.name), cls)
            if other is not cls:
                msg = f"Both {_where(other)} and {_where(cls)} offer the {cls.kind} {cls.name!r}; uninstall one."
                raise ComponentConflictError(msg)
        return classes

    def _unknown(self, kind: str, name: str, names: list[str]) -> str:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        parts = [f"No {kind} is named {name!r}."]
        parts += [f"Did you mean {near[0]!r}?"] if near else []
        parts += [f"Installed: {', '.join(names) or 'none'}."]
        parts += [f"(The plugin {plugin} failed to load: {error}.)" for plugin, error in self.broken.items()]
        return " ".join(parts)


def _check_class(cls: Any) -> None:  # noqa: ANN401 - a plugin may return anything
    if not (isinstance(cls, type) and issubclass(cls, Component)):
        msg = f"A plugin's ddmkit_components() returned {cls!r}, which is not a Component class; mend that plugin."
        raise PluginError(msg)
    missing = [attribute for attribute in ("kind", "name") if not isinstance(getattr(cls, attribute, None), str)]
    missing += sorted(cls.__abstractmethods__) if inspect.isabstract(cls) else []
    if missing:
        msg = f"The component {_where(cls)} lacks {', '.join(missing)}; define that in its class."
        raise PluginError(msg)


def _unknown_hook(plugin: object, error: pluggy.PluginValidationError) -> str:
    hooks = [name for name in dir(hookspecs) if name.startswith("ddmkit_")]
    name = getattr(plugin, "__name__", type(plugin).__name__)
    return f"The plugin {name} has a hook that ddmkit does not know ({error}); the hooks are {', '.join(hooks)}."


def _where(cls: type[Component]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
