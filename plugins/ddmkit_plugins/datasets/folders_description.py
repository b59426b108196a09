"""The file that describes a folder of images: read, and every mistake in it said in one sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import yaml

from ddmkit import DataError
from ddmkit.rules import shown
from ddmkit.spelling import did_you_mean
from ddmkit_plugins.datasets.patterns import ALIKE, Pattern
from ddmkit_plugins.datasets.vocabulary import modality, tissues

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
"""What stands in a YAML file. Every value is text, so that no modality is called False for being written "no"."""

FILES = ("ddmkit.yaml", "ddmkit.yml")
REFERENCE = "reference"
EXAMPLE = """\
images:
  t1: "{case}/t1.nii.gz"
  flair: "{case}/flair.nii.gz"
reference: "{case}/mask.nii.gz"
labels: {1: necrotic, 2: edema, 3: enhancing}
"""
_KEYS = ("images", REFERENCE, "labels")
_IMAGE_KEYS = ("file", "volume")
_IMAGES_HELP = 'write one line for each modality, such as images: {t1: "{case}_t1.nii.gz"}.'
_LABELS_HELP = "write what each number means, such as labels: {1: necrotic, 2: edema}."
_LARGEST = 1 << 16
_HIGHEST = 255
_DEEPEST = 20
_LONGEST_NAME, _SHOWN = 100, 60


class Description(NamedTuple):
    """What a user says of a folder."""

    file: Path
    patterns: Mapping[str, Pattern]
    """By the place where they stand, such as "images: t1"; the reference's is "reference"."""
    modalities: Mapping[str, str]
    """The place of each modality's pattern."""
    volumes: Mapping[str, int | None]
    """Of the 4D file that fits the pattern of an image, by the pattern's place."""
    labels: Mapping[int, str]


def read_description(file: Path) -> Description:
    """Read what a user says of a folder.

    Raises:
        DataError: the file cannot be read, or says something that cannot be.
    """
    where = shown(file)
    tree = _tree(file)
    if not isinstance(tree, dict) or not tree:
        raise DataError(_no_yaml(file))
    _check_keys(where, tree, _KEYS)
    patterns: dict[str, Pattern] = {}
    modalities: dict[str, str] = {}
    volumes: dict[str, int | None] = {}
    for key, value in _mapping(f"{where}: images", tree.get("images", ""), _IMAGES_HELP).items():
        place = f"images: {key}"
        _check_name(f"{where}: images", key)
        patterns[place], volumes[place] = _image(f"{where}: {place}", value)
        if (other := modalities.setdefault(modality(key), place)) != place:
            msg = f"{where}: {other} and {place} are the same modality: leave one out."
            raise DataError(msg)
    labels = _labels(f"{where}: labels", tree["labels"]) if "labels" in tree else {}
    if REFERENCE in tree:
        patterns[REFERENCE] = _pattern(f"{where}: {REFERENCE}", tree[REFERENCE])
        if not labels:
            msg = f"{where} names a reference but no labels: {_LABELS_HELP}"
            raise DataError(msg)
    return Description(file, patterns, modalities, volumes, labels)


def _check_keys(where: str, tree: Mapping[str, Tree], known: Sequence[str]) -> None:
    for key in tree:
        if key not in known:
            msg = (
                f"{where}: {_short(key)} is no key.{did_you_mean(key.lower(), known, ALIKE)} Known: {', '.join(known)}."
            )
            raise DataError(msg)


def _check_name(where: str, name: str) -> None:
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        msg = f"{where}: {_short(name)} is no name for a modality: write a short word, such as t1 or flair."
        raise DataError(msg)


def _mapping(where: str, value: Tree, wanted: str) -> dict[str, Tree]:
    if not isinstance(value, dict) or not value:
        msg = f"{where} {f'is {_short(value)}' if value else 'is missing or empty'}: {wanted}"
        raise DataError(msg)
    return value


def _image(where: str, value: Tree) -> tuple[Pattern, int | None]:
    """Return the pattern of a modality, and which volume of the file it is."""
    if not isinstance(value, dict) or not value.keys() & {*_IMAGE_KEYS}:
        return _pattern(where, value), None
    _check_keys(where, value, _IMAGE_KEYS)
    pattern = _pattern(where, value.get("file", ""))
    if "volume" not in value:
        return pattern, None
    volume = value["volume"]
    if (number := _number(volume)) is None:
        msg = f"{where}: volume is {_short(volume)}: write 0 for the first volume of the file, 1 for the second …"
        raise DataError(msg)
    return pattern, number


def _pattern(where: str, value: Tree) -> Pattern:
    if not isinstance(value, str):
        msg = f'{where} is {_short(value)}: write one pattern in quotation marks, such as "{{case}}/t1.nii.gz".'
        raise DataError(msg)
    return Pattern.parse(value, where)


