"""The pages about a run: its configuration, presets, commands and events."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import typer

from ddmkit import events, hookspecs
from ddmkit.configuration import Configuration
from ddmkit_cli.app import app
from ddmkit_docs.components import INTERFACES
from ddmkit_docs.interfaces import entry, found, own
from ddmkit_docs.settings import settings_table
from ddmkit_docs.text import fence, page, prose, summary, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import griffe

    from ddmkit import Registry

_FACTS = {
    **{name: f"ddmkit.events.{name}" for name in events.__all__ if name != "Announcer"},
    "Score": "ddmkit.scoring.Score",
    "Figure": "ddmkit.judging.Figure",
    "Summary": "ddmkit.judging.Summary",
}
"""What events tell, and what stands in the fields of that."""
_EXAMPLE = re.compile(r"\[bold\](.*?)\[/bold\](?: \((.*?)\)(?= ·|$))?")


def configuration_page() -> str:
    """Return the page of a configuration's sections."""
    kinds = ", ".join(f"[{interface.kind}]({interface.kind}.md)" for interface in INTERFACES)
    plain = [
        (f"`{name}`", prose(field.description or ""))
        for name, field in Configuration.model_fields.items()
        if field.description is not None
    ]
    sections = [
        page(f"## {name}", prose(inspect.getdoc(section) or ""), settings_table(name, section))
        for name, section in Configuration.SECTIONS.items()
    ]
    return page(
        "# Sections of a configuration",
        "A configuration names a component of every kind, and has sections that belong to no plugin. How it comes "
        "about is told in [configuration](../configuration.md).",
        f"The kinds are {kinds}.",
        "Beside kinds and sections there are:",
        table(("key", "what it is"), plain),
        *sections,
    )


def presets_page(registry: Registry) -> str:
    """Return the page of all presets, as their files are."""
    return page(
        "# Presets",
        "`--preset NAME` starts from one. A preset is a partial configuration in YAML; what it leaves out has the "
        "defaults of components and of [sections](configuration.md).",
        *[_preset(name, path.read_text(encoding="utf-8").strip()) for name, path in registry.presets().items()],
    )


def _preset(name: str, text: str) -> str:
    first, _, rest = text.partition("\n")
    about, tree = (first.removeprefix("#").strip(), rest) if first.startswith("#") else ("", text)
    return page(f"## {name}", prose(about), fence(f"ddmkit train --preset {name}", "bash"), fence(tree, "yaml"))


def commands_page() -> str:
    """Return the page of all commands, as `--help` shows them."""
    root = typer.main.get_command(app)
    return page("# Commands", *_commands(root, typer.Context(root, info_name="ddmkit")))


def _commands(command: Any, context: Any) -> Iterator[str]:  # noqa: ANN401 - Typer takes its types from click, or a copy
    inner: dict[str, Any] = getattr(command, "commands", {})
    records = [
        (parameter.param_type_name, *record)
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
    ]
    yield page(
        f"## {context.command_path}",
        prose(inspect.cleandoc(command.help or "")),
        fence(command.get_usage(context).removeprefix("Usage: "), "console"),
        _parameters(records, "argument"),
        _parameters(records, "option"),
        _examples(command.epilog or ""),
    )
    for name, child in inner.items():
        yield from _commands(child, typer.Context(child, info_name=name, parent=context))


def _parameters(records: list[tuple[str, str, str]], kind: str) -> str:
    rows = [(f"`{declared}`", prose(about)) for of, declared, about in records if of == kind]
    return table((kind, "what it is"), rows) if rows else ""


def _examples(epilog: str) -> str:
    """Return the commands of an epilog, each on a line, what is said of one as its comment."""
    lines = [f"{typed}  # {about}" if about else typed for typed, about in _EXAMPLE.findall(epilog)]
    return fence("\n".join(lines), "bash") if lines else ""


def hooks_page() -> str:
    """Return the page of hooks: those that offer something, then a list of a run's events."""
    events = [
        (f"[{hook.name}](events/{hook.name}.md)", prose(summary(hook.docstring.value if hook.docstring else "")))
        for hook in _hooks()
        if _arguments(hook.name)
    ]
    return page(
        "# Hooks and run events",
        "A function that is named as one of these and marked with `@hookimpl` is called by ddmkit. It takes whichever "
        "of the arguments it wants, by their names.",
        "## What a plugin offers",
        *[entry(hook, 3) for hook in _hooks() if not _arguments(hook.name)],
        "## The events of a run",
        "[Listening to a run](../plugins/listening.md) says how to use them. Each has a page:",
        table(("event", "when it comes"), events),
    )


def event_pages() -> dict[str, str]:
    """Return the page of each event by its name under reference/events/: its arguments, and all that they tell."""
    return {hook.name: _event_page(hook) for hook in _hooks() if _arguments(hook.name)}


def _hooks() -> list[griffe.Object]:
    return [thing for thing in own(hookspecs.__name__) if thing.name.startswith("ddmkit_")]


def _event_page(hook: griffe.Object) -> str:
    arguments = _arguments(hook.name)
    rows = [
        (f"`{name}`", f"[{told}](#{told.lower()})" if told in _FACTS else f"`{told}`")
        for name, told in arguments.items()
    ]
    facts = _told_by([told for told in arguments.values() if told in _FACTS])
    return page(
        entry(hook, 1),
        table(("argument", "type"), rows),
        "A function takes those that it wants, by their names, and leaves out the others. "
        "[Listening to a run](../../plugins/listening.md) says how it is made known, and what to rely on.",
        "## What it tells",
        *[entry(found(_FACTS[fact]), 3) for fact in facts],
    )


def _told_by(facts: list[str]) -> list[str]:
    """Return the names of facts, and of those that their fields hold, each once."""
    told = list(facts)
    for fact in told:
        types = " ".join(str(field.annotation) for field in found(_FACTS[fact]).attributes.values())
        told += [name for name in _FACTS if name not in told and re.search(rf"\b{name}\b", types)]
    return told


def _arguments(hook: str) -> dict[str, str]:
    """Return the type of each argument by its name."""
    parameters = inspect.signature(getattr(hookspecs, hook)).parameters
    return {name: str(parameter.annotation) for name, parameter in parameters.items()}
