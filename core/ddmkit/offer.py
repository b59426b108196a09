"""Read what one plugin offers, and say what is wrong with it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pluggy
from typing_extensions import override

from ddmkit import hookspecs
from ddmkit.errors import PluginError, named
from ddmkit.soundness import wrong
from ddmkit.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ddmkit.component import Component

_PREFIX = "ddmkit_"
_HOOKS = {
    name: list(inspect.signature(hook).parameters)
    for name, hook in sorted(vars(hookspecs).items())
    if name.startswith(_PREFIX)
}
"""Every hook and the arguments it may take."""
_OFFERING = {"ddmkit_components", "ddmkit_presets"}
"""The hooks that do not tell of a run."""
EVENTS = tuple(name for name in _HOOKS if name not in _OFFERING)
"""Those that do."""


class Offer(NamedTuple):
    """What is usable in a plugin, and what is not."""

    components: list[type[Component]]
    presets: list[Path]
    """Files."""
    faults: list[PluginError]
    """Each says what is wrong in words that go on from "The plugin NAME"."""


class Manager(pluggy.PluginManager):
    """Passes over hooks that do not fit, so that the rest of their plugin works."""

    def __init__(self) -> None:
        super().__init__("ddmkit")
        self.add_hookspecs(hookspecs)

    @override
    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        return None if options is None or _misplaced(plugin, name, options) else options

    def offer(self, plugin: object) -> Offer:
        """Call the hooks that offer something; whatever they do, this does not fail."""
        offer = Offer([], [], [])
        if self.is_registered(plugin):
            offer.faults.append(PluginError("is there twice; give it, or its entry point, once"))
            return offer
        for name, options in self._hooks(plugin):
            try:
                _take(plugin, name, options, offer)
            except PluginError as fault:
                offer.faults.append(fault)
        return offer

    def listens(self, plugin: object) -> bool:
        """Tell whether a plugin that is registered listens to a run."""
        return any(caller.name in EVENTS for caller in self.get_hookcallers(plugin) or [])

    def _hooks(self, plugin: object) -> Iterator[tuple[str, pluggy.HookimplOpts | None]]:
        """Yield the name of each function that is marked as a hook, or named like one, and how it is marked."""
        for name in dir(plugin):
            options = super().parse_hookimpl_opts(plugin, name)
            if options is not None or (name.startswith(_PREFIX) and inspect.isroutine(getattr(plugin, name, None))):
                yield name, options


def _take(plugin: object, name: str, options: pluggy.HookimplOpts | None, offer: Offer) -> None:
    if options is None:
        advice = "mark it" if name in _HOOKS else f"{_meant(name)}, marked"
        msg = f"has a function {name}() without @hookimpl, which is never called; {advice} with ddmkit's @hookimpl"
        raise PluginError(msg)
    if misplaced := _misplaced(plugin, name, options):
        raise PluginError(misplaced)
    hook = options["specname"] or name
    if hook == "ddmkit_components":
        components = _called(plugin, name)
        if not isinstance(components, list | tuple):
            msg = f"returns {components!r} from {name}(), which is no list of Component classes"
            raise PluginError(msg)
        checked = [(component, wrong(component)) for component in components]
        offer.components.extend(component for component, fault in checked if not fault)
        offer.faults.extend(PluginError(fault) for _, fault in checked if fault)
    elif hook == "ddmkit_presets":
        folder = _called(plugin, name)
        if not (isinstance(folder, Path) and folder.is_dir()):
            msg = f"returns {folder!r} from {name}(), which is not the pathlib.Path of a folder"
            raise PluginError(msg)
        offer.presets.extend(sorted(folder.glob("*.yaml")))


def _meant(hook: str) -> str:
    """Say which hook may be meant, by default any."""
    words = {known.removeprefix(_PREFIX): known for known in _HOOKS}  # what all have in common makes none a near one
    near = nearest(hook.removeprefix(_PREFIX), words)
    return f"call it {words[near]}" if near else f"the hooks are {', '.join(_HOOKS)}"


def _called(plugin: object, name: str) -> object:
    try:
        returned: object = getattr(plugin, name)()
    except (Exception, SystemExit) as error:
        msg = f"fails in {name}() with {named(error)}"
        raise PluginError(msg) from error
    return returned


def _misplaced(plugin: object, name: str, options: pluggy.HookimplOpts) -> str:
    """Say why a function cannot be the hook it is marked as; nothing if it can."""
    hook = options["specname"] or name
    if options["wrapper"] or options["hookwrapper"]:
        return f"wraps {hook}, which ddmkit does not allow; mark {name}() with a plain @hookimpl"
    if hook not in _HOOKS:
        return f"has a hook {hook} that ddmkit does not know; {_meant(hook)}"
    parameters = inspect.signature(getattr(plugin, name)).parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    unknown = [argument for argument in needed if argument not in _HOOKS[hook]]
    allowed = ", ".join(_HOOKS[hook]) or "none"
    return f"asks for {', '.join(unknown)} in {name}(), whose arguments are {allowed}" if unknown else ""
