"""Ways to break a rule of `ddmkit.rules`, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from tests.core.niftis import save

from ddmkit import Case, Image
from ddmkit.volume import read_array, read_header, read_labels, read_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ddmkit.rules import Warn

    Reading: TypeAlias = Callable[[Any, Warn], object]
    Making: TypeAlias = Callable[[Path], Path | Case]

Maker = TypeVar("Maker", bound="Making")
LABELS = {1: "core", 2: "edema", 4: "enhancing"}


class Breach(NamedTuple):
    """A way to break a rule."""

    rule: str
    make: Making
    """Makes the files in an empty folder and returns what is read; the sentence has to name it."""
    read: Reading
    named: str | None
    """What the sentence has to name, if not what is read."""

    def title(self) -> str:
        return f"{self.rule}: {self.make.__name__}"


class Breaches(list[Breach]):
    """Several; a decorator adds one."""

    def __call__(self, rule: str, read: Reading | None = None, named: str | None = None) -> Callable[[Maker], Maker]:
        def add(make: Maker) -> Maker:
            self.append(Breach(rule, make, read or whole_file, named))
            return make

        return add


def whole_file(path: Path, warn: Warn) -> None:
    read_header(path, warn)
    read_array(path, None, warn)


def whole_case(case: Case, warn: Warn) -> None:
    read_volume(case, tuple(case.images), warn)


def labels(path: Path, warn: Warn) -> None:
    read_labels(path, LABELS, warn)


def volume(number: int) -> Reading:
    return lambda path, warn: read_array(path, number, warn)


def case_of(folder: Path, **arrays: np.ndarray) -> Case:
    """Write a case whose reference, if there is one, is called seg."""
    files = {name: save(folder / f"{name}.nii.gz", array) for name, array in arrays.items()}
    return Case("A1", {name: Image(path) for name, path in files.items() if name != "seg"}, LABELS, files.get("seg"))
