"""Datasets: which cases lie under a path, which file is which, what a label number means.

A complete dataset::

    class Flat(Dataset):
        '''All files in one folder: NAME-flair.nii.gz beside NAME-mask.nii.gz.'''

        name: ClassVar[str] = "flat"
        looked_for: ClassVar[str] = "NAME-flair.nii.gz"

        @property
        def labels(self) -> dict[int, str]:
            return {1: "lesion"}

        def cases(self, root: Path) -> list[Case]:
            if not root.is_dir():
                raise DataError(f"{root} is no folder; give the one with the images.")
            return sorted(self.case(image) for image in root.glob("*-flair.nii.gz"))

        def case(self, image: Path) -> Case:
            name = image.name.removesuffix("-flair.nii.gz")
            mask = image.with_name(f"{name}-mask.nii.gz")
            return Case(name, {"flair": image}, mask if mask.exists() else None)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ddmkit.component import Component
from ddmkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Case(NamedTuple):
    """The files of one case."""

    name: str
    images: Mapping[str, Path]
    """One file per modality."""
    labels: Path | None = None
    """The reference segmentation, where there is one."""


class Dataset(Component):
    """A layout of files on disk."""

    kind: ClassVar[str] = "dataset"
    looked_for: ClassVar[str]
    """How a case is recognised, as a pattern a user understands."""

    @property
    @abstractmethod
    def labels(self) -> dict[int, str]:
        """What each number in a label file means; 0 is background and not listed."""

    @abstractmethod
    def cases(self, root: Path) -> list[Case]:
        """Return the cases under `root`, sorted by name; none is an empty list.

        Raises:
            DataError: `root` is no folder, or a case is incomplete; the sentence names it and the file it lacks.
        """

    def survey(self, root: Path) -> tuple[list[Case], dict[str, str]]:
        """Return the cases under `root`, and by name what is wrong with those that are not whole.

        `cases` refuses a folder with a broken case, so that nobody trains on a part by mistake; this reads on.
        A dataset that does not override it knows no broken cases.

        Raises:
            DataError: `root` is no folder.
        """
        return self.cases(root), {}

    def ready(self, root: Path | None) -> Path | None:
        """Return what `prepare` would, or None if that had to make the data first; change nothing.

        Raises:
            ConfigurationError: as `prepare`.
        """
        return self._given(root)

    def prepare(self, root: Path | None, progress: Callable[[str, int, int], None]) -> Path:
        """Return the folder that holds the data, making them first if this dataset can.

        Args:
            root: the path the user gave, if any.
            progress: called with (what is made, how many are done, how many there are).

        Raises:
            ConfigurationError: no path was given and this dataset cannot make its own.
        """
        del progress
        return self._given(root)

    def _given(self, root: Path | None) -> Path:
        if root is None:
            msg = f"The dataset {self.name!r} needs to know where its files are: add --data PATH."
            raise ConfigurationError(msg)
        return root
