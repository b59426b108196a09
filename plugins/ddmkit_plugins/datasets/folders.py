"""Images of any layout, described by a few lines of YAML: which files belong to a case, and what label numbers mean."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from pydantic import Field
from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Image, MissingImagesError, Survey
from ddmkit.rules import shown
from ddmkit.searching import walk
from ddmkit_plugins.datasets.folders_description import EXAMPLE, FILES, REFERENCE, read_description
from ddmkit_plugins.datasets.patterns import HELP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ddmkit.searching import Folder
    from ddmkit_plugins.datasets.folders_description import Description
    from ddmkit_plugins.datasets.patterns import Reading

_log = logging.getLogger(__name__)

_SHOWN = 2
"""How many files are named as examples of what is there."""


class Folders(Dataset):
    """Your own layout: a file ddmkit.yaml in the folder of the data says how its files are named.

    One pattern for each modality, as seen from the folder of the data: {case} stands for the name of the case, * for
    anything in a name, ** for any folders. For example::

        images:
          t1: "{case}/t1.nii.gz"
          flair: "{case}/*FLAIR*.nii.gz"
        reference: "masks/{case}.nii.gz"
        labels: {1: necrotic, 2: edema, 3: enhancing}

    docs/own-data.md explains all of it.
    """

    name: ClassVar[str] = "folders"
    looked_for: ClassVar[str] = f"{FILES[0]}, which says how images are named"
    described: ClassVar[bool] = True
    description: Path | None = Field(
        default=None,
        description=f"The file that describes the data, where it is not {FILES[0]} in their folder; its patterns are "
        "still as seen from the folder of the data. Not used where --data is such a file itself.",
    )

    @override
    def recognises(self, root: Path) -> bool:
        try:
            self._locate(root)
        except DataError:
            return False
        return True

    @override
    def survey(self, root: Path) -> Survey:
        if self.description is None and _is_empty(root):
            return Survey([])
        folder, file = self._locate(root)
        description = read_description(file)
        found = _search(folder, description)
        _check_any(folder, description, found)
        cases: dict[str, Case] = {}
        partial: dict[str, Case] = {}
        wrong = dict(found.wrong)
        for name, files in sorted(_grouped(found).items()):
            try:
                cases[name] = _case(name, files, description, found)
            except DataError as error:
                wrong[shown(name)] = str(error)
                if isinstance(error, MissingImagesError):
                    partial[name] = error.case
        return Survey(list(cases.values()), wrong, partial)

    def _locate(self, root: Path) -> tuple[Path, Path]:
        """Return the folder of the data and the file that describes them.

        Raises:
            DataError: there is none, or more than one.
        """
        if os.path.isfile(root):  # noqa: PTH113 - Path.is_file raises where a folder may not be entered
            if root.suffix.lower() not in {".yaml", ".yml"}:
                msg = f"{shown(root)} is a file: give the folder of the images, or a .yaml file that describes them."
                raise DataError(msg)
            return root.parent, root
        if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises where a folder may not be entered
            msg = f"There is no folder {shown(root)}: give the one that holds the images."
            raise DataError(msg)
        if self.description is not None:
            places = dict.fromkeys((self.description, root / self.description))
            missing = (
                f"There is no file {' or '.join(map(shown, places))} to describe the data: mend dataset.description."
            )
        else:
            places = dict.fromkeys(root / name for name in FILES)
            missing = (
                f"{shown(root)} has no {FILES[0]} to say what its files are: write one there, such as\n\n{EXAMPLE}\n"
                "where {case} stands for the name of a case and * for anything."
            )
        files = [place for place in places if os.path.isfile(place)]  # noqa: PTH113 - as above
        if not files:
            raise DataError(missing)
        if len(files) > 1 and not files[0].samefile(files[1]):
            msg = f"Both {shown(files[0])} and {shown(files[1])} describe the data: delete or rename one of them."
            raise DataError(msg)
        return root, files[0]


class _File(NamedTuple):
    """A file that fits a pattern."""

    path: Path
    strange: str
    """Why it cannot be read, if so."""
    readings: AbstractSet[Reading]


class _Found(NamedTuple):
    """What one walk through the folder came upon."""

    files: dict[str, list[_File]]
    """By the pattern's place in the description, such as "images: t1"."""
    examples: list[str]
    """A few images, if possible such that fit no pattern."""
    wrong: dict[str, str]

    @property
    def there(self) -> str:
        """The examples, for a sentence."""
        return " and ".join(map(shown, self.examples))


