"""Tell by looking which dataset's layout the files under a path have."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from ddmkit.assembly import make
from ddmkit.dataset import Dataset
from ddmkit.errors import ConfigurationError, DataError, named

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit.registry import Registry

_log = logging.getLogger(__name__)


def recognise(registry: Registry, root: Path, preferred: Dataset | None = None) -> Dataset:
    """Return the one dataset that recognises the files under `root`.

    Args:
        registry: where datasets come from, each with its default settings; one that fails is reported and passed over.
        root: the path the user gave.
        preferred: a dataset that wins if it recognises them, unless the user described another layout.

    Raises:
        DataError: there is nothing to read, or no dataset or several recognise it.
    """
    if not os.access(root, os.R_OK):
        msg = f"There is nothing at {root} that can be read: give a path that exists and that you may read."
        raise DataError(msg)
    names = [name for name in registry.names(Dataset) if preferred is None or name != preferred.name]
    datasets = [made for name in names if (made := _made(registry, name)) is not None]
    if preferred is not None:
        datasets.insert(0, preferred)
    found = [dataset for dataset in datasets if _recognises(dataset, registry, root)]
    found = [dataset for dataset in found if dataset.described] or found
    if found[:1] == [preferred] or len(found) == 1:
        return found[0]
    if found:
        raise DataError(_ambiguous(root, found))
    raise DataError(_unknown(root, [registry.get(Dataset, name) for name in registry.names(Dataset)]))


def _made(registry: Registry, name: str) -> Dataset | None:
    try:
        return make(registry.get(Dataset, name), Dataset.kind, {})
    except ConfigurationError:  # it has a setting without a default, so whoever wants it names it
        return None


def _recognises(dataset: Dataset, registry: Registry, root: Path) -> bool:
    try:
        return bool(dataset.recognises(root))
    except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
        cls = type(dataset)
        where = f"{cls.__module__}.{cls.__qualname__}, {registry.package(cls)}"
        what = f"fails to look at {root}: {_told(error)}"
        _log.warning("The dataset %s (%s) %s; going on without it.", cls.name, where, what)
        return False


def _told(error: Exception) -> str:
    return named(error).rstrip(".: ")


def _ambiguous(root: Path, found: list[Dataset]) -> str:
    names = [dataset.name for dataset in found]
    choices = " or ".join(f"--dataset {name}" for name in names)
    return (
        f"The files under {root} are laid out as {' and as '.join(names)} expect them: say which you mean by {choices}."
    )


def _unknown(root: Path, datasets: list[type[Dataset]]) -> str:
    known = "; ".join(f"{cls.name} looks for {cls.looked_for or 'files it does not tell of'}" for cls in datasets)
    return (
        f"No dataset recognises the files under {root} ({known or 'none is installed'}): "
        "lay them out in one of these ways, say which it is with --dataset NAME, or describe your own in a ddmkit.yaml "
        "(docs/own-data.md)."
    )
