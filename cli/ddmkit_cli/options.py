"""What several commands share: which settings may change, which layout a folder has, what to ask when memory is out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ddmkit.errors import ConfigurationError, OutOfMemoryError, UnknownComponentError
from ddmkit_cli.console import command

if TYPE_CHECKING:
    from collections.abc import Container, Generator, Mapping, Sequence
    from pathlib import Path

    from ddmkit import Dataset, Registry
    from ddmkit.run.folder import RunFolder


def refuse_fixed(options: Sequence[str], free: Sequence[str], reason: str) -> None:
    """Let through only settings of the kinds and sections that are free.

    Args:
        options: as given to -o, "kind.field=value".
        free: kinds and sections whose settings may change.
        reason: what is wrong with all others, to follow the option in a sentence.

    Raises:
        ConfigurationError: an option would change something else.
    """
    for given in options:
        part = key_of(given).partition(".")[0]
        if part not in free:
            msg = f"-o {given} {reason}; here only the settings of {', '.join(free)} may change."
            raise ConfigurationError(msg)


def of_kind(options: Sequence[str], kind: str) -> list[str]:
    """Return the options that set something of one kind or section."""
    return [option for option in options if key_of(option).partition(".")[0] == kind]


def key_of(option: str) -> str:
    """Return what an option sets, "kind.field", of "kind.field=value" as given to -o."""
    return option.partition("=")[0].strip()


def layout_of(registry: Registry, path: Path, name: str | None, options: Sequence[str] = ()) -> Dataset:
    """Return the layout of a folder: the one that is named, else whichever fits.

    Args:
        registry: where layouts are found.
        path: the folder.
        name: what --dataset says, if anything.
        options: its settings, as given to -o; settings of anything else are not looked at.

    Raises:
        ConfigurationError: there is no such layout or setting.
        DataError: no layout fits, or several do.
    """
    from ddmkit import Dataset
    from ddmkit.assembly import component
    from ddmkit.detection import recognise

    options = of_kind(options, Dataset.kind)
    if name is not None:
        return component(registry, Dataset, name, options)
    found = recognise(registry, path)
    return component(registry, Dataset, found.name, options) if options else found


def named_layout(registry: Registry, layout: Dataset, path: Path) -> list[str]:
    """Return what has to be typed for a folder to be read in a layout: nothing where looking tells it."""
    from ddmkit import DataError
    from ddmkit.assembly import typed
    from ddmkit.detection import recognise

    try:
        found = recognise(registry, path)
    except DataError:
        return typed(layout)
    return [] if found == layout else typed(layout)


@contextmanager
def offering_others(kinds: Container[str], names: Mapping[str, str]) -> Generator[None]:
    """Say, where a component of a run is not installed, that another may be named in its place.

    Args:
        kinds: of which that is so.
        names: what was typed, by kind.

    Raises:
        UnknownComponentError: as it was raised, with the option to type for such a component.
    """
    try:
        yield
    except UnknownComponentError as error:
        if error.kind not in kinds or error.name == names.get(error.kind):
            raise
        msg = f"{str(error).removesuffix('.')}; or name another one, --{error.kind} NAME"
        raise UnknownComponentError(msg, error.kind, error.name) from error


@contextmanager
def naming_the_planner(folder: RunFolder, options: Sequence[str] = ()) -> Generator[None]:
    """Say, where memory does not suffice, which command tells what would fit.

    Args:
        folder: of the run.
        options: what was typed over its configuration, as given to -o.

    Raises:
        OutOfMemoryError: as it was raised, with that command once the run has a configuration.
    """
    try:
        yield
    except OutOfMemoryError as error:
        if not folder.configuration_file.is_file():
            raise
        over = [word for option in options for word in ("-o", option)]
        msg = f"{error} See what fits: {command('plan', '--config', folder.path, *over)}"
        raise OutOfMemoryError(msg) from error
