"""What a dataset owes."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ddmkit.dataset import Dataset, Survey
from ddmkit.errors import DataError
from ddmkit.testing.promises import described, in_a_sentence, outcome, require
from ddmkit.volume import Volume, read_volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit.dataset import Case


@in_a_sentence
def check_dataset(dataset: Dataset, root: Path | None = None) -> None:
    """Check that labels have a meaning, folders without cases are told apart, and cases are whole.

    Args:
        dataset: its settings.
        root: a folder with cases of this layout; every case is read, so a few small ones will do.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(dataset).__qualname__
    pattern = getattr(dataset, "looked_for", None)
    require(pattern, f"{title}.looked_for is empty, but users without cases are told what was looked for.")
    if dataset.labels is not None:
        _check_labels(f"{title}.labels", dataset.labels)
    _check_emptiness(dataset)
    if root is not None:
        _check_cases(dataset, root.resolve())
        _check_incompleteness(dataset, root.resolve())


def _check_labels(whose: str, labels: Mapping[int, str]) -> None:
    require(labels, f"{whose} is empty: say what the numbers in a label file mean.")
    require(all(labels.values()), f"{whose} has a number without a meaning: {dict(labels)}.")
    large = [name for name in labels.values() if name != name.lower()]
    require(not large, f"{whose} means {', '.join(large)}: write that in small letters, as tasks ask for it.")
    require("background" not in labels.values(), f"{whose} lists background, which is 0 and understood.")
    require(min(labels) > 0, f"{whose} lists the number {min(labels)}; they count from 1.")


def _check_emptiness(dataset: Dataset) -> None:
    title = type(dataset).__qualname__
    with TemporaryDirectory() as folder:
        empty, missing = Path(folder), Path(folder) / "missing"
        found = outcome(lambda: dataset.survey(empty))
        require(found == Survey([]), f"{title} {described(found)} for an empty folder, not {Survey([])!r}.")
        lost = outcome(lambda: dataset.survey(missing))
        told = isinstance(lost, DataError)
        require(told, f"{title} {described(lost)} for a folder that does not exist, instead of raising DataError.")
        for root, what in ((empty, "an empty folder"), (missing, "a folder that does not exist")):
            seen = outcome(partial(dataset.recognises, root))
            require(seen is False, f"{title}.recognises {described(seen)} for {what}, not False.")
        strange = empty / "strange"
        _litter(strange)
        seen, what = outcome(lambda: dataset.recognises(strange)), "a folder of notes and tables, without any volume"
        require(seen is False, f"{title}.recognises {described(seen)} for {what}, not False.")


def _litter(folder: Path) -> None:
    """Fill a folder with files that are nobody's cases."""
    (folder / "papers" / "2023").mkdir(parents=True)
    for name in ("README.md", "table.csv", "papers/notes.txt", "papers/2023/figure.png"):
        (folder / name).write_text("nothing of the kind\n", encoding="utf-8")


def _check_cases(dataset: Dataset, root: Path) -> None:
    title, surveyed = type(dataset).__qualname__, outcome(partial(dataset.survey, root))
    require(isinstance(surveyed, Survey), f"{title} {described(surveyed)} for {root}, which should hold whole cases.")
    cases, wrong, _ = dataset.survey(root)
    names = [case.name for case in cases]
    require(not wrong, f"{title} finds fault with {', '.join(wrong)} in {root}: {' '.join(wrong.values())}")
    require(cases, f"{title} finds no case in {root}, looking for {dataset.looked_for}.")
    require(len(set(names)) == len(names), f"{title} finds two cases of one name: {', '.join(names)}.")
    require(names == sorted(names), f"{title} does not sort its cases by name: {', '.join(names)}.")
    require(dataset.survey(root).cases == cases, f"{title} finds other cases when it looks twice.")
    strict = outcome(partial(dataset.cases, root))
    require(strict == cases, f"{title}.cases {described(strict)} for {root}, other than its survey.")
    if type(dataset).recognises is not Dataset.recognises:
        seen = outcome(partial(dataset.recognises, root))
        require(seen is True, f"{title}.recognises {described(seen)} for {root}, not True, but finds cases there.")
    for case in cases:
        _check_case(dataset, case)


def _check_case(dataset: Dataset, case: Case) -> None:
    title = type(dataset).__qualname__
    require(case.images, f"{title} finds no image of the case {case.name}.")
    large = [name for name in case.images if name != name.lower()]
    require(not large, f"{title} calls images {', '.join(large)}: write that in small letters, as tasks ask for it.")
    if case.labels or case.reference is not None:
        _check_labels(f"labels of {title}'s case {case.name}", case.labels)
    same = dataset.labels is None or case.labels == dataset.labels
    require(same, f"{title}.labels differs from the labels of its case {case.name}.")
    _require_files(dataset, case)
    read = outcome(partial(read_volume, case, tuple(case.images)))
    require(isinstance(read, Volume), f"{title} finds the case {case.name}, but reading it {described(read)}.")


def _check_incompleteness(dataset: Dataset, root: Path) -> None:
    """Take each file of the first case away: the dataset may refuse or go without, but never names the file."""
    title, (whole, *others) = type(dataset).__qualname__, dataset.cases(root)
    for path in sorted(whole.files):
        with TemporaryDirectory() as folder:
            copy = Path(folder) / root.name
            shutil.copytree(root, copy, copy_function=os.symlink)
            (copy / path.relative_to(root)).unlink()
            found = outcome(partial(dataset.survey, copy))
            without = f"{title} {described(found)} where {path.name} of the case {whole.name} is missing"
            require(isinstance(found, Survey), f"{without}, instead of a survey of what there is.")
            _check_survey(dataset, copy, whole, others)


def _check_survey(dataset: Dataset, root: Path, broken: Case, others: list[Case]) -> None:
    title, (cases, wrong, _) = type(dataset).__qualname__, dataset.survey(root)
    for case in cases:
        _require_files(dataset, case)
    lost = {case.name for case in others} - {case.name for case in cases}
    require(not lost, f"{title} does not find {', '.join(sorted(lost))} where {broken.name} is broken.")
    for name, reason in wrong.items():
        require(name in reason, f"{title} says {reason!r} of the case {name}, without its name.")
    strict = outcome(partial(dataset.cases, root))
    kept = isinstance(strict, DataError) if wrong else strict == cases
    require(kept, f"{title}.cases {described(strict)} where {broken.name} is broken, unlike its survey.")


def _require_files(dataset: Dataset, case: Case) -> None:
    absent = [path.name for path in sorted(case.files) if not path.is_file()]
    title = type(dataset).__qualname__
    require(not absent, f"{title} names files of the case {case.name} that do not exist: {', '.join(absent)}.")
