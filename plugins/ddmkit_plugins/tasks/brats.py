"""Whole-tumour segmentation of brain MR, the task of Bieder et al. (2023), https://arxiv.org/abs/2303.15288."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit import DataError, Task

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit import Example


class Brats(Task):
    """Find the whole tumour in T1, contrast-enhanced T1, T2 and FLAIR: x_0 is its mask, the images the condition."""

    name: ClassVar[str] = "brats"
    x0_channels: ClassVar[int] = 1
    background: float = Field(default=0.0, ge=-1, le=1, description="Value of x_0 outside the tumour, -1 to 1.")
    foreground: float = Field(
        default=1.0, ge=-1, le=1, description="Value of x_0 inside the tumour, above background and up to 1."
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="A voxel is tumour where the ensemble's mean, 0 for background and 1 for tumour, exceeds this.",
    )

    @model_validator(mode="after")
    def _foreground_is_above(self) -> Self:
        if not self.foreground > self.background:
            msg = (
                f"foreground {self.foreground:g} is not above background {self.background:g}: "
                "raise foreground or lower background"
            )
            raise ValueError(msg)
        return self

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "t1ce", "t2", "flair")

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {"whole": frozenset({"core", "edema", "enhancing", "whole"})}

    @property
    @override
    def answers(self) -> dict[int, str]:
        return {1: "whole"}

    @override
    def x0(self, example: Example) -> Tensor:
        import torch

        if example.labels is None:
            msg = f"The task {self.name!r} learns from references and a case has none: leave out cases without labels."
            raise DataError(msg)
        tumour = torch.tensor(self._tumour_indices(example.classes), dtype=torch.uint8)
        mask = torch.isin(example.labels, tumour)[None]
        return torch.where(mask, self.foreground, self.background)

    def _tumour_indices(self, classes: tuple[str, ...]) -> list[int]:
        """Return the indices of the classes that make up the whole tumour."""
        whole = self.regions["whole"]
        unknown = sorted(set(classes) - whole - {"background"})
        if unknown:
            msg = (
                f"The task {self.name!r} does not know the class {unknown[0]!r}: the labels may mean background, "
                f"{', '.join(sorted(whole))}; choose the --dataset whose labels these are."
            )
            raise DataError(msg)
        return [index for index, name in enumerate(classes) if name in whole]

    @override
    def condition(self, example: Example) -> Tensor:
        return 2 * example.images - 1

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 - self.background) / (self.foreground - self.background)

    @override
    def answer(self, mean: Tensor) -> Tensor:
        import torch

        return (mean[0] > self.threshold).to(torch.uint8)
