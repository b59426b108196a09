"""dataset.json, which MSD and nnU-Net lay beside their cases: what channels and labels mean, read with suspicion.

It may come from anywhere, so nothing is believed of it: not its size, its depth or its types, nor that the files it
names lie where the data are.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from reprlib import Repr
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from ddmkit import DataError
from ddmkit.rules import shown
from ddmkit.searching import image_stem
from ddmkit_plugins.datasets.vocabulary import modality, region, tissues

if TYPE_CHECKING:
    from collections.abc import Iterable

_T = TypeVar("_T")

FILE = "dataset.json"
_LARGEST = 10_000_000
"""Bytes. That of a thousand cases has 100 kB."""
_LONGEST_NAME, _LONGEST_PATH = 100, 4096
_LAST_LABEL = 255
_MOST_DIGITS = 1000
"""Python itself reads a few thousand, or raises what no user understands."""
_IGNORE = "ignore"
_BACKGROUND = frozenset({"background", "bg", "none", "unlabeled", "unlabelled", "clear label"})
_BRIEF = Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxlevel = 2


class Description(NamedTuple):
    """What a dataset.json says."""

    path: Path
    channels: tuple[str, ...]
    """The canonical modality of each channel."""
    labels: Mapping[int, str]
    """The canonical meaning of each number; 0 is background and not listed."""
    ignored: int | None
    """The number of voxels that nobody labelled, if there may be any."""
    content: Mapping[str, object]
    """All of it."""


def read(path: Path, elsewhere: str = "") -> Description:
    """Read what a dataset.json says of its cases' channels and labels.

    Args:
        path: where it is.
        elsewhere: what a user may do instead of putting it there, if anything.

    Raises:
        DataError: it is not there, cannot be read or does not say what is needed.
    """
    everything = content(path, elsewhere)
    numbers, ignored = _labels(path, everything)
    return Description(path, _channels(path, everything), numbers, ignored, everything)


def content(path: Path, elsewhere: str = "") -> Mapping[str, object]:
    """Return all that a dataset.json says, whatever it is.

    Raises:
        DataError: it is not there, or is not a small mapping in JSON.
    """
    try:
        text = _bytes(path, elsewhere).decode("utf-8-sig")
        everything = json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_integer)
    except OSError as error:
        _refuse(path, f"cannot be read: {error.strerror}; make it a file that you may read")
    except UnicodeDecodeError as error:
        _refuse(path, f"is not UTF-8 (byte {error.start} is not): save it as UTF-8")
    except json.JSONDecodeError as error:
        _refuse(path, f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}; mend it there")
    except RecursionError:
        _refuse(path, "is nested too deeply to describe cases: write it again, as MSD and nnU-Net do")
    except ValueError as error:  # from the two functions that read the file's numbers and mappings
        _refuse(path, f"makes no sense: {error}; mend it there")
    return _mapping(path, "the whole file", everything)


def path_text(described: Description, key: str, found: object) -> str:
    """Return what stands for a path under a key.

    Raises:
        DataError: it is no text that could be one.
    """
    return _name(described.path, key, found, _LONGEST_PATH)


def named_file(folder: Path, name: str) -> Path:
    """Return the image that a dataset.json in `folder` names.

    It has to be in a folder that really lies below `folder`; there it may be a link, as images may be everywhere.

    Raises:
        DataError: the name is no relative path, leads out of the folder (by itself or by a link), or to no image.
    """
    path = folder / name
    if Path(name).is_absolute():
        _refuse(folder / FILE, f"names {_short(name)}, an absolute path: name files relative to its own folder")
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder)):
        _refuse(
            folder / FILE,
            f"names {_short(name)}, which leads out of its own folder: put the file itself in there, or write the list "
            "without it",
        )
    if not image_stem(path.name):
        _refuse(folder / FILE, f"names {_short(name)}, which is no NIfTI image (.nii.gz or .nii): convert it")
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
        _refuse(folder / FILE, f"names {_short(name)}, which is not there: put it there, or take it out of the list")
    return path


def listed(description: Description, key: str) -> list[object]:
    """Return the list under a key; none where it is missing.

    Raises:
        DataError: it is no list.
    """
    found = description.content.get(key) or []
    if not isinstance(found, list):
        _refuse(description.path, f"has {_short(found)} under {key!r}: a list of cases belongs there")
    return found


def mapped(description: Description, key: str, found: object) -> Mapping[str, object]:
    """Return a mapping that is found under a key.

    Raises:
        DataError: it is something else.
    """
    return _mapping(description.path, repr(key), found)


def _bytes(path: Path, elsewhere: str) -> bytes:
    try:
        status = path.stat()
    except FileNotFoundError:
        msg = f"There is no {shown(path)} to say what channels and labels mean: put it there{elsewhere}."
        raise DataError(msg) from None
    if not stat.S_ISREG(status.st_mode):
        _refuse(path, "is not a file: put the file itself there")
    if status.st_size > _LARGEST:
        _refuse(path, f"has more than {_LARGEST // 1_000_000} MB, too much to describe cases: put the right file there")
    with path.open("rb") as file:
        return file.read(_LARGEST)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = _duplicates(key for key, _ in pairs)[0]
        msg = f"it has {_short(twice)} twice in one place"
        raise ValueError(msg)
    return found


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        msg = f"it has a number of {len(digits)} digits"
        raise ValueError(msg)
    return int(digits)


def _channels(path: Path, everything: Mapping[str, object]) -> tuple[str, ...]:
    key = next((key for key in ("channel_names", "modality") if key in everything), None)
    if key is None:
        _refuse(path, 'lacks \'channel_names\' (or \'modality\'): add them, like {"0": "T1", "1": "FLAIR"}')
    found = _mapping(path, repr(key), everything[key]).items()
    names = sorted((_number(path, key, number), modality(_name(path, key, name))) for number, name in found)
    numbers, modalities = [number for number, _ in names], tuple(name for _, name in names)
    if not names or numbers != list(range(len(names))):
        _refuse(path, f"numbers its {key!r} {_several(numbers)}: they must count 0, 1, 2 … without gaps")
    if twice := _duplicates(modalities):
        _refuse(path, f"names two channels {twice[0]} under {key!r}: give each contrast a name of its own")
    return modalities


class _Label(NamedTuple):
    name: str
    numbers: tuple[int, ...]
    is_region: bool
    """Whether its numbers stand in a list, so that it may share them with others."""


def _labels(path: Path, everything: Mapping[str, object]) -> tuple[dict[int, str], int | None]:
    """Return what each number but the background's means, and the number of what is to be ignored."""
    if "labels" not in everything:
        _refuse(path, 'lacks \'labels\': add them, like {"background": 0, "edema": 1}')
    found = _numbered(path, _mapping(path, "'labels'", everything["labels"]))
    if twice := _duplicates(label.name.lower() for label in found):
        _refuse(path, f"has the label {_short(twice[0])} twice under 'labels': give each a name of its own")
    foreground = [label for label in found if not _is_background(path, label)]
    tissue = [label for label in foreground if label.name.lower() != _IGNORE]
    ignored = next((label.numbers[0] for label in foreground if label not in tissue), None)
    if not tissue:
        _refuse(path, "names no label but the background: add what the other numbers mean under 'labels'")
    if any(ignored in label.numbers for label in tissue):
        _refuse(path, f"gives the number {ignored} to 'ignore' and to another label: give each a number of its own")
    if any(label.is_region for label in tissue):
        return _by_regions(path, {label.name: label.numbers for label in tissue}), ignored
    if again := _duplicates(label.numbers[0] for label in tissue):
        _refuse(path, f"gives the number {again[0]} to two labels: give each a number of its own")
    return tissues({label.numbers[0]: label.name for label in tissue}), ignored


