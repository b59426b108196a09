"""`ddmkit plugins`."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ddmkit_cli.console import out, result, say
from ddmkit_cli.tables import table_of

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from ddmkit.component import Settings

app = typer.Typer(no_args_is_help=True, help="What is installed, and its settings.")


@app.command("list", epilog="Example: [bold]ddmkit plugins list[/bold]")
def list_plugins() -> None:
    """List every component with the package it came from, the presets, and the sections of a configuration."""
    from ddmkit import Registry
    from ddmkit.configuration import Configuration

    registry = Registry()
    table = table_of("", "kind", "name", "what it is", "package")
    for component in registry.components():
        table.add_row(component.kind, component.name, _summary(component), registry.package(component))
    for name, path in registry.presets().items():
        table.add_row("preset", name, _first_comment(path), "")
    for name, section in Configuration.SECTIONS.items():
        table.add_row("section", name, _summary(section), "")
    out.print(table)
    for plugin, error in registry.broken.items():
        say(f"The plugin {plugin} failed to load: {type(error).__name__}: {error}")


@app.command(epilog="Example: [bold]ddmkit plugins show unet3d-avg[/bold]")
def show(name: Annotated[str, typer.Argument(help="A component, a preset or a section such as training.")]) -> None:
    """Show the settings of a component, of a section of the configuration, or a preset."""
    from ddmkit import Registry, UnknownComponentError
    from ddmkit.configuration import Configuration

    registry = Registry()
    found = [component for component in registry.components() if name in (component.name, component.kind)]
    presets = registry.presets()
    for component in found:
        origin = f"  ({component.__module__}, {registry.package(component)})"
        out.print(Text(f"{component.kind} {component.name}", "bold"), origin, sep="")
        out.print(inspect.getdoc(component) or "")
        out.print(_settings(component.option_prefix(), component))
    if name in presets:
        result(presets[name].read_text(encoding="utf-8"))
    if name in Configuration.SECTIONS:
        out.print(inspect.getdoc(Configuration.SECTIONS[name]) or "")
        out.print(_settings(name, Configuration.SECTIONS[name]))
    if not found and name not in presets and name not in Configuration.SECTIONS:
        components = [word for component in registry.components() for word in (component.name, component.kind)]
        names = list(dict.fromkeys([*components, *presets, *Configuration.SECTIONS]))
        msg = f"Nothing is named {name!r}.{_nearest(name, names)} Known: {', '.join(names)}."
        raise UnknownComponentError(msg)


def _nearest(name: str, names: list[str]) -> str:
    """Return a question that names what may be meant: what begins with the name, or is spelled alike."""
    near = [known for known in names if known.startswith(name)] or difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _settings(prefix: str, settings: type[Settings]) -> Table:
    table = table_of("", "setting", "type", "default", "what it does")
    schema = settings.model_json_schema()
    for name, facts in schema.get("properties", {}).items():
        table.add_row(f"{prefix}.{name}", _type(facts), str(facts.get("default", "")), facts.get("description", ""))
    return table


def _summary(settings: type[Settings]) -> str:
    return (inspect.getdoc(settings) or "").partition("\n")[0]


def _first_comment(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def _type(facts: dict[str, object]) -> str:
    """Say a JSON schema's type and bounds in a few words."""
    choices = facts.get("enum") or facts.get("const")
    alternatives = facts.get("anyOf")
    if choices is not None:
        return " | ".join(map(str, choices if isinstance(choices, list) else [choices]))
    if isinstance(alternatives, list):
        return " | ".join(_type(part) for part in alternatives)
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {facts[key]}" for key, sign in bounds.items() if key in facts]
    return " ".join([str(facts.get("type", "")), *limits])
