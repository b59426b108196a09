"""A page for each kind of component, and one for what every component is."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

import ddmkit
from ddmkit.configuration import INTERFACES
from ddmkit_docs.interfaces import documentation, entry, found, own
from ddmkit_docs.settings import settings_table
from ddmkit_docs.text import page, prose, summary, table

if TYPE_CHECKING:
    from ddmkit import Component, Registry

KIND_MODULES = {interface.__module__: interface.kind for interface in INTERFACES}


def kind_page(registry: Registry, interface: type[Component]) -> str:
    """Return the page of one kind: what is installed, what a plugin defines, and the check that it has to pass."""
    title, _, rest = (inspect.getdoc(import_module(interface.__module__)) or "").partition(": ")
    lead, _, example = rest.partition("\n\n")
    kind = interface.kind
    components = [component for component in registry.components() if component.kind == kind]
    return page(
        f"# {title}",
        prose(lead[:1].upper() + lead[1:]),
        f"`--{kind} NAME` chooses one, `-o {kind}.SETTING=VALUE` changes a setting of it; on the command line "
        f"`ddmkit plugins show {kind}` says the same as this page.",
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
        settings_table(component.kind, component),
    )


def _interface(interface: type[Component]) -> str:
    """Return the interface with the settings that all of its kind have, in place of the fields of the class."""
    told = set(interface.model_fields)
    shared = settings_table(interface.kind, interface) if told else ""
    about = f"Settings that every {interface.kind} has:\n\n{shared}" if shared else ""
    return page(entry(found(f"ddmkit.{interface.__name__}"), 3, skipped=told), about)


def import_page() -> str:
    """Return the page of all that `from ddmkit import …` offers."""
    things = {name: found(f"ddmkit.{name}") for name in ddmkit.__all__}
    elsewhere = {
        name: KIND_MODULES[thing.module.path] for name, thing in things.items() if _has_kind(thing.module.path)
    }
    here = [thing for name, thing in things.items() if name not in elsewhere]
    return page(
        "# What a plugin imports",
        "`from ddmkit import …` offers these names, and they are all that a plugin needs. Those of a kind stand on "
        "its page:",
        table(("name", "kind"), [(f"`{name}`", f"[{kind}]({kind}.md)") for name, kind in elsewhere.items()]),
        "The others:",
        *[entry(thing, 2) for thing in here],
    )


def _has_kind(module: str) -> bool:
    return module in KIND_MODULES


def testing_page() -> str:
    """Return the page of `ddmkit.testing`."""
    module = import_module("ddmkit.testing")
    return page(
        "# Checks",
        documentation(found("ddmkit.testing")),
        *[entry(found(f"ddmkit.testing.{name}"), 2) for name in module.__all__],
    )
