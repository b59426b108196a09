"""A session of several processes, held by the first of them."""

from __future__ import annotations

import math
import os
import pickle
from itertools import count as numbers
from typing import TYPE_CHECKING, Any
from weakref import finalize

import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import Batch, ConfigurationError, DivergedError, Session, StepResult, learning_rate
from ddmkit.footprint import without_memory
from ddmkit.memory import peak
from ddmkit_plugins.engines import checkpoint
from ddmkit_plugins.engines.distributed.launch import launched
from ddmkit_plugins.engines.distributed.learning import Memory
from ddmkit_plugins.engines.distributed.opening import opened
from ddmkit_plugins.engines.distributed.share import Given, Step
from ddmkit_plugins.engines.distributed.world import Order

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import nn

    from ddmkit import Loss
    from ddmkit_plugins.engines.distributed.share import Opening, Share
    from ddmkit_plugins.engines.distributed.world import World

_ids = numbers()
_dropped: list[int] = []
"""Sessions that no one holds any more, which the other processes are told with the next order."""


class DistributedSession(Session):
    """Tells the processes what to do, and does the first one's share.

    Args:
        world: all processes.
        opening: what the session is.
    """

    def __init__(self, world: World, opening: Opening) -> None:
        self.device = world.device
        self._world, self._training, self._settings = world, opening.training, opening.settings
        self._rows, self._layers = world.size // len(opening.layers), opening.layers
        self._shapes = without_memory(opening.network).state_dict()
        self._learned = [name for name, weight in opening.network.named_parameters() if weight.requires_grad]
        self._id = next(_ids)
        self._peak: int | None = None
        """Of all processes; None if others may have worked since."""
        with world.at_work():
            self._tell("open", opening)
            self._share: Share = opened(world, opening)
        finalize(self, _drop, self._id, self._share).atexit = False

    @property
    @override
    def where(self) -> str:
        """How many processes, on what, and what each has of the network and of a batch."""
        processes = f"{self._world.size} processes on {self.device.type}"
        if len(self._layers) == 1:
            zero = f", ZeRO {self._settings.zero}" if self._settings.zero else ""
            return f"{processes}, each with the whole network{zero}"
        rows = f" in each of {self._rows} rows" if self._rows > 1 else ""
        stages = ", ".join(f"{layers.start}-{layers.stop - 1}" for layers in self._layers)
        return f"{processes}, {len(self._layers)} stages{rows} with the layers {stages}"

    @override
    def step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        assert self._training is not None  # noqa: S101 - a session opened without training is never stepped
        dealt = deal(list(batches), self._rows, self._settings.at_once)
        shapes = tuple(tuple(map(_shapes, row)) for row in dealt)
        rate = learning_rate(self._training, number)
        step = Step(number, count, rate, loss, torch.initial_seed() % 2**32, shapes)
        with self._world.at_work():
            self._tell("step", step)
            outcome = self._share.step(step, dealt)
        self._peak = outcome.peak
        for what, value in (("loss", outcome.loss), ("gradient's norm", outcome.norm)):
            if not math.isfinite(value):
                raise DivergedError(checkpoint.diverged(what, value, number))
        return StepResult(outcome.loss, outcome.norm)

    @override
    def predict(self, inputs: Tensor, times: Tensor) -> Tensor:
        members = [len(one) for one in torch.arange(len(inputs)).tensor_split(self._rows)]
        shape = tuple(inputs.shape[1:])
        with self._world.at_work():
            if self._share.needs_others(members):
                self._tell("predict", members, shape)
            answer = self._share.predict(members, shape, (inputs, times))
        assert answer is not None  # noqa: S101 - this is the first process
        return answer

    @override
    def save(self, folder: Path) -> None:
        with self._world.at_work():
            self._tell("remember")
            memory = self._share.remember()
        assert memory is not None  # noqa: S101 - this is the first process
        checkpoint.save(memory.answering, folder / "model.safetensors")
        if self._training is not None:
            state = {**memory.moments, "step": torch.zeros(()) if memory.step is None else memory.step}
            state |= {f"weights.{name}": tensor for name, tensor in (memory.weights or {}).items()}
            checkpoint.save(state, folder / "training.safetensors")

    @override
    def load(self, folder: Path) -> None:
        answering = checkpoint.read(folder / "model.safetensors", torch.device("cpu"))
        checkpoint.refuse_other(self._shapes, answering, folder)
        memory = Memory(answering, None, {}, None)
        if self._training is not None:
            state = checkpoint.read(folder / "training.safetensors", torch.device("cpu"))
            weights = checkpoint.part(state, "weights") or answering
            checkpoint.refuse_other(self._shapes, weights, folder)
            moments = checkpoint.moments(state, self._learned, folder)
            memory = Memory(answering, weights, moments, state["step"])
        with self._world.at_work():
            self._tell("recall")
            self._share.recall(memory)

    @override
    def peak_memory(self) -> int:
        """Return that of the process that took most."""
        if self._peak is None:
            with self._world.at_work():
                self._tell("peak")
                self._peak = self._share.peak()
        return max(self._peak, peak(self.device))

    def _tell(self, verb: str, *arguments: Any) -> None:  # noqa: ANN401 - whatever the verb takes
        self._peak = None
        dropped = [_dropped.pop() for _ in range(len(_dropped))]  # to which more may be added meanwhile
        self._world.tell(Order(self._id, verb, arguments, dropped))


def _drop(session: int, share: Share) -> None:
    try:
        share.close()
    finally:
        _dropped.append(session)


def deal(batches: Sequence[Batch], rows: int, examples: int | None) -> list[list[Batch | None]]:
    """Deal the examples of a step out: return, for each round, what each row gets.

    Args:
        batches: of the step.
        rows: how many there are.
        examples: for a row at once, at most; None for an equal share of the batches that are alike in shape.
    """
    alike: dict[torch.Size, list[Batch]] = {}
    for batch in batches:
        alike.setdefault(batch.inputs.shape[1:], []).append(batch)
    dealt: list[Batch | None] = []
    for same in alike.values():
        joined = same[0] if len(same) == 1 else Batch(*map(torch.cat, zip(*same, strict=True)))
        share = math.ceil(len(joined.inputs) / rows)
        size = min(examples or share, share)
        pieces = [Batch(*piece) for piece in zip(*(torch.split(part, size) for part in joined), strict=True)]
        dealt += pieces
    dealt += [None] * (-len(dealt) % rows)
    return [dealt[first : first + rows] for first in range(0, len(dealt), rows)]


def _shapes(batch: Batch | None) -> Given | None:
    return None if batch is None else Given(tuple(batch.inputs.shape), tuple(batch.target.shape))


def refuse_unsendable(network: nn.Module) -> None:
    """Make sure that a network can be sent to other processes.

    Raises:
        ConfigurationError: it cannot be pickled, or is of a class that only this program has.
    """
    try:
        sent = pickle.dumps(without_memory(network))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = (
            f"The network cannot be sent to other processes: {error}. Define its classes and functions at the top of a "
            "module, or choose --engine single."
        )
        raise ConfigurationError(msg) from error
    if b"__main__" in sent and launched(os.environ) is None:
        msg = (
            "The network cannot be sent to other processes: a class or function of it is defined in the program that "
            "is running, which they do not run. Define it in a module beside it, or choose --engine single."
        )
        raise ConfigurationError(msg)
