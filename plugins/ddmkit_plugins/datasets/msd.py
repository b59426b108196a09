"""Tasks of the Medical Segmentation Decathlon (Antonelli et al. 2022), such as Task01_BrainTumour."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Image, Survey
from ddmkit.searching import Folder, image_stem
from ddmkit_plugins.datasets import dataset_json, raw_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ddmkit_plugins.datasets.dataset_json import Description
    from ddmkit_plugins.datasets.raw_folders import Entry, Folders, Images


class Decathlon(Dataset):
    """A task of the Medical Segmentation Decathlon: imagesTr, labelsTr, imagesTs, with all modalities in one 4D file.

    dataset.json says what modalities and labels mean. Where it lists cases under "training" and "test", those are the
    data set: a file that a list leaves out is not used, and one that it names has to be there. The path may also be
    imagesTr or imagesTs alone, or labelsTr, whose cases have no images.
    """

    name: ClassVar[str] = "msd"
    looked_for: ClassVar[str] = "dataset.json beside imagesTr/NAME.nii.gz and labelsTr/NAME.nii.gz"

    @override
    def recognises(self, root: Path) -> bool:
        return raw_folders.layout(root) == "msd"

    @override
    def survey(self, root: Path) -> Survey:
        folders = raw_folders.locate(root)
        if folders.empty:
            return Survey([])
        described = dataset_json.read(folders.home / dataset_json.FILE)
        return raw_folders.survey(folders, _entries(folders, described))


def _entries(folders: Folders, described: Description) -> Iterator[Entry]:
    """Yield the cases that the lists name, or those of the folders where there is no list."""
    asked = bool(folders.training) or folders.entire
    if asked and (listed := dataset_json.listed(described, "training")):
        yield from (_listed_case(folders.home, described, "training", entry) for entry in listed)
    else:
        yield from raw_folders.training(folders, described.labels, _images(folders.training, described))
    asked = _is_test(folders.test) or folders.entire
    if asked and (listed := dataset_json.listed(described, "test")):
        yield from (_listed_case(folders.home, described, "test", entry) for entry in listed)
    else:
        yield from raw_folders.test(described.labels, _images(folders.test, described))


def _is_test(folder: Folder | None) -> bool:
    return folder is not None and folder.name == raw_folders.TEST


def _images(folder: Folder | None, described: Description) -> Images:
    return {stem: partial(_found, folder, stem, described) for stem in folder.stems} if folder else {}


def _found(folder: Folder, stem: str, described: Description) -> Mapping[str, Image]:
    path = folder.image(stem)
    return {} if path is None else _volumes(path, described)


def _listed_case(home: Path, described: Description, key: str, entry: object) -> Entry:
    """Return a case of a list: the path of its image, or a mapping with "image" and perhaps "label" to paths."""
    files = {"image": entry} if isinstance(entry, str) else dataset_json.mapped(described, key, entry)
    image, reference = (
        None if files.get(what) is None else dataset_json.path_text(described, key, files[what])
        for what in ("image", "label")
    )
    if image is None:
        msg = f"{described.path} lists a case without an 'image' under {key!r}: name its file, or take the case out."
        raise DataError(msg)
    file = PurePosixPath(image).name
    name = image_stem(file) or file
    return name, partial(_case, name, home, described, image, reference)


def _case(name: str, home: Path, described: Description, image: str, reference: str | None) -> Case:
    try:
        images = _volumes(dataset_json.named_file(home, image), described)
        labels = dataset_json.named_file(home, reference) if reference else None
    except DataError as error:
        msg = f"Case {name}: {error}"
        raise DataError(msg) from error
    return Case(name, images, described.labels, labels, raw_folders.patient(name))


def _volumes(path: Path, described: Description) -> Mapping[str, Image]:
    """Return where each modality is in the file; a file of only one may be 3D."""
    several = len(described.channels) > 1
    return {name: Image(path, volume if several else None) for volume, name in enumerate(described.channels)}
