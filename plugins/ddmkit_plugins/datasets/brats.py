"""Cases of BraTS 2017 to 2021 (Menze et al. 2015; Baid et al. 2021), by the names of their files alone."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Image, MissingImagesError, Survey
from ddmkit.searching import glance, image_stem, survey

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit.searching import Folder

LABELS = {1: "necrotic", 2: "edema", 4: "enhancing"}
_OTHER_MASK = "*[Ss]egm"
"""Case 355 of BraTS 2020 ships its mask as W39_1998.09.19_Segm.nii."""


class Naming(NamedTuple):
    """How a case's files are named: the case, a mark, the contrast or "seg"."""

    mark: str
    contrasts: Mapping[str, str]
    """What the files call each modality."""

    def name(self, stem: str) -> str:
        """Return whose contrast a file with this stem is, or "" if it is none."""
        name, _, part = stem.rpartition(self.mark)
        return name if part in self.contrasts.values() else ""

    def names(self, folder: Folder) -> set[str]:
        """Return the cases of which a contrast lies in a folder; a mask alone is somebody's answer."""
        return {name for stem in folder.stems if (name := self.name(stem))}

    def case(self, folder: Folder, name: str, labels: Mapping[int, str], patient: str | None = None) -> Case:
        """Return a case with every contrast, and its mask if there is one.

        Raises:
            DataError: a contrast is missing, or a file cannot be used.
        """
        stems = {modality: f"{name}{self.mark}{contrast}" for modality, contrast in self.contrasts.items()}
        paths = {modality: folder.image(stem) for modality, stem in stems.items()}
        images = {modality: Image(path) for modality, path in paths.items() if path is not None}
        case = Case(name, images, labels, self.mask(folder, name), patient)
        missing = [f"{stems[modality]}.nii.gz" for modality, path in paths.items() if path is None]
        if missing:
            msg = (
                f"Case {name} lacks {', '.join(missing)} (or .nii) in {folder.path}: put that there, "
                "or move the case out of the data."
            )
            raise MissingImagesError(msg, case)
        return case

    def mask(self, folder: Folder, name: str) -> Path | None:
        """Return the reference of a case, if there is one.

        Raises:
            DataError: it cannot be used.
        """
        return folder.image(f"{name}{self.mark}seg")


_NAMING = Naming("_", {modality: modality for modality in ("t1", "t1ce", "t2", "flair")})


class BratsFolders(Dataset):
    """BraTS 2017 to 2021: the four contrasts of a case and perhaps its mask in one folder, anywhere under the path."""

    name: ClassVar[str] = "brats"
    looked_for: ClassVar[str] = "NAME_{t1,t1ce,t2,flair}.nii.gz or .nii in one folder"
    labels: ClassVar[Mapping[int, str] | None] = LABELS

    @override
    def recognises(self, root: Path) -> bool:
        return any(_NAMING.names(folder) for folder in glance(root))

    @override
    def survey(self, root: Path) -> Survey:
        return survey(root, _NAMING.names, _case)


def _case(folder: Folder, name: str) -> Case:
    case = _NAMING.case(folder, name, LABELS)
    return case._replace(reference=case.reference or _other_mask(folder, name))


def _other_mask(folder: Folder, name: str) -> Path | None:
    """Return a mask of another name, if nobody else's case lies in the folder."""
    if any(_NAMING.name(stem) not in {name, ""} for stem in folder.stems):
        return None
    found = [file for file in folder.files if fnmatchcase(image_stem(file), _OTHER_MASK)]
    if len(found) > 1:
        msg = f"Case {name} has no {name}_seg.nii.gz but {' and '.join(found)}: rename the mask to that name."
        raise DataError(msg)
    return folder.image(image_stem(found[0])) if found else None
