"""For every test: a cache of its own, and small cases on demand."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Several processes test at once: a thread each, here and in what they start. With more threads than cores, those that
# wait for one another at every small operation make the suite many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

AFFINE = np.array([[-0.9, 0.1, 0, 30], [0.2, 1.1, 0.1, -20], [0, -0.1, 1.5, 7], [0, 0, 0, 1]])

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by `mktemp`, which looks at all folders of the tests before: thousands, for thousands of tests.
    monkeypatch.setenv("DDMKIT_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / str(next(_numbers))))


@pytest.fixture(scope="session")
def write_cases() -> Callable[..., Path]:
    """Return `write(root, count=4, shape=(10, 12, 9), seed=0)`, which writes cases in BraTS 2020's layout."""
    return _write_cases


def _write_cases(root: Path, count: int = 4, shape: tuple[int, int, int] = (10, 12, 9), seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for number in range(1, count + 1):
        folder = root / f"BraTS20_Training_{number:03d}"
        folder.mkdir(parents=True)
        labels = np.zeros(shape, dtype=np.uint8)
        for radius, label in ((0.3, 2), (0.2, 1), (0.1, 4)):
            labels[_ball(shape, random.uniform(0.4, 0.6, 3), radius)] = label
        head = _ball(shape, np.full(3, 0.5), 0.45)
        for modality in ("t1", "t1ce", "t2", "flair"):
            image = head * (100 + 50 * (labels > 0) + random.normal(0, 10, shape))
            _save(folder / f"{folder.name}_{modality}.nii.gz", image.astype(np.int16))
        _save(folder / f"{folder.name}_seg.nii.gz", labels)
    return root


def _save(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def _ball(shape: tuple[int, int, int], centre: np.ndarray, radius: float) -> np.ndarray:
    places = np.indices(shape) / np.reshape(shape, (3, 1, 1, 1))
    inside: np.ndarray = ((places - centre.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < radius**2
    return inside
