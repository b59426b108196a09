"""What a dataset owes."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ddmkit.errors import DataError
from ddmkit.testing.promises import described, outcome, require
from ddmkit.volume import Volume, read_volume

if TYPE_CHECKING:
    from ddmkit.dataset import Case, Dataset


def check_dataset(dataset: Dataset, root: Path | None = None) -> None:
    """Check that labels have a meaning, folders without cases are told apart, and cases are whole.

    Args:
        dataset: its settings.
        root: a folder with cases of this layout; every case is read, so a few small ones will do.

    Raises:
        AssertionError: it breaks a promise.
    """
    _check_words(dataset)
    _check_emptiness(dataset)
    if root is not None:
        _check_cases(dataset, root.resolve())
        _check_incompleteness(dataset, root.resolve())


def _check_words(dataset: Dataset) -> None:
    title, names = type(dataset).__qualname__, tuple(dataset.labels.values())
    pattern = getattr(dataset, "looked_for", None)
    require(pattern, f"{title}.looked_for is empty, but users without cases are told what was looked for.")
    require(names, f"{title}.labels is empty: say what the numbers in a label file mean.")
    require(all(names), f"{title}.labels has a number without a name: {dataset.labels}.")
    require(len(set(names)) == len(names), f"{title}.labels has two numbers for one name: {dataset.labels}.")
    require("background" not in names, f"{title}.labels lists background, which is 0 and understood.")
    require(min(dataset.labels) > 0, f"{title}.labels lists the number {min(dataset.labels)}; they count from 1.")


def _check_emptiness(dataset: Dataset) -> None:
    title = type(dataset).__qualname__
    with TemporaryDirectory() as folder:
        empty = Path(folder)
        found = outcome(lambda: dataset.cases(empty))
        require(found == [], f"{title} {described(found)} for an empty folder, not [].")
        missing = outcome(lambda: dataset.cases(empty / "missing"))
    told = isinstance(missing, DataError)
    require(told, f"{title} {described(missing)} for a folder that does not exist, instead of raising DataError.")


def _check_cases(dataset: Dataset, root: Path) -> None:
    title, cases = type(dataset).__qualname__, dataset.cases(root)
    names = [case.name for case in cases]
    require(cases, f"{title} finds no case in {root}, looking for {dataset.looked_for}.")
    require(len(set(names)) == len(names), f"{title} finds two cases of one name: {', '.join(names)}.")
    require(names == sorted(names), f"{title} does not sort its cases by name: {', '.join(names)}.")
    require(dataset.cases(root) == cases, f"{title} finds other cases when it looks twice.")
    for case in cases:
        require(case.images, f"{title} finds no image of the case {case.name}.")
        _require_files(dataset, case)
        read = outcome(partial(read_volume, case, tuple(case.images), dataset.labels))
        require(isinstance(read, Volume), f"{title} finds the case {case.name}, but reading it {described(read)}.")


def _check_incompleteness(dataset: Dataset, root: Path) -> None:
    """Take each file of the first case away: the dataset may refuse or go without, but never names the file."""
    title, whole = type(dataset).__qualname__, dataset.cases(root)[0]
    for path in _files(whole):
        with TemporaryDirectory() as folder:
            copy = Path(folder) / root.name
            shutil.copytree(root, copy, copy_function=os.symlink)
            (copy / path.relative_to(root)).unlink()
            found = outcome(partial(dataset.cases, copy))
            if isinstance(found, Exception):
                told = isinstance(found, DataError) and whole.name in str(found)
                say = f"{title} {described(found)} where {path.name} is missing"
                require(told, f"{say}, instead of DataError with the name of the case.")
            else:
                for case in found:
                    _require_files(dataset, case)


def _require_files(dataset: Dataset, case: Case) -> None:
    absent = [path.name for path in _files(case) if not path.is_file()]
    title = type(dataset).__qualname__
    require(not absent, f"{title} names files of the case {case.name} that do not exist: {', '.join(absent)}.")


def _files(case: Case) -> list[Path]:
    """Return the files of a case, each once."""
    labels = () if case.labels is None else (case.labels,)
    return sorted({*case.images.values(), *labels})
