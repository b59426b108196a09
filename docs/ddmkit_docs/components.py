"""The pages about what plugins are made of: one for each kind, one for what they import, one for the checks."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

import ddmkit
from ddmkit import Component
from ddmkit_docs.interfaces import documentation, entry, found, own
from ddmkit_docs.settings import settings_table
from ddmkit_docs.text import page, prose, summary, table

if TYPE_CHECKING:
    from ddmkit import Registry

_OFFERED = [getattr(ddmkit, name) for name in ddmkit.__all__]
INTERFACES: list[type[Component]] = [
    thing for thing in _OFFERED if isinstance(thing, type) and issubclass(thing, Component) and thing is not Component
]
"""One for each kind."""
_KINDS = {interface.__module__: interface.kind for interface in INTERFACES}
"""The kind that a module is the interface of."""


def kind_page(registry: Registry, interface: type[Component]) -> str:
    """Return the page of one kind: what is installed, what a plugin defines, and the check that it has to pass."""
    title, _, rest = (inspect.getdoc(import_module(interface.__module__)) or "").partition(": ")
    lead, _, example = rest.partition("\n\n")
    kind = interface.kind
    components = [component for component in registry.components() if component.kind == kind]
    return page(
        f"# {title}",
        prose(lead[:1].upper() + lead[1:]),
        f"`--{kind} NAME` chooses it, and `-o` changes its settings, which stand below as they are typed. "
        f"`ddmkit plugins show {kind}` prints them too.",
        "## What is installed",
        _overview(registry, components),
        *[_component(component) for component in components],
        "## The interface",
        prose(example),
        _interface(interface),
        *[entry(thing, 3) for thing in own(interface.__module__) if thing.name != interface.__name__],
        "## The check",
        "[Testing](../plugins/testing.md) says how to use it. For this kind `ddmkit.testing.check` calls:",
        entry(found(f"ddmkit.testing.check_{kind}"), 3),
    )


def _overview(registry: Registry, components: list[type[Component]]) -> str:
    rows = [
        (f"`{component.name}`", prose(summary(inspect.getdoc(component))), registry.package(component))
        for component in components
    ]
    return table(("name", "what it is", "package"), rows)


def _component(component: type[Component]) -> str:
    return page(
        f"### {component.name}",
        prose(inspect.getdoc(component) or ""),
        settings_table(component.option_prefix(), component),
    )


def _interface(interface: type[Component]) -> str:
    """Return the interface with the settings that all of its kind have, in place of the fields of the class."""
    told = set(interface.model_fields)
    shared = settings_table(interface.kind, interface) if told else ""
    about = f"Settings that every {interface.kind} has:\n\n{shared}" if shared else ""
    return page(entry(found(f"ddmkit.{interface.__name__}"), 3, skipped=told), about)


def import_page() -> str:
    """Return the page of all that `from ddmkit import …` offers."""
    things = [found(f"ddmkit.{name}") for name in ddmkit.__all__]
    kinds = {thing.name: _KINDS[thing.module.path] for thing in things if thing.module.path in _KINDS}
    return page(
        "# What a plugin imports",
        "`from ddmkit import …` offers these names, and they are all that most plugins need; at the end stand the "
        "other modules of [the interface](../plugins/versions.md#what-the-interface-is). Names of a kind stand on its "
        "page:",
        table(("name", "kind"), [(f"`{name}`", f"[{kind}]({kind}.md)") for name, kind in kinds.items()]),
        "The others:",
        *[entry(thing, 2) for thing in things if thing.name not in kinds],
        *[_module(name) for name in ("ddmkit.events", "ddmkit.assembly", "ddmkit.memory")],
    )


def _module(name: str) -> str:
    """Return all that a module for plugins offers; what the pages of events tell is left to them."""
    offered = [found(f"{name}.{member}") for member in import_module(name).__all__]
    told = name == "ddmkit.events"
    pages = "[The pages of the events](hooks.md#the-events-of-a-run) tell the fields of these." if told else ""
    return page(
        f"## {name}",
        documentation(found(name)),
        pages,
        *[page(f"### {thing.name}", documentation(thing)) if told else entry(thing, 3) for thing in offered],
    )


def testing_page() -> str:
    """Return the page of `ddmkit.testing`."""
    module = import_module("ddmkit.testing")
    return page(
        "# Checks",
        documentation(found("ddmkit.testing")),
        *[entry(found(f"ddmkit.testing.{name}"), 2) for name in module.__all__],
    )
