"""Small tasks that keep their promises, for the tests of the tasks' check."""

from __future__ import annotations

from statistics import fmean
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from ddmkit import Example, Figure, LabelTask, PairJudge, SetJudge, VolumeTask
from ddmkit.definition import Scoring
from ddmkit.judging import Summary


class Parts(LabelTask):
    """Tell core from edema, by a channel for each."""

    name: ClassVar[str] = "parts"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("core", "edema")

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {"whole": frozenset({"core", "edema"}), "core": frozenset({"core"})}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("edema", "core")

    @override
    def x0(self, example: Example) -> Tensor:
        assert example.labels is not None
        return torch.stack([example.labels == example.classes.index(name) for name in ("core", "edema")]).float()

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images

    @override
    def answer(self, mean: Tensor) -> Tensor:
        core, edema = mean > 0.5
        return torch.where(core, 2, torch.where(edema, 1, 0)).to(torch.uint8)


OFF = Figure("off", "off", higher_is_better=False)


class Brightness(SetJudge):
    """How far the mean brightness of all generated volumes is from that of all real ones."""

    def __init__(self) -> None:
        self._real: list[float] = []
        self._generated: list[float] = []

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (OFF,)

    @override
    def definition(self) -> dict[str, str]:
        return {"off": "absolute difference of mean intensities"}

    @override
    def real(self, case: str, volume: NDArray[np.float32]) -> None:
        self._real.append(float(volume.mean()))

    @override
    def generated(self, case: str, volume: NDArray[np.float32]) -> None:
        self._generated.append(float(volume.mean()))

    @override
    def summary(self) -> Summary:
        there = self._real and self._generated
        off = abs(fmean(self._real) - fmean(self._generated)) if there else None
        return {"all": {"n": len(self._generated), "off": off}}


class Painter(VolumeTask):
    """Make up a FLAIR image to a T1 image."""

    name: ClassVar[str] = "painter"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("flair",)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def needs_references(self) -> bool:
        return False

    @property
    @override
    def condition_channels(self) -> int:
        return 1

    @override
    def x0(self, example: Example) -> Tensor:
        return 2 * example.images[1:] - 1

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images[:1]

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 + 1) / 2

    @override
    def judge(self, scoring: Scoring) -> SetJudge | PairJudge:
        return Brightness()


def constant(value: object) -> property:
    """Return a property of that value."""
    return property(lambda _self: value)


class Compared(PairJudge):
    """Judges case by case."""

    alone: ClassVar[bool] = True

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("error", "error", higher_is_better=False, by_case=self.alone),)

    @override
    def definition(self) -> dict[str, str]:
        return {"error": "mean absolute difference"}

    @override
    def measure(self, real: NDArray[np.float32], generated: NDArray[np.float32]) -> list[float]:
        return [float(np.abs(real - generated).mean())]


class Pairing(Painter):
    """Is judged case by case."""

    name: ClassVar[str] = "pairing"

    @property
    @override
    def condition_modalities(self) -> tuple[str, ...]:
        return ("t1",)

    @override
    def judge(self, scoring: Scoring) -> PairJudge:
        return Compared()
