"""Tasks: what is x_0, what is the condition, how samples become an answer, how answers are judged.

A task that answers with volumes, such as generation, is a `VolumeTask`. A complete task of labels::

    class Foreground(LabelTask):
        '''Find lesions, from the FLAIR image.'''

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
            return example.inside(self.regions["foreground"]).float()[None]

        def condition(self, example: Example) -> Tensor:
            return example.images

        def answer(self, mean: Tensor) -> Tensor:
            return (mean[0] > 0.5).to(torch.uint8)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from typing_extensions import override

from ddmkit.component import Component
from ddmkit.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from collections.abc import Container

    from torch import Tensor

    from ddmkit.definition import Scoring
    from ddmkit.judging import Judge, PairJudge, SetJudge
    from ddmkit.scoring import RegionJudge
    from ddmkit.window import Window


class Example(NamedTuple):
    """A window of one case, at the resolution of its window."""

    images: Tensor
    """Shape (modalities, *window.shape), float32 in [0, 1]; channels in the order of `Task.modalities`, or, where a
    condition is asked for, of `Task.condition_modalities`."""
    labels: Tensor | None
    """Shape window.shape, uint8: indices into `classes`; None where a case has no reference."""
    classes: tuple[str, ...]
    """What the labels' indices mean; the first is "background"."""
    window: Window
    """Where the example lies."""

    def inside(self, names: Container[str]) -> Tensor:
        """Return where the labels mean one of some classes: shape window.shape, bool.

        Args:
            names: of the classes; those that the labels do not know lie nowhere.

        Raises:
            DataError: the case has no reference.
        """
        import torch

        if self.labels is None:
            msg = "A case without a reference cannot be learned from; leave it out, or give its reference."
            raise DataError(msg)
        indices = [index for index, name in enumerate(self.classes) if name in names]
        return torch.isin(self.labels, torch.tensor(indices, dtype=torch.uint8, device=self.labels.device))


class Task(Component):
    """A question that a diffusion model answers about a volume, with labels (`LabelTask`) or volumes (`VolumeTask`)."""

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
    def needs_references(self) -> bool:
        """Whether it learns from references; if not, cases without one are learned from too, and none is read."""
        return True

    @property
    def clip(self) -> tuple[float, float] | None:
        """The range that estimates of x_0 are clipped to while sampling, or None."""
        return -1.0, 1.0

    @property
    def condition_modalities(self) -> tuple[str, ...]:
        """Those of `modalities` that a case must have to be sampled, and all that `condition` sees; by default all.

        Where an image is made from others, these are the others. There is one at least: answers lie on its grid.
        """
        return self.modalities

    @property
    def condition_channels(self) -> int:
        """Channels of the condition, 0 for none; by default one for each of `condition_modalities`."""
        return len(self.condition_modalities)

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
        """Return what the model is given: shape (condition_channels, *window.shape), float32.

        Args:
            example: with the images of `condition_modalities` alone, in that order.
        """

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
    def judge(self, scoring: Scoring) -> Judge:
        """Return who judges a set of answers, and has seen none yet.

        Args:
            scoring: the definitions that scores by region follow.
        """


class LabelTask(Task):
    """Answers with labels: the members of an ensemble are combined into one label map, judged region by region."""

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

    @abstractmethod
    def answer(self, mean: Tensor) -> Tensor:
        """Return the answer to the mean read-out of an ensemble.

        Args:
            mean: shape (len(x0_channels), X, Y, Z), float32.

        Returns:
            Shape (X, Y, Z), uint8: 0 for background, i + 1 for `answers[i]`. Which number a file holds for it is the
            case's business.
        """

    @override
    def judge(self, scoring: Scoring) -> RegionJudge:
        from ddmkit.scoring import RegionJudge

        return RegionJudge(self.regions, scoring)


class VolumeTask(Task):
    """Answers with volumes: each member is an answer of its own, written as it is read out.

    `condition` must not ask for labels, which a case has none of when it is sampled. A `SetJudge` compares what was
    generated with what is real as two sets, a `PairJudge` with the real volume of the same case.
    """

    @abstractmethod
    @override
    def judge(self, scoring: Scoring) -> SetJudge | PairJudge: ...


def given(task: Task, example: Example) -> Example:
    """Return an example with those of the task's images alone that its condition may see.

    Args:
        task: what is asked.
        example: with images of all `task.modalities`.
    """
    if task.condition_modalities == task.modalities:
        return example
    channels = [task.modalities.index(name) for name in task.condition_modalities]
    return example._replace(images=example.images[channels])


def label_task(task: Task) -> LabelTask:
    """Return a task that answers with labels.

    Raises:
        ConfigurationError: it answers with volumes.
    """
    if isinstance(task, LabelTask):
        return task
    msg = (
        f"The task {task.name!r} answers with volumes, and this works on labels: take a run or answers of a task such "
        "as segmentation."
    )
    raise ConfigurationError(msg)
