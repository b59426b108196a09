"""What happens to a case once, before anything sees it; the defaults are those of Bieder et al. (2023), section 4."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator

from ddmkit.component import Settings
from ddmkit.window import Window, enclosing, thrice

if TYPE_CHECKING:
    from ddmkit.window import Shape

Percent: TypeAlias = Annotated[float, Field(ge=0, le=100)]
Millimetres: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]

PAPER_FRAME: Shape = (256, 256, 256)
"""What Bieder et al. pad the 240×240×155 voxels of BraTS to."""


class Preprocessing(Settings):
    """What happens to a case once, before anything sees it; answers are taken back to the case's own grid."""

    orientation: str | None = Field(
        default="LPS",
        description="Where the axes X, Y, Z run to, such as LPS (left, posterior, superior, as BraTS's files do); "
        "null: whatever the files have.",
    )
    spacing: Annotated[tuple[Millimetres, Millimetres, Millimetres] | None, BeforeValidator(thrice)] = Field(
        default=None,
        description="Voxel sides in mm that images are resampled to, X,Y,Z or one for all; null: as they are.",
    )
    percentiles: tuple[Percent, Percent] = Field(
        default=(1.0, 99.0),
        description="Intensities at these percentiles of the brain become 0 and 1; beyond is clipped.",
    )
    frame: Annotated[
        Literal["paper", "brain", "native"] | tuple[PositiveInt, PositiveInt, PositiveInt], BeforeValidator(thrice)
    ] = Field(
        default="paper",
        description="The volume that windows are taken from: paper pads to 256×256×256 with the case in the middle, "
        "X,Y,Z to that shape (one number: to a cube), native not at all; brain is the smallest box around the brain, "
        "its coordinates those of the paper's frame. A larger case keeps its own sides.",
    )

    @field_validator("orientation")
    @classmethod
    def _orientation_names_three_axes(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from ddmkit.grid import check_orientation

        return check_orientation(value)

    @model_validator(mode="after")
    def _percentiles_rise(self) -> Self:
        low, high = self.percentiles
        if not low < high:
            msg = f"percentiles {low:g} and {high:g} leave nothing between them: give the lower one first"
            raise ValueError(msg)
        return self

    @property
    def asked(self) -> Shape | None:
        """The shape that volumes are padded to where they are smaller; None: none."""
        match self.frame:
            case "native":
                return None
            case "paper" | "brain":
                return PAPER_FRAME
            case shape:
                return shape

    def padded(self, shape: Shape) -> Shape:
        """Return the frame of a volume of `shape`, whatever window is taken from it."""
        return shape if self.asked is None else enclosing(shape, self.asked)


def centred(box: Window, frame: Shape) -> Window:
    """Return where a box of a volume lies in the frame that the volume stands in the middle of.

    Where the padding is odd, the odd voxel goes behind: 155 slices in 256 have 50 before and 51 after them.
    """
    x, y, z = (start + (whole - own) // 2 for start, whole, own in zip(box.start, frame, box.frame, strict=True))
    return Window((x, y, z), box.size, frame)


def grown(box: Window, least: Shape) -> Window:
    """Return a box of at least the shape `least` around another, inside the frame; the frame grows if it must."""
    frame = enclosing(box.frame, least)
    moved = centred(box, frame)
    size = enclosing(box.size, least)
    x, y, z = (
        min(max(start - (after - before) // 2, 0), whole - after)
        for start, before, after, whole in zip(moved.start, moved.size, size, frame, strict=True)
    )
    return Window((x, y, z), size, frame)
