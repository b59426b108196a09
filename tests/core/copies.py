"""A task that answers with volumes: x_0 is an image that is given, so that a model which copies it is perfect."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from ddmkit import Component, Example, Figure, SetJudge, VolumeTask, hookimpl
from ddmkit.definition import Scoring
from ddmkit.judging import Summary


class Keeping(SetJudge):
    """Keeps what it is shown; the figure is how far the means of both sets lie apart."""

    def __init__(self) -> None:
        self.seen_real: dict[str, NDArray[np.float32]] = {}
        self.seen_generated: list[tuple[str, NDArray[np.float32]]] = []

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("apart", "apart", higher_is_better=False),)

    @override
    def definition(self) -> dict[str, str]:
        return {"apart": "mean absolute difference of the sets' mean volumes"}

    @override
    def real(self, case: str, volume: NDArray[np.float32]) -> None:
        self.seen_real[case] = volume

    @override
    def generated(self, case: str, volume: NDArray[np.float32]) -> None:
        self.seen_generated.append((case, volume))

    @override
    def summary(self) -> Summary:
        real = np.mean([volume.mean() for volume in self.seen_real.values()])
        generated = np.mean([volume.mean() for _, volume in self.seen_generated])
        return {"all": {"n": len(self.seen_generated), "apart": float(abs(real - generated))}}


class Copies(VolumeTask):
    """Make up the FLAIR image, from itself."""

    name: ClassVar[str] = "copies"

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

    @override
    def x0(self, example: Example) -> Tensor:
        return example.images[1:]

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images

    @override
    def judge(self, scoring: Scoring) -> Keeping:
        return Keeping()


class Both(Copies):
    """Make up both images."""

    name: ClassVar[str] = "both"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @override
    def x0(self, example: Example) -> Tensor:
        return example.images


class Generating:
    """The plugin that offers them."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Copies, Both]
