"""Datasets: which cases lie under a path, which file is which, what a label number means.

A complete dataset::

    class Flat(Dataset):
        '''All files in one folder: NAME-flair.nii.gz beside NAME-mask.nii.gz.'''

        name: ClassVar[str] = "flat"
        looked_for: ClassVar[str] = "NAME-flair.nii.gz"

        def recognises(self, root: Path) -> bool:
            return any(root.glob("*-flair.nii.gz"))

        def survey(self, root: Path) -> Survey:
            if not root.is_dir():
                raise DataError(f"{root} is no folder; give the one with the images.")
            return Survey(sorted(self.case(image) for image in root.glob("*-flair.nii.gz")))

        def case(self, image: Path) -> Case:
            name = image.name.removesuffix("-flair.nii.gz")
            mask = image.with_name(f"{name}-mask.nii.gz")
            return Case(name, {"flair": Image(image)}, {1: "lesion"}, mask if mask.exists() else None)
"""

from __future__ import annotations

from abc import abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from typing_extensions import override

from ddmkit.component import Component
from ddmkit.errors import ConfigurationError, DataError
from ddmkit.labels import classes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Image(NamedTuple):
    """Where one modality of a case lies."""

    path: Path
    volume: int | None = None
    """Which volume of a 4D file, counted from 0; None: the file is one 3D volume."""


class Case(NamedTuple):
    """The files of one case, and what its label numbers mean."""

    name: str
    images: Mapping[str, Image]
    """One for each modality, by the name that tasks ask for: t1, t1ce, t2, flair, or another one in small letters."""
    labels: Mapping[int, str]
    """What each number means in a label file of this case, be it the reference or an answer; 0 is background and not
    listed. Two numbers may mean the same. Meanings are in small letters, as tasks ask for them."""
    reference: Path | None = None
    """The reference segmentation, where there is one."""
    patient: str | None = None
    """Whose case it is, where one patient may have several; None: nobody else's. Patients are split, not cases."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What labels mean inside the program, by index; the first is "background"."""
        return classes_of(self.labels)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of its images and of its reference, each once; of a pair, the one that is named."""
        reference = () if self.reference is None else (self.reference,)
        return tuple(dict.fromkeys((*(image.path for image in self.images.values()), *reference)))


class MissingImagesError(DataError):
    """A case lacks images and is whole otherwise: it can be sampled by a task whose condition needs none of them.

    Args:
        sentence: which images, and what to do about it.
        case: with the images that are there.
    """

    def __init__(self, sentence: str, case: Case) -> None:
        super().__init__(sentence)
        self.case = case

    @override
    def __reduce__(self) -> tuple[type[MissingImagesError], tuple[str, Case]]:
        """Let processes hand it to one another."""
        return type(self), (str(self), self.case)


class Survey(NamedTuple):
    """What lies under a path."""

    cases: list[Case]
    """The whole ones, sorted by name."""
    wrong: Mapping[str, str] = MappingProxyType({})
    """What is wrong with those that are not, by name, and with folders that cannot be searched, by path: one sentence
    each, which names the case and says what to do."""
    partial: Mapping[str, Case] = MappingProxyType({})
    """Those of the wrong ones that lack images and nothing else, with what they have, by name."""


class Dataset(Component):
    """A layout of files on disk."""

    kind: ClassVar[str] = "dataset"
    looked_for: ClassVar[str] = ""
    """How a case is recognised, as a pattern a user understands."""
    labels: ClassVar[Mapping[int, str] | None] = None
    """What a label number means in every case of this layout; None where files beside the cases tell."""

    described: ClassVar[bool] = False
    """Whether a file that the user wrote for ddmkit says how things are laid out: that wins over any likeness."""

    @abstractmethod
    def survey(self, root: Path) -> Survey:
        """Return the cases under `root`, and what is wrong with those that cannot be used; none is no error.

        Only names, and small files that describe the cases, are looked at: no image is opened.

        Raises:
            DataError: `root` cannot be searched, or what describes its cases cannot be read.
        """

    def recognises(self, root: Path) -> bool:
        """Tell by a quick look whether the files under `root` are laid out like this; nothing is raised.

        A dataset that does not override it is chosen by its name alone.
        """
        del root
        return False

    def cases(self, root: Path) -> list[Case]:
        """Return the cases under `root`, sorted by name; none is an empty list.

        Raises:
            DataError: as `survey`, or one of the cases cannot be used.
        """
        survey = self.survey(root)
        for reason in survey.wrong.values():
            raise DataError(reason)
        return survey.cases

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
