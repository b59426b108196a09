"""Find what installed plugins offer."""

from __future__ import annotations

import gc
import inspect
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from ddmkit.component import Component
from ddmkit.errors import ComponentConflictError, PluginError, UnknownComponentError, named
from ddmkit.interface import contained, declared, misfit, misspelt, undecided, written
from ddmkit.offer import Manager, Offer
from ddmkit.origin import UNPACKED, innermost, installed, module_of, remember, title_of
from ddmkit.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from importlib.metadata import EntryPoint
    from pathlib import Path

    import pluggy

_log = logging.getLogger(__name__)
C = TypeVar("C", bound=Component)
_PRESET = "preset"


class Listener(NamedTuple):
    """An installed plugin that listens to every run."""

    name: str
    """Of its entry point."""
    about: str
    """Its docstring."""
    package: str
    """Distribution and version."""
    plugin: object
    """What its hooks belong to."""
    contained: bool
    """Whether it says that it writes into the run's folder alone, and needs no server."""


class Broken(NamedTuple):
    """An installed plugin that failed, wholly or in part."""

    plugin: EntryPoint
    error: PluginError
    """Why, in words that go on from "The plugin NAME"."""

    @property
    def title(self) -> str:
        """Its entry point with its package."""
        return f"{self.plugin.name} ({', '.join(filter(None, (self.plugin.value, title_of(self.plugin))))})"


class Registry:
    """Components by kind and name, presets by name, and the plugins that listen to a run.

    Args:
        plugins: objects with ddmkit hooks; by default, every installed plugin.
    """

    def __init__(self, *plugins: object) -> None:
        self.failed: list[Broken] = []
        """Plugins that failed, wholly or in part; everything else still works."""
        self._loaded: list[tuple[EntryPoint, object]] = []
        self._classes: dict[tuple[str, str], type[Component]] = {}
        self._presets: dict[str, Path] = {}
        self._packages: dict[type[Component] | Path, str] = {}
        self._manager = Manager()
        for plugin in plugins:
            self.register(plugin)
        if not plugins:
            with _uncollected():
                for entry in installed():
                    self._register_installed(entry)

    def register(self, plugin: object) -> None:
        """Add a plugin in hand, such as a listener to the events of a run.

        Raises:
            PluginError: something in it cannot be used; nothing of it is added.
            ComponentConflictError: it offers what another plugin offers already.
        """
        name = getattr(plugin, "__name__", type(plugin).__name__)
        if reason := misfit(declared(plugin), ""):
            msg = f"The plugin {name} {reason}."
            raise PluginError(msg)
        offer = self._manager.offer(plugin)
        for fault in (*offer.faults, *self._conflicts(offer, UNPACKED)):
            msg = f"The plugin {name} {fault}."
            raise type(fault)(msg) from fault.__cause__
        self._add(plugin, offer, UNPACKED)

    @property
    def broken(self) -> dict[str, PluginError]:
        """What failed and why, by entry point and package as people are told."""
        return {broken.title: broken.error for broken in self.failed}

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
            raise self._unknown(interface.kind, name, self.names(interface))
        return cast("type[C]", found)

    def presets(self) -> dict[str, Path]:
        """Return the file of every preset by name, sorted."""
        return dict(sorted(self._presets.items()))

    def preset(self, name: str) -> Path:
        """Return the file of one preset.

        Raises:
            UnknownComponentError: no installed plugin offers it.
        """
        presets = self.presets()
        if name not in presets:
            raise self._unknown(_PRESET, name, list(presets))
        return presets[name]

    def package(self, offered: type[Component] | Path) -> str:
        """Return the distribution and version that offers a component, or a preset's file, such as "ddmkit 0.1.0"."""
        return self._packages.get(offered, UNPACKED)

    def always_listening(self) -> list[Listener]:
        """Return the installed plugins that listen to every run, in the order they are called."""
        return [
            Listener(
                entry.name, inspect.getdoc(plugin) or "", title_of(entry), plugin, contained(plugin, module_of(entry))
            )
            for entry, plugin in self._loaded
            if self._manager.listens(plugin)
        ]

    def listeners(self, event: str) -> Sequence[pluggy.HookImpl]:
        """Return the implementations of one run event, in the order they were registered."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, event)
        return caller.get_hookimpls()

    def _register_installed(self, entry: EntryPoint) -> None:
        try:
            loaded = _load(entry)
        except PluginError as error:
            self._pass_over(entry, error)
            return
        if other := next((one for one, plugin in self._loaded if plugin is loaded), None):
            self._pass_over(entry, PluginError(_twice(entry, other)))
            return
        offer = self._manager.offer(loaded)
        faults = [*offer.faults, *self._conflicts(offer, title_of(entry))]
        self._add(loaded, offer, title_of(entry))
        for component in offer.components:
            remember(component, title_of(entry))
        self._loaded.append((entry, loaded))
        declarations = [look(loaded, module_of(entry)) for look in (misspelt, undecided)]
        said = [*map(str, faults), *declarations, self._manager.nothing(loaded, offer)]
        if any(said):
            self._pass_over(entry, PluginError("; it ".join(filter(None, said))))

    def _pass_over(self, plugin: EntryPoint, error: PluginError) -> None:
        self.failed.append(Broken(plugin, error))
        _log.warning("The plugin %s %s.", self.failed[-1].title, error)

    def _conflicts(self, offer: Offer, package: str) -> list[ComponentConflictError]:
        """Return a fault for each name of an offer that another component, or another file, has already."""
        classes, presets, faults = dict(self._classes), dict(self._presets), list[ComponentConflictError]()
        for cls in offer.components:
            other = classes.setdefault((cls.kind, cls.name), cls)
            if other is not cls:
                owner = self._packages.get(other, package)
                has = f"{_where(other)} of {owner} has that name already; {_way_out(package, owner)}"
                faults.append(_conflict(f"{cls.kind} {cls.name!r} as {_where(cls)}", has))
        for path in offer.presets:
            other_path = presets.setdefault(path.stem, path)
            if other_path != path:
                owner = self._packages.get(other_path, package)
                has = f"{other_path} of {owner} is that already; {_way_out(package, owner)}"
                faults.append(_conflict(f"preset {path.stem!r} as {path}", has))
        return faults

    def _add(self, plugin: object, offer: Offer, package: str) -> None:
        """Take over what is offered under names that are free: whoever came first keeps a name."""
        for cls in offer.components:
            self._packages.setdefault(self._classes.setdefault((cls.kind, cls.name), cls), package)
        for path in offer.presets:
            self._packages.setdefault(self._presets.setdefault(path.stem, path), package)
        if not self._manager.is_registered(plugin):
            # Pluggy would name it by its __name__, and two packages may both call a class Plugin.
            self._manager.register(plugin, name=str(id(plugin)))

    def _unknown(self, kind: str, name: str, names: list[str]) -> UnknownComponentError:
        near = did_you_mean(name, names)
        parts = [f"No {kind} is named {name!r}.{near} Installed: {', '.join(names) or 'none'}."]
        if not near and not self.failed:
            parts.append("If it comes with a plugin, install that plugin's package (again).")
        elif not near:
            parts.append("If it comes with a plugin, that one may be broken here, or not installed:")
            parts += [f"(The plugin {plugin} {error}.)" for plugin, error in self.broken.items()]
        return UnknownComponentError(" ".join(parts), kind, name)


@contextmanager
def _uncollected() -> Generator[None]:
    """Look for no garbage: classes that are being imported are none, and to look at them takes a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load(entry: EntryPoint) -> object:
    """Import a plugin.

    Raises:
        PluginError: it is made for another version of the interface, or fails to import.
    """
    module, package = module_of(entry), "" if entry.dist is None else entry.dist.name
    try:
        with warnings.catch_warnings():
            # What pydantic warns of is told of the plugin once it is there, with its name.
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute in parent")
            loaded: object = entry.load()
    except (Exception, SystemExit) as error:
        failed = f"fails to load with {named(error)}{_place(error, module)}{_remedy(error, module, package)}"
        raise PluginError(misfit(written(module), package) or failed) from error
    if reason := misfit(declared(loaded, module), package):
        raise PluginError(reason)
    return loaded


