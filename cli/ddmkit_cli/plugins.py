"""`ddmkit plugins`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ddmkit_cli.console import bars, out, result
from ddmkit_cli.naming import LISTENER, LISTENING, refuse_unknown

if TYPE_CHECKING:
    from ddmkit.component import Settings
    from ddmkit_cli.conformance import Subject, Verdict

app = typer.Typer(no_args_is_help=True, help="What is installed, its settings, whether it works; new plugins.")


@app.command("list", epilog="Example: [bold]ddmkit plugins list[/bold]")
def list_plugins() -> None:
    """List every component, listener and preset with the package it came from, and the sections of a configuration."""
    from ddmkit import Registry
    from ddmkit.configuration import Configuration
    from ddmkit_cli.tables import table_of

    registry = Registry()
    table = table_of("", "kind", "name", "what it is", "package")
    for component in registry.components():
        table.add_row(component.kind, component.name, _summary(component), registry.package(component))
    for listener in registry.always_listening():
        table.add_row(LISTENER, listener.name, listener.about.partition("\n")[0], listener.package)
    for name, path in registry.presets().items():
        table.add_row("preset", name, _first_comment(path), registry.package(path))
    for name, section in Configuration.SECTIONS.items():
        table.add_row("section", name, _summary(section), "")
    out.print(table)


@app.command(epilog="Example: [bold]ddmkit plugins show unet3d-avg[/bold]")
def show(name: Annotated[str, typer.Argument(help="A component, a preset or a section such as training.")]) -> None:
    """Show the settings of a component, of a section of the configuration, or a preset, and where it is defined."""
    from ddmkit import Registry
    from ddmkit.configuration import Configuration

    registry = Registry()
    presets = registry.presets()
    words = [word for component in registry.components() for word in (component.name, component.kind)]
    words += [listener.name for listener in registry.always_listening()]
    refuse_unknown(name, [*words, LISTENER, *presets, *Configuration.SECTIONS])
    found = [component for component in registry.components() if name in (component.name, component.kind)]
    listeners = [listener for listener in registry.always_listening() if name in (listener.name, LISTENER)]
    for component in found:
        _show(f"{component.kind} {component.name}", component.option_prefix(), component, registry.package(component))
    for listener in listeners:
        out.print(Text(f"{LISTENER} {listener.name}", "bold"), f"  ({listener.package})\n{listener.about}", sep="")
    if name == LISTENER:
        result(f"Listeners have no settings; {LISTENING}.")
    if name in presets:
        result(f"# {presets[name]}, {registry.package(presets[name])}\n{presets[name].read_text(encoding='utf-8')}")
    if name in Configuration.SECTIONS:
        _show(f"section {name}", name, Configuration.SECTIONS[name], "")


@app.command(
    epilog="Examples: [bold]ddmkit plugins check[/bold] everything; [bold]ddmkit plugins check ddim heun[/bold]; "
    "[bold]ddmkit plugins check heun -o sampler.times=karras -o sampler.rho=2[/bold]"
)
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Components, kinds or packages; all that is installed if left out.")
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="KIND.FIELD=VALUE", help="Settings of what is checked, else defaults. Repeatable."),
    ] = None,
) -> None:
    """Hold what is installed to the promises of its kind, and say what fails.

    Listeners, and trackers that write into a run's folder alone, are told of a run that is made up.
    """
    from ddmkit import DdmkitError, Registry
    from ddmkit_cli.conformance import chosen, verdicts, warn, warnings_of_loading

    with warnings_of_loading() as held:
        registry = Registry()
    subjects: list[Subject] = []
    try:
        subjects = chosen(registry, names or [], options or [])
    finally:
        warn(held, subjects)
    found: list[Verdict] = []
    with bars() as progress:
        for verdict in verdicts(subjects, options or []):
            found.append(verdict)
            progress("components checked", len(found), len(subjects))
    for verdict in found:
        result(verdict.line())
    if failed := sum(verdict.failed for verdict in found):
        msg = f"{failed} of {len(subjects)} fail: mend what the lines with ✗ say, or pass them on to the authors."
        raise DdmkitError(msg)


@app.command(
    epilog="Example: [bold]ddmkit plugins new my-sampler/ --kind sampler --name my-sampler[/bold]",
)
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; a new folder, or an empty one.")],
    kind: Annotated[
        str, typer.Option(help="What it adds, such as sampler, backbone, task (of labels) or volume-task.")
    ],
    name: Annotated[str, typer.Option(help="What a user will type to choose it, such as my-sampler.")],
) -> None:
    """Write a complete small package that adds a component: settings, tests, help, and what continuous tests need."""
    from ddmkit import Registry
    from ddmkit_cli.kit import next_steps, write

    for path in write(folder, kind, name, Registry()):
        result(f"wrote {path}")
    result(f"Next: {next_steps(folder, name)}")


def _show(title: str, prefix: str, settings: type[Settings], package: str) -> None:
    from ddmkit_cli.settings_table import settings_table

    file = inspect.getsourcefile(settings) or "no file"
    out.print(Text(title, "bold"))
    result(", ".join(filter(None, (package, settings.__module__, file))))
    out.print(inspect.getdoc(settings) or "")
    out.print(settings_table(prefix, settings))


def _summary(settings: type[Settings]) -> str:
    return (inspect.getdoc(settings) or "").partition("\n")[0]


def _first_comment(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
