"""What all tasks share whose x_0 is masks: their values, the images as condition, and the way back to classes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from typing_extensions import override

from ddmkit import DataError, LabelTask
from ddmkit_plugins.datasets.vocabulary import modality, tissue

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ddmkit import Example


def _several(value: object) -> object:
    """Take a single name, as it is typed after -o, for a tuple of one."""
    return (value,) if isinstance(value, str) else value


def _as_data_say(canonical: Callable[[str], str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return what gives names the words that data sets are read with, so that "T1Gd" finds what is called t1ce."""
    return lambda names: tuple(map(canonical, names))


def _once_each(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = f"{twice!r} stands there twice; name it once"
        raise ValueError(msg)
    return names


_Names: TypeAlias = Annotated[
    tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...],
    BeforeValidator(_several),
    Field(min_length=1),
]
"""At least one name."""
Images: TypeAlias = Annotated[_Names, AfterValidator(_as_data_say(modality)), AfterValidator(_once_each)]
"""Names of images, each once; common ones in any spelling."""
Classes: TypeAlias = Annotated[_Names, AfterValidator(_as_data_say(tissue)), AfterValidator(_once_each)]
"""Names of classes, each once; common ones in any spelling."""


class Masks(LabelTask):
    """Each channel of x_0 is the mask of some classes; a subclass says of which."""

    images: Images
    background: float = Field(default=0.0, ge=-1, le=1, description="Value of x_0 outside a mask, -1 to 1.")
    foreground: float = Field(
        default=1.0, ge=-1, le=1, description="Value of x_0 inside a mask, above background and up to 1."
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="A voxel is foreground where the ensemble's mean, 0 outside a mask and 1 inside, exceeds this; "
        "masks of classes that exclude each other are added up first.",
    )

    overlap: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the soft Dice loss (Milletari et al. 2016) beside the squared error, where the network "
        "predicts x_0 (diffusion.prediction=x0).",
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
    @abstractmethod
    def masks(self) -> dict[str, frozenset[str]]:
        """The classes that are inside the mask of each channel of x_0, by the channel's name."""

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return tuple(self.masks)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return self.images

    @override
    def x0(self, example: Example) -> Tensor:
        import torch

        if example.labels is None:
            msg = f"The task {self.name!r} learns from references and a case has none: leave out cases without labels."
            raise DataError(msg)
        self.check_classes(example.classes)
        inside = torch.stack([example.inside(members) for members in self.masks.values()])
        return torch.where(inside, self.foreground, self.background)

    @override
    def check_classes(self, classes: tuple[str, ...]) -> None:
        from ddmkit.scoring import told

        clear = told({**self.regions, **self.masks}, classes)
        untold = [name for name in self.masks if name not in clear]
        if untold:
            meant = ", ".join(name for name in classes if name != "background") or "nothing"
            msg = (
                f"The task {self.name!r} asks for {', '.join(untold)}, but the labels of a case only mean {meant}: "
                f"{self.instead(classes)}."
            )
            raise DataError(msg)

    @abstractmethod
    def instead(self, classes: tuple[str, ...]) -> str:
        """Return what to type where labels with these classes do not tell every mask."""

    @override
    def condition(self, example: Example) -> Tensor:
        return 2 * example.images - 1

    @property
    @override
    def adds_loss(self) -> bool:
        return self.overlap > 0

    @override
    def loss(self, estimate: Tensor, x0: Tensor) -> Tensor:
        return self.overlap * soft_dice_loss(self.readout(estimate), self.readout(x0))

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 - self.background) / (self.foreground - self.background)

    @override
    def answer(self, mean: Tensor) -> Tensor:
        """Take the masks for classes that exclude each other: the largest, where all together exceed the threshold."""
        import torch

        return torch.where(mean.sum(0) > self.threshold, mean.argmax(0) + 1, 0).to(torch.uint8)


def soft_dice_loss(found: Tensor, truth: Tensor) -> Tensor:
    """Return 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)) (Milletari et al. 2016), the mean over examples and channels.

    One voxel is added above and below, so that a window without a mask has nothing to gain from a speck.

    Args:
        found: p, shape (N, C, X, Y, Z); what is beyond 0 to 1 counts as the nearer of them.
        truth: g, of the same shape, 0 or 1.
    """
    found = found.clamp(0, 1)
    space = (2, 3, 4)
    overlap = (found * truth).sum(space)
    total = found.square().sum(space) + truth.square().sum(space)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
