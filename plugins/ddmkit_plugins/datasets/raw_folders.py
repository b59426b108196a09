"""The folders that MSD and nnU-Net share: imagesTr, labelsTr and imagesTs beside a dataset.json."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from ddmkit import Case, DataError, Image, Survey
from ddmkit.rules import shown
from ddmkit.searching import Collector, Folder, glance, walk
from ddmkit_plugins.datasets import dataset_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

TRAINING, LABELS, TEST = "imagesTr", "labelsTr", "imagesTs"
_LOOKED_AT = 64
CHANNEL_FILE = re.compile("(.+)_([0-9]{4})", re.DOTALL)
"""The name of a file of one channel, without its ending."""
_VISIT = re.compile("(BraTS-.+-[0-9]{5})-[0-9]{3}")
"""BraTS 2023's names of cases, which converted ones keep; a patient may have several."""

Images: TypeAlias = "Mapping[str, Callable[[], Mapping[str, Image]]]"
"""For each case of a folder a function that returns its images, or raises DataError with what is wrong with them."""
Entry: TypeAlias = "tuple[str, Callable[[], Case]]"
"""The name of a case, and a function that returns it, or raises DataError with what is wrong with it."""


class Folders(NamedTuple):
    """Where the cases are that a path asks for: a data set's, or those of one of its folders."""

    home: Path
    """Where dataset.json is, and where it counts paths from."""
    training: Folder | None = None
    labels: Folder | None = None
    """The references of `training`; without it and `test`, cases without images."""
    test: Folder | None = None
    """Images without references."""
    entire: bool = False
    """Whether the path is the data set's own folder, so that cases which dataset.json names are asked for, too."""

    @property
    def empty(self) -> bool:
        """Whether there is neither an image nor a description of any."""
        images = any(folder.stems or folder.wrong for folder in self.listed)
        return not images and not (self.entire and os.path.lexists(self.home / dataset_json.FILE))

    @property
    def listed(self) -> list[Folder]:
        """Those that there are."""
        return [folder for folder in (self.training, self.labels, self.test) if folder]


def locate(root: Path) -> Folders:
    """Find the folders under `root`, which may be one of them, or hold the files of one.

    Raises:
        DataError: it cannot be read.
    """
    return _locate(root, lambda path: next(walk(path)))


def layout(root: Path) -> Literal["msd", "nnunet"] | None:
    """Tell by a quick look whose layout the files under `root` have: nnU-Net has a file for each channel."""
    try:
        return _layout(root, _locate(root, _glanced))
    except DataError:
        return None


def training(folders: Folders, labels: Mapping[int, str], images: Images) -> Iterator[Entry]:
    """Yield the cases with references, or that might have them; without images where only labels are asked for."""
    references = folders.labels or Folder(folders.home / LABELS)
    for name in images.keys() | references.stems:
        if folders.training or folders.entire:
            yield name, partial(_training_case, name, images.get(name), references, labels)
        else:
            yield name, partial(_label_case, name, references, labels)


def test(labels: Mapping[int, str], images: Images) -> Iterator[Entry]:
    """Yield the cases without references."""
    for name, make in images.items():
        yield name, partial(_test_case, name, make, labels)


def patient(name: str) -> str | None:
    """Return whose case it is, where its name tells that there may be others of the same patient."""
    visit = _VISIT.fullmatch(name)
    return visit and visit[1]


def survey(folders: Folders, entries: Iterable[Entry]) -> Survey:
    """Make every case; those that cannot be made, or share a name, are wrong."""
    collector = Collector({name: reason for folder in folders.listed for name, reason in folder.wrong.items()})
    for name, make in entries:
        collector.take(name, make, _twice)
    cases, wrong, alone = collector.survey()
    return Survey(cases, dict(sorted(wrong.items())), dict(sorted(alone.items())))


def _locate(root: Path, look: Callable[[Path], Folder]) -> Folders:
    here = look(root)
    parts = {part: look(root / part) for part in (TRAINING, LABELS, TEST) if _is_folder(root / part)}
    if parts:
        return Folders(root, parts.get(TRAINING), parts.get(LABELS), parts.get(TEST), entire=True)
    above = Path(os.path.abspath(root)).parent  # noqa: PTH100 - resolve() would follow the link that a folder may be
    home = root if os.path.lexists(root / dataset_json.FILE) else above
    if here.name == TRAINING:
        references = home / LABELS
        return Folders(home, training=here, labels=look(references) if _is_folder(references) else None)
    if here.name.startswith("labels") or (home is root and _are_predictions(here)):
        return Folders(home, labels=here)
    return Folders(home, test=here, entire=home is root and not here.stems)


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where a folder above may not be searched


def _are_predictions(here: Folder) -> bool:
    """Tell whether a folder that has a dataset.json of its own holds nnU-Net's answers rather than images."""
    return "plans.json" in here.files or (bool(here.stems) and not _by_channel(here, None))


def _by_channel(images: Folder, labels: Path | None) -> bool:
    """Tell whether most files are named like channels, and not like a label file: MSD may number its cases so, too."""
    stems = list(images.stems)[:_LOOKED_AT]
    numbered = [stem for stem in stems if CHANNEL_FILE.fullmatch(stem)]
    if labels:
        numbered = [stem for stem in numbered if not any(os.path.lexists(labels / name) for name in images.stems[stem])]
    return 2 * len(numbered) > len(stems)


def _glanced(path: Path) -> Folder:
    return next(glance(path), Folder(path))


def _layout(root: Path, folders: Folders) -> Literal["msd", "nnunet"] | None:
    home, labels, only = folders.home, folders.labels, folders.test
    if only and only.path == root and only.name != TEST:
        is_nnunet = _by_channel(only, None) or (home is root and "dataset" in _content(home))
        return "nnunet" if is_nnunet else None
    if labels and labels.path == home:
        return "nnunet"
    for part in (TRAINING, TEST):
        images = _glanced(home / part)
        if images.stems:
            return "nnunet" if _by_channel(images, home / LABELS) else "msd"
    keys = _content(home)
    return "nnunet" if "channel_names" in keys else "msd" if "modality" in keys else None


def _content(home: Path) -> Mapping[str, object]:
    try:
        return dataset_json.content(home / dataset_json.FILE)
    except DataError:
        return {}


def _label_case(name: str, folder: Folder, labels: Mapping[int, str]) -> Case:
    return Case(name, {}, labels, folder.image(name), patient(name))


def _test_case(name: str, make: Callable[[], Mapping[str, Image]], labels: Mapping[int, str]) -> Case:
    return Case(name, make(), labels, patient=patient(name))


def _training_case(
    name: str,
    make: Callable[[], Mapping[str, Image]] | None,
    references: Folder,
    labels: Mapping[int, str],
) -> Case:
    if make is None:
        msg = (
            f"Case {name} has labels in {shown(references.path)} but no image in {TRAINING}: put its images there, or "
            "take its labels away."
        )
        raise DataError(msg)
    images, reference = make(), references.image(name)
    if references.stems and reference is None:
        msg = (
            f"Case {name} has no labels in {shown(references.path)}, where others have: put {name}.nii.gz there, or "
            f"move its images to {TEST}."
        )
        raise DataError(msg)
    return Case(name, images, labels, reference, patient(name))


def _twice(one: Case, other: Case) -> str:
    first, second = (shown(next(iter(case.images.values())).path) for case in (one, other))
    return f"Two cases are named {one.name}, {first} and {second}: rename one of them, or take it away."
