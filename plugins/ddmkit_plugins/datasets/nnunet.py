"""nnU-Net's raw data (Isensee et al. 2021), of its versions 1 and 2."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Image, MissingImagesError, Survey
from ddmkit.rules import shown
from ddmkit_plugins.datasets import raw_folders
from ddmkit_plugins.datasets.dataset_json import FILE, Description, mapped, named_file, path_text, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ddmkit.searching import Folder
    from ddmkit_plugins.datasets.raw_folders import Entry, Folders, Images

_ENDINGS = (".nii.gz", ".nii")


class NnUnet(Dataset):
    """nnU-Net's raw layout: imagesTr, labelsTr, imagesTs, with each channel in a file of its own.

    dataset.json says what channels and labels mean. The path may be the data set's folder, or one that holds only
    images (to sample for) or only labels (to evaluate against), such as imagesTs, labelsTr or nnU-Net's answers.
    """

    name: ClassVar[str] = "nnunet"
    looked_for: ClassVar[str] = "dataset.json beside imagesTr/CASE_0000.nii.gz … and labelsTr/CASE.nii.gz"
    description: Path | None = Field(
        default=None,
        description="The dataset.json that says what channels and labels mean; null: the one in the folder of the "
        "data, or in the folder above.",
    )

    @override
    def recognises(self, root: Path) -> bool:
        return raw_folders.layout(root) == "nnunet"

    @override
    def survey(self, root: Path) -> Survey:
        folders = raw_folders.locate(root)
        if folders.empty:
            return Survey([])
        elsewhere = ", or name another with --dataset nnunet -o dataset.description=PATH"
        described = read(self.description or folders.home / FILE, elsewhere)
        _check_ending(described)
        found = raw_folders.survey(folders, _entries(folders, described))
        _check_ignored(described, found)
        return found


def _check_ending(described: Description) -> None:
    ending = described.content.get("file_ending", _ENDINGS[0])
    if ending not in _ENDINGS:
        msg = (
            f"{shown(described.path)} says that files end in {ending!r:.60}, but only {' and '.join(_ENDINGS)} can be "
            "read: convert them."
        )
        raise DataError(msg)


def _check_ignored(described: Description, found: Survey) -> None:
    if described.ignored is not None and any(case.reference for case in found.cases):
        msg = (
            f"{shown(described.path)} has a label 'ignore', so its references may be partial, and nothing is learnt "
            "from part of one: give a folder without references, or take 'ignore' out of the labels (files that hold "
            f"the number {described.ignored} are then refused one by one)."
        )
        raise DataError(msg)


def _entries(folders: Folders, described: Description) -> Iterator[Entry]:
    if folders.entire and "dataset" in described.content:
        cases = mapped(described, "dataset", described.content["dataset"])
        yield from (_mapped_case(name, folders.home, described, files) for name, files in cases.items())
    else:
        yield from raw_folders.training(folders, described.labels, _images(folders.training, described))
    yield from raw_folders.test(described.labels, _images(folders.test, described))


def _images(folder: Folder | None, described: Description) -> Images:
    """Gather the files of each case; one without a channel's number is a case that is wrong."""
    if folder is None:
        return {}
    cases: dict[str, list[str]] = {}
    for stem in folder.stems:
        match = raw_folders.CHANNEL_FILE.fullmatch(stem)
        cases.setdefault(match[1] if match else stem, []).append(stem)
    return {name: partial(_channels, folder, name, stems, described) for name, stems in cases.items()}


def _channels(folder: Folder, name: str, stems: list[str], described: Description) -> Mapping[str, Image]:
    expected = {f"{name}_{number:04d}": modality for number, modality in enumerate(described.channels)}
    strange = sorted({*stems} - expected.keys())
    if strange:
        file = folder.path / folder.stems[strange[0]][0]
        known = _and([f"_{number:04d} ({modality})" for number, modality in enumerate(described.channels)])
        msg = f"{shown(file)} is no channel that {described.path.name} names, {known}: rename it, or take it away."
        raise DataError(msg)
    found = {modality: folder.image(stem) for stem, modality in expected.items()}
    images = {modality: Image(path) for modality, path in found.items() if path}
    missing = [f"{stem}.nii.gz ({modality})" for stem, modality in expected.items() if modality not in images]
    if missing:
        msg = (
            f"Case {name} lacks {_and(missing)} in {shown(folder.path)}: put that there, or take the case's other "
            "files away."
        )
        raise MissingImagesError(msg, Case(name, images, described.labels, patient=raw_folders.patient(name)))
    return images


def _mapped_case(name: str, home: Path, described: Description, files: object) -> Entry:
    """Return a case that dataset.json maps to its files, wherever in the folder they are."""
    path_text(described, "dataset", name)
    if name != Path(name).name or name.startswith("."):
        msg = f"{described.path} has a case {name!r:.60} under 'dataset': name it without slashes and leading dots."
        raise DataError(msg)
    return name, partial(_case, name, home, described, mapped(described, "dataset", files))


def _case(name: str, home: Path, described: Description, files: Mapping[str, object]) -> Case:
    images, reference = files.get("images"), files.get("label")
    if not isinstance(images, list) or len(images) != len(described.channels):
        msg = (
            f"Case {name} needs a list of {len(described.channels)} 'images' under 'dataset' in {described.path}: "
            f"{_and(described.channels)}."
        )
        raise DataError(msg)
    try:
        paths = [Image(named_file(home, path_text(described, "images", image))) for image in images]
        labels = None if reference is None else named_file(home, path_text(described, "label", reference))
    except DataError as error:
        msg = f"Case {name}: {error}"
        raise DataError(msg) from error
    return Case(
        name, dict(zip(described.channels, paths, strict=True)), described.labels, labels, raw_folders.patient(name)
    )


def _and(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
