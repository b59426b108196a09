"""Cases of BraTS 2020 and 2021 (Menze et al. 2015; Baid et al. 2021), by their folders and files alone."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Case, DataError, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MODALITIES = ("t1", "t1ce", "t2", "flair")
_ENDINGS = (".nii", ".nii.gz")
_OTHER_MASKS = ("*[Ss]egm.nii", "*[Ss]egm.nii.gz")
"""Case 355 of BraTS 2020 ships its mask as W39_1998.09.19_Segm.nii."""


class BratsFolders(Dataset):
    """BraTS 2020 or 2021: a folder per case, anywhere under the path, with the four contrasts and perhaps a mask."""

    name: ClassVar[str] = "brats"
    looked_for: ClassVar[str] = "folders NAME with NAME_{t1,t1ce,t2,flair}.nii.gz or .nii"

    @property
    @override
    def labels(self) -> dict[int, str]:
        return {1: "core", 2: "edema", 4: "enhancing"}

    @override
    def cases(self, root: Path) -> list[Case]:
        found, wrong = self.survey(root)
        for reason in wrong.values():
            raise DataError(reason)
        return found

    @override
    def survey(self, root: Path) -> tuple[list[Case], dict[str, str]]:
        found: dict[str, Case] = {}
        wrong: dict[str, str] = {}
        for folder, files in _folders(root):
            try:
                case = _case(folder, files)
            except DataError as error:
                wrong.setdefault(_name(folder), str(error))
                continue
            if case is not None and (other := found.setdefault(case.name, case)) is not case:
                wrong.setdefault(
                    case.name,
                    f"Two folders are named {case.name}: {_folder_of(other)} and {folder}; rename or move one, "
                    "or give a folder that holds one of them.",
                )
        return [found[name] for name in sorted(found.keys() - wrong)], wrong


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder from `root` down with the names of its files, in one order on every machine.

    Hidden ones are skipped. Links are followed, but no folder is yielded twice under one name: a link may lead back up.
    """
    seen: set[tuple[int, int, str]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        name = _name(folder)
        try:
            status = folder.stat()
            if (place := (status.st_dev, status.st_ino, name)) in seen:
                continue
            seen.add(place)
            with os.scandir(folder) as entries:
                visible = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
        except OSError as error:
            msg = f"Cannot read the folder {folder}: {error.strerror}; give a folder of cases that you may read."
            raise DataError(msg) from error
        files = [entry.name for entry in visible if entry.is_file()]
        yield folder, files
        waiting += [folder / entry.name for entry in reversed(visible) if entry.is_dir()]


def _name(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name  # noqa: PTH100 - "." has a name, and a link keeps its own


def _case(folder: Path, files: list[str]) -> Case | None:
    """Return the case that `folder` is, or None where no file is a contrast of the folder's name."""
    name = _name(folder)
    present = {modality: _file(folder, f"{name}_{modality}", files) for modality in _MODALITIES}
    images = {modality: path for modality, path in present.items() if path is not None}
    if not images:
        return None
    missing = [f"{name}_{modality}.nii.gz" for modality, path in present.items() if path is None]
    if missing:
        msg = (
            f"Case {name} lacks {', '.join(missing)} (or .nii) in {folder}: put that there, "
            "or move the folder out of the data."
        )
        raise DataError(msg)
    return Case(name, images, _file(folder, f"{name}_seg", files) or _other_mask(folder, name, files))


def _file(folder: Path, stem: str, files: Iterable[str]) -> Path | None:
    """Return the NIfTI file named `stem`.

    Raises:
        DataError: it is there twice, compressed and not.
    """
    found = [stem + ending for ending in _ENDINGS if stem + ending in files]
    if len(found) > 1:
        msg = f"The folder {folder} holds both {found[0]} and {found[1]}: delete or move one of them."
        raise DataError(msg)
    return folder / found[0] if found else None


def _other_mask(folder: Path, name: str, files: Iterable[str]) -> Path | None:
    found = [file for file in files if any(fnmatchcase(file, pattern) for pattern in _OTHER_MASKS)]
    if len(found) > 1:
        msg = f"Case {name} has no {name}_seg.nii.gz but {' and '.join(found)}: rename the mask to that name."
        raise DataError(msg)
    return folder / found[0] if found else None


def _folder_of(case: Case) -> Path:
    return next(iter(case.images.values())).parent
