"""Gliomas of BraTS 2023 and 2024 (Baid et al. 2021; de Verdier et al. 2024), by the names of their files alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Case, DataError, Dataset, Survey
from ddmkit.searching import glance, survey
from ddmkit_plugins.datasets.brats import Naming

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit.searching import Folder

_NAMING = Naming("-", {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"})
_LABELS = {1: "necrotic", 2: "edema", 3: "enhancing", 4: "cavity"}
_VISIT = re.compile(r"(?P<patient>.+-\d{5})-\d{3}")
_COLLECTION = re.compile(r"(?P<collection>BraTS-[A-Za-z].*?)-\d")
_GLIOMAS = frozenset({"BraTS-GLI", "BraTS-SSA"})
"""SSA are the gliomas of Sub-Saharan Africa. In BraTS-PED, for one, 1 is enhancing tumor and 3 are cysts."""


class Brats2023(Dataset):
    """BraTS 2023 or 2024, gliomas: the four contrasts of a case and perhaps its mask in one folder, anywhere."""

    name: ClassVar[str] = "brats2023"
    looked_for: ClassVar[str] = "NAME-{t1n,t1c,t2w,t2f}.nii.gz or .nii in one folder"
    labels: ClassVar[Mapping[int, str] | None] = _LABELS

    @override
    def recognises(self, root: Path) -> bool:
        return any(_NAMING.names(folder) for folder in glance(root))

    @override
    def survey(self, root: Path) -> Survey:
        return survey(root, _NAMING.names, _case)


def _case(folder: Folder, name: str) -> Case:
    collection = _COLLECTION.match(name)
    if collection is not None and collection["collection"] not in _GLIOMAS:
        msg = (
            f"Case {name} is of {collection['collection']}, whose label numbers need not mean what those of "
            "BraTS-GLI mean: say what they mean in the YAML file of the dataset folders, and add --dataset folders."
        )
        raise DataError(msg)
    visit = _VISIT.fullmatch(name)
    patient = None if visit is None else visit["patient"]
    return _NAMING.case(folder, name, _LABELS, patient)
