"""Synthetic cases in the layout of BraTS 2020, for trying things out without patients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeAlias

from pydantic import Field
from typing_extensions import override

from ddmkit import Dataset, Survey
from ddmkit_plugins.datasets.brats import LABELS, BratsFolders

if TYPE_CHECKING:
    from collections.abc import Callable

Side: TypeAlias = Annotated[int, Field(ge=16, le=240)]
Height: TypeAlias = Annotated[int, Field(ge=16, le=155)]

_PARENT = "phantom"


class Phantom(Dataset):
    """Synthetic brains with tumours, in files like those of BraTS 2020; made when they are first needed.

    They look like MR images, but no patient ever had them: a score on them says nothing about patients.
    """

    name: ClassVar[str] = "phantom"
    looked_for: ClassVar[str] = f"{BratsFolders.looked_for}, made by the dataset itself"
    labels: ClassVar[Mapping[int, str] | None] = LABELS
    count: int = Field(default=40, ge=1, description="How many cases are made.")
    shape: tuple[Side, Side, Height] = Field(
        default=(64, 64, 48), description="Voxels X, Y, Z of a case; the head fills them, whatever the shape."
    )
    seed: int = Field(default=0, ge=0, description="The same seed and shape give the same cases.")

    @override
    def survey(self, root: Path) -> Survey:
        found = BratsFolders().survey(root)
        if Path(*root.absolute().parts[-2:]) != self._own_folder:
            return found
        # An earlier run may have asked for more; what a run sees must not depend on that.
        names = {case_name(number) for number in range(1, self.count + 1)}
        return Survey(
            [case for case in found.cases if case.name in names],
            {name: reason for name, reason in found.wrong.items() if name in names},
            {name: case for name, case in found.partial.items() if name in names},
        )

    @override
    def ready(self, root: Path | None) -> Path | None:
        if root is not None and self._holds_cases(root):
            return root
        folder = root or self._own_folder
        names = map(case_name, range(1, self.count + 1))
        return folder if all((folder / name).exists() for name in names) else None

    @override
    def prepare(self, root: Path | None, progress: Callable[[str, int, int], None]) -> Path:
        """Write the cases that are missing; a path that already holds cases is used as it is.

        Args:
            root: where they go; by default, a folder under phantom/ that shape and seed name.
            progress: called with ("phantom cases", how many are there, how many there will be) after each.

        Raises:
            DataError: something else stands where a case goes.
            StorageError: the disk is full or does not let us write.
        """
        from ddmkit_plugins.datasets.phantom_files import write_phantoms

        if root is not None and self._holds_cases(root):
            return root
        folder = root or self._own_folder
        write_phantoms(folder, self.count, self.shape, self.seed, progress)
        return folder

    def _holds_cases(self, root: Path) -> bool:
        """Tell whether there are any, whole or not: what is wrong with them is said when they are read."""
        return root.exists() and any(self.survey(root))

    @property
    def _own_folder(self) -> Path:
        sides = "x".join(map(str, self.shape))
        return Path(_PARENT) / f"{sides}-seed{self.seed}"


def case_name(number: int) -> str:
    """Return what BraTS 2020 calls its case `number`, counted from 1."""
    return f"BraTS20_Training_{number:03d}"