def _search(folder: Path, description: Description) -> _Found:
    files: dict[str, dict[Path, _File]] = {place: {} for place in description.patterns}
    fitting: list[str] = []
    other: list[str] = []
    wrong: dict[str, str] = {}
    for subfolder in walk(folder):
        wrong.update(subfolder.wrong)
        prefix = subfolder.path.relative_to(folder)
        for name, path, strange in _images(subfolder):
            text = (prefix / name).as_posix()
            readings = {place: read for place, pattern in description.patterns.items() if (read := pattern.read(text))}
            for place, read in readings.items():
                files[place].setdefault(path, _File(path, strange, read))
            examples = fitting if readings else other
            if len(examples) < _SHOWN:
                examples.append(text)
    by_place = {place: list(several.values()) for place, several in files.items()}
    return _Found(by_place, (other + fitting)[:_SHOWN], wrong)


def _images(folder: Folder) -> Iterator[tuple[str, Path, str]]:
    """Yield names like an image's, what to read for each (of a pair, the header), and why it cannot be, if so."""
    for name in sorted(name for names in folder.stems.values() for name in names):
        stem, dot, ending = name.rpartition(".")
        headers = [stem + dot + other for other in ("hdr", "HDR")] if ending.lower() == "img" else []
        path = folder.path / next((header for header in headers if header in folder.files), name)
        strange = folder.strange.get(name, "")
        if not (strange and path.is_dir()):
            yield name, path, strange


def _check_any(folder: Path, description: Description, found: _Found) -> None:
    """Make sure that the patterns belong to this folder.

    Raises:
        DataError: no file fits any of them.
    """
    file = shown(description.file)
    if not found.examples:
        msg = (
            f"There is no image (.nii.gz, .nii or .hdr) below {shown(folder)}: give --data the folder that holds them."
        )
        raise DataError(next(iter(found.wrong.values()), msg))
    place, pattern = next(iter(description.patterns.items()))
    if not any(found.files.values()):
        msg = (
            f"{file}: no file below {shown(folder)} fits any pattern; {place} is {pattern.quoted}, but there is, for "
            f"example, {found.there}: change the patterns. {HELP} Capitals count."
        )
        raise DataError(msg)
    if not found.files.get(REFERENCE, [True]):
        reference = description.patterns[REFERENCE].quoted
        _log.warning("%s: no file fits the pattern of the reference, %s: no case has one.", file, reference)


class _Group(NamedTuple):
    """The files of one case."""

    files: Mapping[str, list[_File]]
    """By the pattern's place."""
    reading: Reading
    """What is known of the case."""
    patients: AbstractSet[str] | None
    """Whose it may be; None: no pattern says."""


def _grouped(found: _Found) -> dict[str, _Group]:
    """Give each file to one case: where its name can be read in several ways, to the case most patterns know."""
    votes = Counter(
        name for files in found.files.values() for name in {reading.name for file in files for reading in file.readings}
    )
    groups: dict[str, dict[str, list[_File]]] = defaultdict(lambda: defaultdict(list))
    for place, files in found.files.items():
        for file in files:
            name = _likeliest(file.readings, votes).name
            readings = {reading for reading in file.readings if reading.name == name}
            groups[name][place].append(file._replace(readings=readings))
    return {name: _group(files) for name, files in groups.items()}


def _likeliest(readings: AbstractSet[Reading], votes: Mapping[str, int] | None = None) -> Reading:
    """Return the reading most patterns know; among those, the longest name that does not end in a separator."""
    known = votes or {}

    def rank(reading: Reading) -> tuple[object, ...]:
        name = reading.name
        return known.get(name, 0), name[-1].isalnum(), len(name), name, reading.patient or ""

    return max(readings, key=rank)


