"""Read what one plugin offers, and say what is wrong with it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pluggy
from typing_extensions import override

from ddmkit import hookspecs
from ddmkit.component import Component
from ddmkit.errors import PluginError, named
from ddmkit.soundness import wrong
from ddmkit.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "ddmkit_"
_HOOKS = {
    name: list(inspect.signature(hook).parameters)
    for name, hook in sorted(vars(hookspecs).items())
    if name.startswith(_PREFIX)
}
"""Every hook and the arguments it may take."""
_EMPTY = {
    "ddmkit_components": "its ddmkit_components() returns an empty list; return [MySampler]",
    "ddmkit_presets": "its ddmkit_presets() returns a folder without any NAME.yaml; put one there",
}
"""What is said of the hooks that offer something where they do not."""
_UNMARKED = "no function in it is marked with ddmkit's @hookimpl; add ddmkit_components(), which returns [MySampler]"
EVENTS = tuple(name for name in _HOOKS if name not in _EMPTY)
"""The hooks that tell of a run."""


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
                if str(fault) not in map(str, offer.faults):  # what is wrong with all of a plugin
                    offer.faults.append(fault)
        return offer

    def nothing(self, plugin: object, offer: Offer) -> str:
        """Say that a plugin that is registered has nothing to it; nothing if there is something, or a fault."""
        if any(offer) or self.listens(plugin):
            return ""
        hooks = [options["specname"] or name for name, options in self._hooks(plugin) if options is not None]
        if not all(hook in _EMPTY for hook in hooks):  # one for another version of ddmkit
            return ""
        return f"offers nothing: {'; '.join(_EMPTY[hook] for hook in hooks) or _UNMARKED}"

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
            advice = f"{'add' if components is None else 'write'} return [{_listed(components)}]"
            msg = f"returns {components!r} from {name}(), which is no list of Component classes; {advice}"
            raise PluginError(msg)
        checked = [(component, wrong(component)) for component in components]
        offer.components.extend(component for component, fault in checked if not fault)
        offer.faults.extend(PluginError(fault) for _, fault in checked if fault)
    elif hook == "ddmkit_presets":
        folder = _called(plugin, name)
        if not (isinstance(folder, Path) and folder.is_dir()):
            advice = 'write return Path(__file__).parent / "presets", and ship that folder'
            msg = f"returns {folder!r} from {name}(), which is not the pathlib.Path of a folder; {advice}"
            raise PluginError(msg)
        offer.presets.extend(sorted(folder.glob("*.yaml")))


def _listed(returned: object) -> str:
    """Return what may be meant to stand in the list of components that somebody returned something else for."""
    meant = returned if isinstance(returned, type) else type(returned)
    return meant.__name__ if issubclass(meant, Component) else "MySampler"


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
        if options["optionalhook"]:  # of a version of ddmkit that has it
            return ""
        return f"has a hook {hook} that ddmkit does not know; {_meant(hook)}"
    parameters = inspect.signature(getattr(plugin, name)).parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    unknown = [argument for argument in needed if argument not in _HOOKS[hook]]
    if isinstance(plugin, type) and needed[:1] == ["self"]:
        made = f"{plugin.__name__.lower()} = {plugin.__name__}()"
        return f"is a class whose hooks are methods; let the entry point lead to an object of it, {made}"
    allowed = ", ".join(_HOOKS[hook]) or "none"
    return f"asks for {', '.join(unknown)} in {name}(), whose arguments are {allowed}" if unknown else ""
