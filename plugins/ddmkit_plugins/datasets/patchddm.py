"""Cases of BraTS 2020 in the folders that PatchDDM's authors train on (Bieder et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Image, MissingImagesError, Survey
from ddmkit.searching import glance, survey
from ddmkit_plugins.datasets.brats import LABELS

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit.searching import Folder

_CONTRASTS = ("t1", "t1ce", "t2", "flair")
_FILE = re.compile(rf"(?P<subject>.+)_(?P<part>{'|'.join(_CONTRASTS)}|seg)_\d+_w")
"""brats_train_001_t1_000_w: subject, part, a number, and a letter that ends every name."""


class PatchddmFolders(Dataset):
    """The official PatchDDM folders: one for each case of BraTS 2020, called by its number, anywhere under the path."""

    name: ClassVar[str] = "patchddm"
    looked_for: ClassVar[str] = "000001/brats_train_001_{t1,t1ce,t2,flair}_000_w.nii.gz"
    labels: ClassVar[Mapping[int, str] | None] = LABELS

    @override
    def recognises(self, root: Path) -> bool:
        return any(_names(folder) for folder in glance(root))

    @override
    def survey(self, root: Path) -> Survey:
        return survey(root, _names, _case)


def _case(folder: Folder, name: str) -> Case:
    found = [match for stem in folder.stems if (match := _FILE.fullmatch(stem))]
    subjects = sorted({match["subject"] for match in found})
    if len(subjects) > 1:
        msg = (
            f"The folder {folder.path} holds files of {' and '.join(subjects)}, but is the one case {name}: "
            "give each a folder of its own."
        )
        raise DataError(msg)
    stems: dict[str, str] = {}
    for match in found:
        if (other := stems.setdefault(match["part"], match[0])) != match[0]:
            msg = f"Case {name} has both {other} and {match[0]} in {folder.path}: delete or move one of them."
            raise DataError(msg)
    return _whole(folder, name, subjects[0], stems)


def _whole(folder: Folder, name: str, subject: str, stems: Mapping[str, str]) -> Case:
    paths = {part: folder.image(stem) for part, stem in stems.items()}
    reference = paths.pop("seg", None)
    images = {contrast: Image(path) for contrast in _CONTRASTS if (path := paths.get(contrast)) is not None}
    case = Case(name, images, LABELS, reference)
    missing = [f"{subject}_{contrast}_000_w.nii.gz" for contrast in _CONTRASTS if contrast not in paths]
    if missing:
        msg = (
            f"Case {name} lacks {', '.join(missing)} in {folder.path}: put that there, "
            "or move the folder out of the data."
        )
        raise MissingImagesError(msg, case)
    return case


def _names(folder: Folder) -> set[str]:
    """Return the folder's name, if a contrast lies in it; a mask alone is somebody's answer."""
    parts = (match["part"] for stem in folder.stems if (match := _FILE.fullmatch(stem)))
    return {folder.name} if any(part != "seg" for part in parts) else set()
