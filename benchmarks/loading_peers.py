"""How others deliver windows: the official PatchDDM code, MONAI and TorchIO, each as its own documentation has it."""

from __future__ import annotations

from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler
from typing_extensions import override

from ddmkit.normalisation import foreground, normalise

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from torch import Tensor

    from ddmkit import Case, Shape

MODALITIES = ("t1", "t1ce", "t2", "flair")
QUEUE_LENGTH = 32
"""Windows that TorchIO shuffles among each other."""
PER_VOLUME = 8
"""Windows that TorchIO takes of a volume once it is read."""
_ENDLESS = 10**6
_LEVELS = 1000


class Job(NamedTuple):
    """What every contender delivers windows of."""

    folder: Path
    """Where everything lies that is made of the cases."""
    cases: tuple[Case, ...]
    frame: Shape
    """Voxels that a case is padded to."""
    side: int
    """Of a window, in voxels."""
    workers: int
    """Threads or processes that may read at once."""


Stream: TypeAlias = "Generator[tuple[Tensor, Tensor | None]]"
"""Windows without end: images (4, side, side, side), float32 in [0, 1], and labels (side, side, side), uint8."""


def prepare(job: Job) -> None:
    """Make what the contenders keep on disk between runs: the official code's own files, and MONAI's cache."""
    for case, modality in product(job.cases, MODALITIES):
        target = _official_file(job, case, modality)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_normalised(case.images[modality].path, target)
    for _ in DataLoader(_persistent_dataset(job), batch_size=None, num_workers=job.workers):
        pass


def official(job: Job) -> Stream:
    """Decompress, pad and crop for every window, as `guided_diffusion/bratsloader.py` does (Bieder et al. 2023)."""
    return _delivered(_Official(job), job)


class _Official(Dataset[Any]):
    """Its cases are normalised on disk beforehand, so that nothing of that is left to do."""

    def __init__(self, job: Job) -> None:
        self._files = [
            [*(_official_file(job, case, modality) for modality in MODALITIES), case.reference] for case in job.cases
        ]
        self._frame, self._side = job.frame, job.side

    def __len__(self) -> int:
        return len(self._files)

    @override
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        volumes = torch.stack([_decompressed(file) for file in self._files[index] if file is not None])
        before = [(whole - own) // 2 for whole, own in zip(self._frame, volumes.shape[1:], strict=True)]
        padded = torch.zeros(len(volumes), *self._frame)
        inside = tuple(slice(first, first + own) for first, own in zip(before, volumes.shape[1:], strict=True))
        padded[:, *inside] = volumes
        window = tuple(slice(start, start + self._side) for start in map(self._start, self._frame))
        cropped = padded[:, *window]
        return {"images": cropped[:-1], "labels": cropped[-1].to(torch.uint8)}

    def _start(self, whole: int) -> int:
        room = whole - self._side
        return int(torch.randint(room // 4 + 1, ())) + int(torch.randint(room - room // 4 + 1, ()))


def _decompressed(file: Path) -> Tensor:
    image: Any = nib.load(file)
    return torch.tensor(image.get_fdata())


def _official_file(job: Job, case: Case, modality: str) -> Path:
    return job.folder / "official" / case.name / f"{modality}.nii.gz"


def _write_normalised(source: Path, target: Path) -> None:
    """Write what the official code is given; as scaled whole numbers it is smallest, and read no slower than floats."""
    image: Any = nib.load(source)
    volume = np.asarray(image.dataobj, dtype=np.float32)
    levels = np.rint(normalise(volume, foreground(volume), (1, 99)) * _LEVELS).astype(np.int16)
    normalised: Any = nib.Nifti1Image(levels, image.affine)
    normalised.header.set_slope_inter(1 / _LEVELS, 0)
    nib.save(normalised, target)


def persistent(job: Job) -> Stream:
    """Read a whole padded case, float32, from MONAI's `PersistentDataset` for every window, and crop."""
    return _delivered(_persistent_dataset(job), job)


def _persistent_dataset(job: Job) -> Dataset[Any]:
    data: Any = import_module("monai.data")  # it says of none of its names that they are to be imported
    transforms: Any = import_module("monai.transforms")
    keys = ["images", "labels"]
    files = [
        {"images": [str(case.images[modality].path) for modality in MODALITIES], "labels": str(case.reference)}
        for case in job.cases
    ]
    steps = [
        transforms.LoadImaged(keys),
        transforms.EnsureChannelFirstd(keys),
        transforms.ScaleIntensityRangePercentilesd("images", 1, 99, 0, 1, clip=True, channel_wise=True),
        transforms.CastToTyped("labels", torch.uint8),
        transforms.SpatialPadd(keys, job.frame),
        transforms.RandSpatialCropd(keys, (job.side,) * 3, random_size=False),
    ]
    dataset: Dataset[Any] = data.PersistentDataset(files, transforms.Compose(steps), job.folder / "monai")
    return dataset


def queue(job: Job) -> Stream:
    """Let TorchIO's `Queue` read whole cases in processes of its own and take several windows of each."""
    tio: Any = import_module("torchio")  # not where only the tests run, so that types cannot be checked
    subjects = [
        tio.Subject(
            **{modality: tio.ScalarImage(case.images[modality].path) for modality in MODALITIES},
            labels=tio.LabelMap(case.reference),
        )
        for case in job.cases
    ]
    steps = [
        tio.RescaleIntensity((0, 1), percentiles=(1, 99), masking_method=_above_zero),
        tio.CropOrPad(job.frame),
    ]
    repeated = subjects * (_ENDLESS // (PER_VOLUME * len(subjects)))  # it starts its processes anew after the last
    windows = tio.Queue(
        tio.SubjectsDataset(repeated, transform=tio.Compose(steps)),
        QUEUE_LENGTH,
        PER_VOLUME,
        tio.UniformSampler(job.side),
        num_workers=job.workers,
    )
    # SimpleITK lets a process that was forked end only with a complaint, after all is measured.
    for window in tio.SubjectsLoader(windows, batch_size=1, num_workers=0):
        images = torch.cat([window[modality][tio.DATA][0] for modality in MODALITIES])
        yield images, window["labels"][tio.DATA][0, 0].to(torch.uint8)


def _above_zero(image: Tensor) -> Tensor:
    return image > 0


def _delivered(dataset: Dataset[Any], job: Job) -> Stream:
    """Deliver windows through as many processes of torch's `DataLoader` as the job has workers."""
    sampler = RandomSampler(dataset, replacement=True, num_samples=_ENDLESS)  # type: ignore[arg-type] # it has a length
    for batch in DataLoader(dataset, batch_size=1, sampler=sampler, num_workers=job.workers):
        images, labels = batch["images"][0], batch["labels"][0]
        yield images, labels.reshape(images.shape[1:])