def _is_background(path: Path, label: _Label) -> bool:
    named = label.name.lower() in _BACKGROUND
    if (named and label.numbers != (0,)) or (0 in label.numbers and not named):
        numbers = _several(label.numbers)
        _refuse(path, f"gives {numbers} to the label {_short(label.name)}: 0 is the background, and nothing else")
    return named


def _numbered(path: Path, labels: Mapping[str, object]) -> list[_Label]:
    """Return the labels: nnU-Net 2 writes {name: number or numbers}, nnU-Net 1 and MSD {number: name}."""
    numbers_first = bool(labels) and all(isinstance(name, str) for name in labels.values())
    found = []
    for key, value in labels.items():
        name, numbers = (value, key) if numbers_first else (key, value)
        several = numbers if isinstance(numbers, list) else [numbers]
        checked = tuple(_number(path, "labels", number) for number in several)
        if not checked or _duplicates(checked):
            _refuse(path, f"gives {_several(checked)} to the region {_short(name)}: list each of its numbers once")
        found.append(_Label(_name(path, "labels", name), checked, isinstance(numbers, list)))
    return found


def _by_regions(path: Path, regions: Mapping[str, tuple[int, ...]]) -> dict[int, str]:
    """Return what each number means, by the regions that hold it: what the smallest of them says.

    Where a core is told apart, what only the whole tumour holds is edema.
    """
    names = {name: region(name) for name in regions}
    if twice := _duplicates(names.values()):
        _refuse(path, f"has two regions that are the {twice[0]} under 'labels': leave one out")
    meanings = {"core": "necrotic", "whole": "edema" if "core" in names.values() else "whole"}
    found = {}
    for number in sorted({number for numbers in regions.values() for number in numbers}):
        around = [name for name, numbers in regions.items() if number in numbers]
        least = min(len(regions[name]) for name in around)
        smallest = [meanings.get(names[name], names[name]) for name in around if len(regions[name]) == least]
        found[number] = " and ".join(smallest)
    return found


def _mapping(path: Path, where: str, found: object) -> Mapping[str, object]:
    if not isinstance(found, Mapping):
        _refuse(path, f"has {_short(found)} as {where}: a mapping, in braces, belongs there")
    return found


def _number(path: Path, where: str, found: object) -> int:
    """Return a number that is written as one, or as the key of a mapping."""
    if isinstance(found, str) and re.fullmatch("[0-9]{1,3}", found):
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _LAST_LABEL:
        _refuse(
            path,
            f"has {_short(found)} among the numbers under {where!r}: whole ones from 0 to {_LAST_LABEL} are allowed",
        )
    return found


def _name(path: Path, where: str, found: object, longest: int = _LONGEST_NAME) -> str:
    if not isinstance(found, str) or not found.strip() or not found.isprintable() or len(found) > longest:
        _refuse(
            path,
            f"has {_short(found)} among the names under {where!r}: 1 to {longest} printable characters are allowed",
        )
    return found.strip()


def _duplicates(found: Iterable[_T]) -> list[_T]:
    return [one for one, count in Counter(found).items() if count > 1]


def _several(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "nothing"


def _short(found: object) -> str:
    return _BRIEF.repr(found)


def _refuse(path: Path, what: str) -> NoReturn:
    msg = f"{shown(path)} {what}."
    raise DataError(msg)
