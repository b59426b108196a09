"""Engines: where a training step and an evaluation of the network run.

An engine keeps more promises than fit here: how it learns, averages, saves, resumes and stops where numbers diverge.
The smallest real one is the component in `ddmkit_plugins/engines/single.py` with its session in
`ddmkit_plugins/engines/single_session.py`; begin with a copy of both, and hold yours to `ddmkit.testing.check_engine`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias

from pydantic import Field

from ddmkit.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from ddmkit.configuration import Training

Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""(output, target), both (N, C, X, Y, Z) -> the mean loss, a scalar."""


class Batch(NamedTuple):
    """What one evaluation of the network in training needs; float32, on the CPU."""

    inputs: Tensor
    """Shape (N, in_channels, X, Y, Z): condition, encoding and x_t, in this order."""
    times: Tensor
    """Shape (N,), float32, from 1 to T."""
    target: Tensor
    """Shape (N, out_channels, X, Y, Z)."""


class StepResult(NamedTuple):
    """What one optimizer step did."""

    loss: float
    """Mean loss over the global batch, before the step."""
    gradient_norm: float
    """Euclidean norm of the gradient, before clipping."""


class Engine(Component):
    """Where the work is done: a device, several, a cluster."""

    kind: ClassVar[str] = "engine"
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Examples in memory at once, at most; gradients add up to the batch. null: the batch.",
    )

    def serve(self) -> None:
        """Work for another process until it has done, and end this one, if that is what it was started for.

        Whoever starts several processes alike (torchrun, SLURM) has each run the same command, which comes here before
        it does anything. In the one process that is to go on with the command, and where there is only one, this
        returns at once.
        """

    def check(self, network: nn.Module, training: Training) -> None:
        """Refuse what cannot be, before anything is read or begun for it; by default nothing is.

        Args:
            network: that would be trained, its weights shapes alone.
            training: how it would learn.

        Raises:
            DeviceError, ConfigurationError: as `open`, as far as can be told by then.
        """

    @abstractmethod
    def open(self, network: nn.Module, training: Training | None = None, logs: Path | None = None) -> Session:
        """Take the network to its device and return a session; with `training`, one that can step.

        Args:
            network: fresh or to be loaded; it belongs to the session from now on.
            training: how to learn.
            logs: folder for what other processes say, if there are any.

        Raises:
            DeviceError: the device asked for is not there.
            ConfigurationError: the network or the training does not go with this engine.
        """


class Session(ABC):
    """A network at work: the one thing in ddmkit that holds mutable state."""

    device: torch.device
    """Where `predict` wants its arguments."""

    @property
    def where(self) -> str:
        """Where the work runs, in a few words for people."""
        return str(self.device)

    @abstractmethod
    def step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        """Do optimizer step `number` (from 1) over `count` examples that come in any number of batches.

        Raises:
            DivergedError: the loss or the gradient is not finite; the weights are as before.
        """

    @abstractmethod
    def predict(self, inputs: Tensor, times: Tensor) -> Tensor:
        """Evaluate the network without gradients, with averaged weights where there are any.

        Args:
            inputs: shape (N, in_channels, X, Y, Z), float32, on `device`.
            times: shape (N,), float32, on `device`.

        Returns:
            Shape (N, out_channels, X, Y, Z), float32, on `device`.
        """

    def members_at_once(self, shape: tuple[int, ...], most: int, beside: int) -> int:
        """Return how many examples `predict` has memory for at once without going slower; 1 where that is not known.

        Args:
            shape: of one example: (in_channels, X, Y, Z).
            most: how many there are.
            beside: bytes that each needs on `device` beside its evaluation.
        """
        del shape, most, beside
        return 1

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write `model.safetensors` (the weights that `predict` uses) and what else resuming needs."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what `save` wrote; a session that cannot step reads `model.safetensors` alone.

        Raises:
            CheckpointError: files are missing or the network is another one.
        """

    @abstractmethod
    def peak_memory(self) -> int:
        """Return the largest memory use so far, in bytes: resident set on the CPU, allocator's peak on CUDA."""
