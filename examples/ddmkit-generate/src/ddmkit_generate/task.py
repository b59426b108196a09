"""The task: x_0 is the images themselves, and nothing is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, Field
from typing_extensions import override

from ddmkit import Example, SetJudge, VolumeTask

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit import Scoring


def _several(value: object) -> object:
    """Take a single name, as it is typed after -o, for a tuple of one."""
    return (value,) if isinstance(value, str) else value


class Generate(VolumeTask):
    """Make up volumes like those of the data: no condition, no references; judged by MMD and MS-SSIM (MONAI's)."""

    name: ClassVar[str] = "generate"
    images: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        default=("flair",), min_length=1, description="Images that a volume is made of, a channel each, in order."
    )
    compared: int = Field(
        default=64,
        ge=8,
        description="Voxels along each axis at which volumes are compared, at most; larger ones are averaged down.",
    )
    pairs: int = Field(
        default=100, ge=1, description="Pairs of volumes that MS-SSIM is the mean over, at most; drawn by a seed."
    )

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return self.images

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.images

    @property
    @override
    def needs_references(self) -> bool:
        return False

    @property
    @override
    def condition_channels(self) -> int:
        return 0

    @override
    def x0(self, example: Example) -> Tensor:
        return 2 * example.images - 1

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images[:0]

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 + 1) / 2

    @override
    def judge(self, scoring: Scoring) -> SetJudge:
        from ddmkit_generate.judge import DistributionJudge

        return DistributionJudge(self.compared, self.pairs)