def _group(files: Mapping[str, list[_File]]) -> _Group:
    readings = [file.readings for several in files.values() for file in several]
    said = [{one.patient for one in several if one.patient is not None} for several in readings]
    patients = [names for names in said if names]
    fullest = max(set().union(*readings), key=lambda one: [value or "" for value in one])
    return _Group(files, fullest, set.intersection(*patients) if patients else None)


def _case(name: str, group: _Group, description: Description, found: _Found) -> Case:
    """Return the case, if its files are one for each pattern.

    Raises:
        DataError: they are not.
    """
    if not name.isprintable():
        msg = f"Case {shown(name)} has a name that cannot be printed: rename its files, or move them out of the data."
        raise DataError(msg)
    patient = _patient(name, group)
    for place, several in group.files.items():
        _check_one(name, place, several, description)
    images = {
        modality: Image(group.files[place][0].path, description.volumes[place])
        for modality, place in description.modalities.items()
        if place in group.files
    }
    reference = next((file.path for file in group.files.get(REFERENCE, ())), None)
    _check_twice(name, images, reference)
    case = Case(name, images, description.labels, reference, patient)
    for place in description.volumes:
        if place not in group.files:
            raise MissingImagesError(_missing(name, place, group, description, found), case)
    return case


def _check_one(name: str, place: str, files: Sequence[_File], description: Description) -> None:
    """Make sure that one file fits a pattern, and can be read.

    Raises:
        DataError: it is not so.
    """
    for file in files:
        if file.strange:
            msg = f"Case {name}: {shown(file.path)} {file.strange}, not a file: put the image itself there."
            raise DataError(msg)
    if len(files) > 1:
        msg = (
            f"Case {name} has {len(files)} files for {place}, such as {shown(files[0].path)} and "
            f"{shown(files[1].path)}: write more of the name into the pattern "
            f"{description.patterns[place].quoted}, or move one of them."
        )
        raise DataError(msg)


def _missing(name: str, place: str, group: _Group, description: Description, found: _Found) -> str:
    """Return what to do about an image that a case lacks."""
    pattern = description.patterns[place]
    lacks = f"Case {name} lacks {place} ({shown(pattern.of(group.reading))})"
    if not found.files[place]:
        return (
            f"{lacks}: no file at all fits {pattern.quoted}, but there is, for example, {found.there}; change the "
            "pattern (capitals count), or put the files there."
        )
    there = " and ".join(shown(file.path) for files in group.files.values() for file in files[:_SHOWN])
    return f"{lacks}: put that there, or move {there} out of the data."


def _check_twice(name: str, images: Mapping[str, Image], reference: Path | None) -> None:
    """Make sure that no file is taken for two things.

    Raises:
        DataError: one is.
    """
    meant: dict[Image, str] = {}
    named = images if reference is None else {**images, REFERENCE: Image(reference)}
    for what, image in named.items():
        if (other := meant.setdefault(image, what)) != what:
            msg = (
                f"Case {name}: {shown(image.path)} is both {other} and {what}: write more of its name into the "
                "patterns, or which volume of it each is."
            )
            raise DataError(msg)


def _patient(name: str, group: _Group) -> str | None:
    """Return whose case it is.

    Raises:
        DataError: it could be several patients'.
    """
    if group.patients is None:
        return None
    if not group.patients:
        msg = (
            f"Case {name} belongs to several patients: if {name} is the name of a visit, write {{visit}} instead of "
            "{case} in the patterns, else rename one of the cases."
        )
        raise DataError(msg)
    if len(group.patients) > 1:
        msg = (
            f"Case {name} could belong to the patient {' or '.join(sorted(group.patients))}: write {{patient}} where "
            "its name ends at a slash, such as {patient}/*/…, or leave it out."
        )
        raise DataError(msg)
    return next(iter(group.patients))


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:  # no folder, or none that may be read
        return False
