"""Which package each component of a run came with, written down so that another machine can be told what it lacks."""

from __future__ import annotations

import json
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ddmkit.configuration import INTERFACES
from ddmkit.errors import UnknownComponentError
from ddmkit.files import write_text
from ddmkit.origin import UNPACKED, package_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ddmkit.component import Component
    from ddmkit.configuration import Configuration
    from ddmkit.registry import Registry

ENVIRONMENT = "environment.json"
_COMPONENTS = "components"


def packages_of(configuration: Configuration) -> dict[str, str]:
    """Return distribution and version by "kind/name" of every component that came with an installed package."""
    chosen: list[Component] = [getattr(configuration, interface.kind) for interface in INTERFACES]
    chosen += configuration.tracker
    packages = {f"{component.kind}/{component.name}": package_of(type(component)) for component in chosen}
    return {component: package for component, package in packages.items() if package not in ("", UNPACKED)}


def record_packages(run: Path, configuration: Configuration) -> None:
    """Write them down in a run's folder; what was written of components that it had before stays.

    Raises:
        StorageError: it cannot be written.
    """
    packages = {**recorded_packages(run), **packages_of(configuration)}
    write_text(run / ENVIRONMENT, json.dumps({**_environment(run), _COMPONENTS: packages}, indent=2) + "\n")


def recorded_packages(run: Path) -> dict[str, str]:
    """Read what `record_packages` wrote; nothing where it is missing or damaged, for no run depends on it."""
    packages = _environment(run).get(_COMPONENTS)
    return {str(key): str(value) for key, value in packages.items()} if isinstance(packages, dict) else {}


@contextmanager
def naming_packages(run: Path, registry: Registry) -> Generator[None]:
    """Say of a component that a run names and that is not here which package it came with.

    Args:
        run: the folder, or its configuration file.
        registry: where components are found.

    Raises:
        UnknownComponentError: as it was raised, or with what to install, or with what is broken.
    """
    try:
        yield
    except UnknownComponentError as error:
        folder = run if run.is_dir() else run.parent
        package = recorded_packages(folder).get(f"{error.kind}/{error.name}")
        if package is None:
            raise
        msg = f"No {error.kind} is named {error.name!r}: it came with {package}{_remedy(package, registry)}"
        raise UnknownComponentError(msg, error.kind, error.name) from error


def _remedy(package: str, registry: Registry) -> str:
    """Return what a sentence goes on with after a package that a component is missed from."""
    name, _, wanted = package.partition(" ")
    broken = [one for one in registry.failed if one.plugin.dist is not None and one.plugin.dist.name == name]
    if broken:
        return f", which is installed but broken: {'; '.join(f'the plugin {one.title} {one.error}' for one in broken)}."
    try:
        here = version(name)
    except PackageNotFoundError:
        return f": pip install {name}=={wanted}"
    if here == wanted:
        return f", which is installed but does not offer it: pip install --force-reinstall {name}=={wanted}"
    return f", and {name} {here}, which is installed, does not offer it: pip install {name}=={wanted}"


def _environment(run: Path) -> dict[str, object]:
    try:
        read: object = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