def _place(error: BaseException, module: str) -> str:
    """Return where in a plugin's own code its import failed; nothing where none of it ran."""
    found = innermost(error, {module.partition(".")[0]})
    return "" if found is None else f" (in {found[1].filename}, line {found[1].lineno})"


def _remedy(error: BaseException, module: str, package: str) -> str:
    """Return what a sentence goes on with about a distribution that does not load; empty where that is not known."""
    if package == "ddmkit":
        return "; install ddmkit again"
    if not package:
        return ""
    missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    if missing and "." not in missing and missing != module.partition(".")[0]:  # else it is a package's own affair
        return f"; install the package that {missing} comes with, or pip uninstall {package}"
    return f"; mend that if it is yours, else try pip install --upgrade {package}, or pip uninstall {package}"


def _conflict(offered: str, has: str) -> ComponentConflictError:
    return ComponentConflictError(f"offers the {offered}, but {has}")


def _way_out(package: str, owner: str) -> str:
    """Say what ends a conflict over a name between what a package offers and what its owner has."""
    if owner.partition(" ")[0] == "ddmkit" or package == UNPACKED:
        unless = "" if package == UNPACKED else f", or uninstall {package.partition(' ')[0]} if it is not yours"
        return f"choose another name for it{unless}"
    return "choose another name for one of them" if owner == package else "uninstall one of the two packages"


def _twice(entry: EntryPoint, other: EntryPoint) -> str:
    """Say that two entry points lead to one plugin."""
    if title_of(entry) == title_of(other):
        return "is there twice; give it, or its entry point, once"
    return f"is the plugin {other.name} of {title_of(other)} once more; uninstall one of the two packages"


def _where(cls: type[Component]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
