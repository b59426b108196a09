"""A task of two answers, and sessions that need no network: they know the truth, or copy what they see."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import Component, Example, LabelTask, Session, hookimpl
from ddmkit.sampling import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ddmkit import Batch, StepResult
    from ddmkit.configuration import Configuration
    from ddmkit.engine import Loss
    from ddmkit.stored_case import StoredCase


class Parts(LabelTask):
    """Find edema and core."""

    name: ClassVar[str] = "parts"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return self.answers

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({name}) for name in self.answers}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("edema", "core")

    @override
    def x0(self, example: Example) -> Tensor:
        assert example.labels is not None
        return torch.stack([example.labels == example.classes.index(name) for name in self.answers]).float()

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images

    @override
    def answer(self, mean: Tensor) -> Tensor:
        return torch.where(mean.amax(0) > 0.5, mean.argmax(0) + 1, 0).to(torch.uint8)


class Tasks:
    """The plugin that offers them."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Parts]


class FromFunction(Session):
    """Predicts what a function says, as an engine does: without gradients, in inference mode."""

    device = torch.device("cpu")

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._function = function
        self.batches: list[int] = []

    @override
    def predict(self, inputs: Tensor, times: Tensor) -> Tensor:
        self.batches.append(len(inputs))
        with torch.inference_mode():
            return self._function(inputs, times)

    @override
    def step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        raise NotImplementedError

    @override
    def save(self, folder: Path) -> None:
        raise NotImplementedError

    @override
    def load(self, folder: Path) -> None:
        raise NotImplementedError

    @override
    def peak_memory(self) -> int:
        return 0


def perfect(configuration: Configuration, x0: Tensor) -> Session:
    """Return a session that knows x_0 and answers with what the diffusion asks for."""
    alphas_bar = configuration.schedule.alphas_bar()

    def know(inputs: Tensor, times: Tensor) -> Tensor:
        level = float(alphas_bar[int(times[0])])
        noisy = inputs[:, -len(x0) :]
        eps = (noisy - sqrt(level) * x0) / sqrt(1 - level)
        match configuration.diffusion.prediction:
            case "eps":
                return eps
            case "x0":
                return x0.expand_as(noisy).clone()
            case "v":
                return sqrt(level) * eps - sqrt(1 - level) * x0

    return FromFunction(know)


def knowing(configuration: Configuration, case: StoredCase) -> Model:
    """Return a model that knows the reference as the network would see it."""
    seen = case.read(case.whole(configuration.patch.factor))
    return Model(configuration, perfect(configuration, configuration.task.x0(seen)))


def copying(configuration: Configuration) -> Model:
    """Return a model that answers with the last image of the condition, in each channel; it is asked for x_0."""
    last = [configuration.task.condition_channels - 1] * configuration.out_channels
    return Model(configuration, FromFunction(lambda inputs, _: inputs[:, last]))
