"""Small cases in every layout, as other programs write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np

SHAPE = (18, 20, 16)
CLASSES = ("background", "necrotic", "edema", "enhancing")
AFFINE = np.array([[0.98, 0.17, 0, -30], [-0.17, 0.98, 0, 12], [0, 0, 1.2, 7], [0, 0, 0, 1]])
"""Oblique, and to the right, the front and the head: not the orientation of BraTS."""


class Patient(NamedTuple):
    """A case before it has files."""

    images: Mapping[str, np.ndarray]
    classes: np.ndarray
    """Indices into `CLASSES`."""


class Layout(NamedTuple):
    """How a layout writes cases, and what its numbers mean."""

    write: Callable[[Path, Mapping[str, Patient]], None]
    names: tuple[str, ...]
    """Of its cases."""
    numbers: tuple[int, int, int]
    """Of necrotic, edema and enhancing."""


def patient(seed: int) -> Patient:
    """Return a head with a tumour of three nested classes, different for every seed."""
    random = np.random.default_rng(seed)
    places = np.indices(SHAPE).reshape(3, -1).T / SHAPE
    head = np.linalg.norm(places - 0.5, axis=1) < 0.45
    distance = np.linalg.norm(places - random.uniform(0.42, 0.58, 3), axis=1)
    classes = np.select([distance < 0.12, distance < 0.18, distance < 0.28], [3, 1, 2]).reshape(SHAPE)
    images = {
        modality: (head.reshape(SHAPE) * (100 + 30 * (classes > 0) + random.normal(0, 5, SHAPE))).astype(np.int16)
        for modality in ("t1", "t1ce", "t2", "flair")
    }
    return Patient(images, classes)


def save(path: Path, array: np.ndarray) -> None:
    """Write a NIfTI file with codes and units that are not the usual ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = nib.Nifti1Image(array, AFFINE)
    saved.set_sform(AFFINE, code=2)
    saved.set_qform(AFFINE, code=3)
    saved.header.set_xyzt_units("mm", "sec")
    nib.save(saved, path)


def _labels(case: Patient, numbers: tuple[int, int, int]) -> np.ndarray:
    labels: np.ndarray = np.array([0, *numbers], dtype=np.uint8)[case.classes]
    return labels


def _folders(suffixes: Mapping[str, str], pattern: str, numbers: tuple[int, int, int]) -> Callable[..., None]:
    """Return a writer of a folder per case; `pattern` has {case}, {number} and {part}."""

    def write(root: Path, cases: Mapping[str, Patient]) -> None:
        for number, (name, case) in enumerate(cases.items(), start=1):
            for modality, image in case.images.items():
                save(root / pattern.format(case=name, number=number, part=suffixes[modality]), image)
            save(root / pattern.format(case=name, number=number, part="seg"), _labels(case, numbers))

    return write


def _write_msd(root: Path, cases: Mapping[str, Patient]) -> None:
    modalities = ("flair", "t1", "t1ce", "t2")
    for name, case in cases.items():
        save(root / f"imagesTr/{name}.nii.gz", np.stack([case.images[key] for key in modalities], axis=-1))
        save(root / f"labelsTr/{name}.nii.gz", _labels(case, (2, 1, 3)))
    described = {
        "name": "BRATS",
        "tensorImageSize": "4D",
        "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
        "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        "numTraining": len(cases),
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in sorted(cases)
        ],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(described))


def _write_nnunet(root: Path, cases: Mapping[str, Patient]) -> None:
    channels = {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "Flair"}
    for name, case in cases.items():
        for number, modality in enumerate(channels):
            save(root / f"imagesTr/{name}_{number:04d}.nii.gz", case.images[modality])
        save(root / f"labelsTr/{name}.nii.gz", _labels(case, (2, 1, 3)))
    described = {
        "channel_names": {str(number): name for number, name in enumerate(channels.values())},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
        "regions_class_order": [1, 2, 3],
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(described))


DESCRIPTION = """
images:
  t1: "{case}/anat/{case}_T1w.nii.gz"
  t1ce: "{case}/anat/*T1gd*"
  t2: "{case}/anat/{case}_T2w.nii.gz"
  flair: "{case}/anat/{case}_FLAIR.nii.gz"
reference: "derivatives/{case}_mask.nii.gz"
labels: {5: necrotic, 7: edema, 9: enhancing}
"""


def _write_own(root: Path, cases: Mapping[str, Patient]) -> None:
    endings = {"t1": "T1w", "t1ce": "run-1_T1gd", "t2": "T2w", "flair": "FLAIR"}
    for name, case in cases.items():
        for modality, image in case.images.items():
            save(root / f"{name}/anat/{name}_{endings[modality]}.nii.gz", image)
        save(root / f"derivatives/{name}_mask.nii.gz", _labels(case, (5, 7, 9)))
    (root / "ddmkit.yaml").write_text(DESCRIPTION)


_PLAIN = {modality: modality for modality in ("t1", "t1ce", "t2", "flair")}
_NEW = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
LAYOUTS = {
    "brats": Layout(
        _folders(_PLAIN, "{case}/{case}_{part}.nii.gz", (1, 2, 4)),
        tuple(f"BraTS20_Training_{number:03d}" for number in range(1, 5)),
        (1, 2, 4),
    ),
    "brats2023": Layout(
        _folders(_NEW, "{case}/{case}-{part}.nii.gz", (1, 2, 3)),
        tuple(f"BraTS-GLI-{number:05d}-000" for number in range(1, 5)),
        (1, 2, 3),
    ),
    "patchddm": Layout(
        _folders(_PLAIN, "{case}/brats_train_{number:03d}_{part}_000_w.nii.gz", (1, 2, 4)),
        tuple(f"{number:06d}" for number in range(1, 5)),
        (1, 2, 4),
    ),
    "msd": Layout(_write_msd, tuple(f"BRATS_{number:03d}" for number in range(1, 5)), (2, 1, 3)),
    "nnunet": Layout(_write_nnunet, tuple(f"BraTS2021_{number:05d}" for number in range(1, 5)), (2, 1, 3)),
    "folders": Layout(_write_own, ("sub-anna", "sub-bela", "sub-carlo", "sub-dörte"), (5, 7, 9)),
}
"""Every layout that is told by looking."""


def write(layout: str, root: Path) -> Layout:
    """Write four cases in a layout."""
    chosen = LAYOUTS[layout]
    chosen.write(root, {name: patient(seed) for seed, name in enumerate(chosen.names)})
    return chosen
