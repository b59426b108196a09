"""Tasks: what is x_0, what is the condition, how samples become an answer, how an answer is scored.

A complete task::

    class Foreground(Task):
        '''Find everything that is labelled, from the FLAIR image.'''

        name: ClassVar[str] = "foreground"

        @property
        def x0_channels(self) -> tuple[str, ...]:
            return ("foreground",)

        @property
        def modalities(self) -> tuple[str, ...]:
            return ("flair",)

        @property
        def regions(self) -> dict[str, frozenset[str]]:
            return {"foreground": frozenset({"lesion", "foreground"})}

        @property
        def answers(self) -> tuple[str, ...]:
            return ("foreground",)

        def x0(self, example: Example) -> Tensor:
            return (example.labels > 0).float()[None]

        def condition(self, example: Example) -> Tensor:
            return example.images

        def answer(self, mean: Tensor) -> Tensor:
            return (mean[0] > 0.5).to(torch.uint8)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ddmkit.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.window import Window


class Example(NamedTuple):
    """A window of one case, at the resolution of its window."""

    images: Tensor
    """Shape (modalities, *window.shape), float32 in [0, 1]; channels in the order of `Task.modalities`."""
    labels: Tensor | None
    """Shape window.shape, uint8: indices into `classes`; None where a case has no reference."""
    classes: tuple[str, ...]
    """What the labels' indices mean; the first is "background"."""
    window: Window
    """Where the example lies."""


class Task(Component):
    """A question that a diffusion model answers about a volume."""

    kind: ClassVar[str] = "task"

    @property
    @abstractmethod
    def x0_channels(self) -> tuple[str, ...]:
        """The names of x_0's channels, in order."""

    @property
    @abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """The image channels of a case that are read, in order."""

    @property
    @abstractmethod
    def regions(self) -> dict[str, frozenset[str]]:
        """Everything that can be scored, by name: each region is a union of classes.

        What a case is scored by are those regions that its answer and its reference both tell (`ddmkit.scoring.told`).
        A class with a region's name stands for all of it, where nothing finer is labelled.
        """

    @property
    @abstractmethod
    def answers(self) -> tuple[str, ...]:
        """The classes that an answer may hold; background goes without saying."""

    @property
    def clip(self) -> tuple[float, float] | None:
        """The range that estimates of x_0 are clipped to while sampling, or None."""
        return -1.0, 1.0

    @property
    def condition_channels(self) -> int:
        """Channels of the condition; by default one for each modality."""
        return len(self.modalities)

    def check_classes(self, classes: tuple[str, ...]) -> None:
        """Check that references with these classes tell what is asked; a run calls it before it reads any voxel.

        Raises:
            DataError: they do not; the sentence says what to type instead.
        """
        del classes

    @abstractmethod
    def x0(self, example: Example) -> Tensor:
        """Return what the model learns to generate: shape (len(x0_channels), *window.shape), float32.

        Raises:
            DataError: the example has no labels, or their classes do not tell what is asked.
        """

    @abstractmethod
    def condition(self, example: Example) -> Tensor:
        """Return what the model is given: shape (condition_channels, *window.shape), float32."""

    @property
    def adds_loss(self) -> bool:
        """Whether `loss` asks for anything, which only works where the network predicts x_0."""
        return False

    def loss(self, estimate: Tensor, x0: Tensor) -> Tensor:
        """Return what is to be small beside the squared error, where `adds_loss`; by default nothing is.

        Args:
            estimate: the network's, not clipped; shape (N, len(x0_channels), X, Y, Z), float32.
            x0: what it should be.

        Returns:
            The mean over the examples, each on its own: a scalar.
        """
        del x0
        return estimate.new_zeros(())

    def readout(self, x0: Tensor) -> Tensor:
        """Return a sample in the units that are averaged and written; shape (N, C, X, Y, Z) kept."""
        return x0

    @abstractmethod
    def answer(self, mean: Tensor) -> Tensor:
        """Return the answer to the mean read-out of an ensemble.

        Args:
            mean: shape (len(x0_channels), X, Y, Z), float32.

        Returns:
            Shape (X, Y, Z), uint8: 0 for background, i + 1 for `answers[i]`. Which number a file holds for it is the
            case's business.
        """