def _labels(where: str, value: Tree) -> dict[int, str]:
    """Return what each number means; that 0 is background is known without being said."""
    names: dict[int, str] = {}
    for key, meaning in _mapping(where, value, _LABELS_HELP).items():
        number = _number(key)
        if number is None or number > _HIGHEST:
            swapped = isinstance(meaning, str) and _number(meaning) is not None
            hint = f"write {meaning}: {key}" if swapped else "write a whole number from 1 to 255 before the colon"
            msg = f"{where}: {_short(key)} is no label number: {hint}."
            raise DataError(msg)
        if not isinstance(meaning, str) or not meaning or not meaning.isprintable():
            msg = f"{where}: {number} is {_short(meaning)}: write one name for what it means, such as {number}: edema."
            raise DataError(msg)
        if number in names:
            msg = f"{where}: {number} is there twice: leave one out."
            raise DataError(msg)
        if (meaning.lower() == "background") != (number == 0):
            msg = f"{where}: {number} is {_short(meaning)}, but 0 and nothing else is background: leave that line out."
            raise DataError(msg)
        names[number] = meaning
    names.pop(0, None)
    return tissues(names)


def _number(text: Tree) -> int | None:
    return int(text) if isinstance(text, str) and re.fullmatch("[0-9]{1,6}", text) else None


def _short(value: Tree) -> str:
    """Name a value in an error."""
    if isinstance(value, str):
        return f'"{shown(value[:_SHOWN])}{"…" * (len(value) > _SHOWN)}"'
    return "a mapping" if isinstance(value, dict) else "a list"


def _tree(file: Path) -> Tree:
    """Read YAML without its traps: no value changes its type, no key is there twice, nothing refers to another place.

    Raises:
        DataError: it is no such file.
    """
    text = _text(file)
    try:
        _check_events(file, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        open_quote = error.context and "quoted" in error.context and "end of stream" in (error.problem or "")
        mark = error.context_mark if open_quote else error.problem_mark
        raise DataError(_misread(file, text, mark, error.problem or "")) from error
    except yaml.YAMLError as error:
        raise DataError(_no_yaml(file)) from error
    return "" if node is None else _plain(shown(file), node)


def _check_events(file: Path, text: str) -> None:
    """Look out for what makes YAML slow or large, which no description needs.

    Raises:
        DataError: something is nested deeply, or refers to another place.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise DataError(_misread(file, text, event.start_mark, "it refers to another place"))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise DataError(_no_yaml(file))


def _no_yaml(file: Path) -> str:
    return f"{shown(file)} is not YAML that describes images: write something like\n\n{EXAMPLE}"


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except OSError as error:
        msg = f"Cannot read {shown(file)}: {error.strerror}; make it readable."
        raise DataError(msg) from error
    if len(data) > _LARGEST:
        msg = f"{shown(file)} is larger than {_LARGEST >> 10} KiB, too large for a few patterns: is it the right file?"
        raise DataError(msg)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{shown(file)} is not text in UTF-8: save it as UTF-8, or give another file."
        raise DataError(msg) from error


def _plain(where: str, node: yaml.Node) -> Tree:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value).strip()
    if isinstance(node, yaml.SequenceNode):
        return [_plain(where, item) for item in node.value]
    tree: dict[str, Tree] = {}
    for key, value in node.value:
        line = f"{where}, line {key.start_mark.line + 1}"
        name = _plain(where, key)
        if not isinstance(name, str):
            msg = f"{line}: {_short(name)} stands before a colon: put what begins with a brace in quotation marks."
            raise DataError(msg)
        if name in tree:
            msg = f"{line}: {_short(name)} is there twice: leave one out."
            raise DataError(msg)
        tree[name] = _plain(where, value)
    return tree


def _misread(file: Path, text: str, mark: object, problem: str) -> str:
    """Say why a line is not YAML; most often a pattern stands there without quotation marks."""
    number = getattr(mark, "line", 0)  # PyYAML may give no mark
    lines = text.split("\n")
    line = lines[min(number, len(lines) - 1)].rstrip()
    bare = re.fullmatch(r"([^:\"'{*]+:) *([{*][^\"':,#]*)", line.split(" #")[0].strip())
    if bare:
        hint = f'put the pattern in quotation marks: {bare[1]} "{bare[2].strip()}".'
    elif line.lstrip(" ").startswith("\t"):
        hint = "indent with spaces instead of tabs."
    elif line.count('"') % 2:
        hint = "close the quotation mark."
    elif "\\" in line:
        hint = "write / instead of \\ between folders."
    else:
        hint = f"write KEY: VALUE, each on a line of its own, and every pattern in quotation marks ({problem})."
    return f"{shown(file)}, line {number + 1}: {hint}"
