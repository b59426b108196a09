"""Read what one plugin offers, and say what is wrong with it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pluggy
from typing_extensions import override

from ddmkit import hookspecs
from ddmkit.component import Component
from ddmkit.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOOKS = {
    name: list(inspect.signature(hook).parameters)
    for name, hook in sorted(vars(hookspecs).items())
    if name.startswith("ddmkit_")
}
"""Every hook and the arguments it may take."""


class Offer(NamedTuple):
    """What is usable in a plugin, and what is not."""

    components: list[type[Component]]
    presets: list[Path]
    """Folders."""
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
        return None if options is None or _misfit(plugin, name, options) else options

    def offer(self, plugin: object) -> Offer:
        """Call the hooks that offer something; whatever they do, this does not fail."""
        offer = Offer([], [], [])
        if self.is_registered(plugin):
            offer.faults.append(PluginError("is there twice; give it, or its entry point, once"))
            return offer
        for name, options in self._marked(plugin):
            try:
                _take(plugin, name, options, offer)
            except PluginError as fault:
                offer.faults.append(fault)
        return offer

    def _marked(self, plugin: object) -> Iterator[tuple[str, pluggy.HookimplOpts]]:
        """Yield the name of each function that is marked as a hook, and how it is marked."""
        for name in dir(plugin):
            options = super().parse_hookimpl_opts(plugin, name)
            if options is not None:
                yield name, options


def _take(plugin: object, name: str, options: pluggy.HookimplOpts, offer: Offer) -> None:
    misfit = _misfit(plugin, name, options)
    if misfit:
        raise PluginError(misfit)
    hook = options["specname"] or name
    if hook == "ddmkit_components":
        components = _called(plugin, name)
        if not isinstance(components, list | tuple):
            msg = f"returns {components!r} from {name}(), which is no list of Component classes"
            raise PluginError(msg)
        checked = [(component, _wrong(component)) for component in components]
        offer.components.extend(component for component, wrong in checked if not wrong)
        offer.faults.extend(PluginError(wrong) for _, wrong in checked if wrong)
    elif hook == "ddmkit_presets":
        folder = _called(plugin, name)
        if not (isinstance(folder, Path) and folder.is_dir()):
            msg = f"returns {folder!r} from {name}(), which is not the pathlib.Path of a folder"
            raise PluginError(msg)
        offer.presets.append(folder)


def _called(plugin: object, name: str) -> object:
    try:
        returned: object = getattr(plugin, name)()
    except Exception as error:
        msg = f"fails in {name}() with {type(error).__name__}: {error}"
        raise PluginError(msg) from error
    return returned


def _misfit(plugin: object, name: str, options: pluggy.HookimplOpts) -> str:
    """Say why a function cannot be the hook it is marked as; nothing if it can."""
    hook = options["specname"] or name
    if options["wrapper"] or options["hookwrapper"]:
        return f"wraps {hook}, which ddmkit does not allow; mark {name}() with a plain @hookimpl"
    if hook not in _HOOKS:
        return f"has a hook {hook} that ddmkit does not know; the hooks are {', '.join(_HOOKS)}"
    parameters = inspect.signature(getattr(plugin, name)).parameters.values()
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    unknown = [argument for argument in needed if argument not in _HOOKS[hook]]
    allowed = ", ".join(_HOOKS[hook]) or "none"
    return f"asks for {', '.join(unknown)} in {name}(), whose arguments are {allowed}" if unknown else ""


def _wrong(component: object) -> str:
    """Say why something is no usable component; nothing if it is one."""
    if not (isinstance(component, type) and issubclass(component, Component)):
        return f"offers {component!r}, which is not a Component class"
    missing = [attribute for attribute in ("kind", "name") if not isinstance(getattr(component, attribute, None), str)]
    missing += sorted(component.__abstractmethods__) if inspect.isabstract(component) else []
    where = f"{component.__module__}.{component.__qualname__}"
    return f"offers {where}, which lacks {', '.join(missing)}; define that in its class" if missing else ""
