"""One process's share of a session: some layers of the network, and some examples of each batch."""

from __future__ import annotations

import gc
import math
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit.memory import memory_guard, peak
from ddmkit.sizes import bytes_of
from ddmkit.stages import Divisible, Stage
from ddmkit.thrift import Lowerable, Thrift
from ddmkit_plugins.engines.distributed.channel import DATA, Channel, Form, Pending
from ddmkit_plugins.engines.optimizing import moment_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ddmkit import Batch, Loss, Training
    from ddmkit.stages import State
    from ddmkit_plugins.engines.deepspeed import DeepSpeed
    from ddmkit_plugins.engines.distributed.learning import Learning, Memory
    from ddmkit_plugins.engines.distributed.world import World

SMALLER_NETWORK = "type -o backbone.width=… with a smaller one, or more engine.stages"
"""What to do where not even the weights fit."""


class Opening(NamedTuple):
    """What every process must know of a session."""

    network: nn.Module
    """All of it, on the CPU."""
    settings: DeepSpeed
    training: Training | None
    config: dict[str, Any]
    """What DeepSpeed is given to learn with."""
    layers: tuple[range, ...]
    """Of each stage."""
    logs: Path | None
    """Folder for what others than the first process say."""


class Given(NamedTuple):
    """Shapes of a batch."""

    inputs: tuple[int, ...]
    target: tuple[int, ...]


class Step(NamedTuple):
    """An optimizer step."""

    number: int
    examples: int
    """In all."""
    rate: float
    loss: Loss
    seed: int
    """Of what a network draws."""
    rounds: tuple[tuple[Given | None, ...], ...]
    """For each round, what each row of processes is given; None for a row that has nothing more to do."""


class Outcome(NamedTuple):
    """What a step did, as the first process sees it."""

    loss: float
    norm: float
    peak: int
    """Bytes of the process that took most so far."""


class Calculated(nn.Module):
    """A network, or some of its layers, from state to state in the precision of an engine.

    Args:
        network: (x, t[, way]) to an answer; with `staged`, (state[, way]) to a state.
        device: where it is.
        precision: arithmetic.
        staged: what it maps.
    """

    def __init__(self, network: nn.Module, device: torch.device, precision: torch.dtype, *, staged: bool) -> None:
        super().__init__()
        self.network = network
        self._kind, self._lowered, self._staged = device.type, precision != torch.float32, staged

    @override
    def forward(self, state: Sequence[Tensor], way: str | None = None) -> State:
        """Return the state after the layers; one that comes in as a list may be emptied."""
        options = () if way is None else (way,)
        with torch.autocast(self._kind, dtype=torch.bfloat16, enabled=self._lowered, cache_enabled=False):
            if self._staged:
                after: State = self.network(state, *options)
                return after
            return (self.network(*state, *options),)


class Share(ABC):
    """What one process does in a session.

    Processes stand in a grid: each row has all stages of the network and works on examples of its own.

    Args:
        world: all processes.
        opening: what the session is.
    """

    def __init__(self, world: World, opening: Opening) -> None:
        self._world, self._settings = world, opening.settings
        self.device, self._stages = world.device, len(opening.layers)
        self._rows = world.size // self._stages
        self.stage, self.row = divmod(world.rank, self._rows)
        lowered = opening.settings.precision == "bfloat16"
        self._precision = torch.bfloat16 if lowered else torch.float32
        if lowered and opening.training is None and isinstance(opening.network, Lowerable):
            opening.network.lower(torch.bfloat16)
        parts = 1 if opening.training is None else parts_of(opening.settings, opening.training.batch_size, self._rows)
        network = piece(opening.settings, opening.network, opening.layers, self.stage, parts)
        # DeepSpeed, which flattens weights, has them in the usual layout.
        turned = opening.settings.channels_last and opening.training is None
        layout = torch.channels_last_3d if turned else torch.contiguous_format
        network = network.to(device=self.device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
        limit = None if opening.settings.memory is None else bytes_of(opening.settings.memory)
        self._thrift = Thrift(network, self.device, self._precision, limit, world.sharing)
        self._staged = isinstance(network, Stage)
        self._calculated = self._calculating(network)
        self._bare = network.part if isinstance(network, Stage) else network
        self._data = Channel(world.control, torch.device("cpu"), direct=True, tag=DATA)
        self._learning: Learning | None = None

    @property
    def _last(self) -> bool:
        return self.stage == self._stages - 1

    def _calculating(self, network: nn.Module) -> Calculated:
        return Calculated(network, self.device, self._precision, staged=self._staged)

    def step(self, step: Step, batches: Sequence[Sequence[Batch | None]] | None = None) -> Outcome:
        """Do this process's share of an optimizer step.

        Args:
            step: what to do.
            batches: of each round, each row's; the first process has them, the others receive theirs.

        Raises:
            OutOfMemoryError: the memory of this process's device does not suffice.
            RuntimeError: torch's, where another process is gone.
        """
        with memory_guard(self.device, SMALLER_NETWORK):
            return self._step(step, batches)

    def _step(self, step: Step, batches: Sequence[Sequence[Batch | None]] | None) -> Outcome:
        assert self._learning is not None  # noqa: S101 - a session opened without training is never stepped
        torch.manual_seed(step.seed + self._world.rank)
        pending = Pending()
        if batches is not None:
            self._deal(batches, pending)
        self._bare.train()
        self._learning.set_rate(step.rate)
        own = None if batches is None else [dealt[0] for dealt in batches]
        largest = max((given.inputs for dealt in step.rounds for given in dealt if given is not None), key=math.prod)
        with memory_guard(self.device, partial(self._thrift.advice, largest, training=True)):
            loss = self._learn(step, own)
        norm = self._learning.norm
        if math.isfinite(norm):
            self._learning.average(step.number)
        pending.wait()
        told = self._world.collect([loss if self._last else 0.0, norm, float(peak(self.device))])
        return Outcome(math.fsum(one[0] for one in told), told[0][1], int(max(one[2] for one in told)))

    def _deal(self, batches: Sequence[Sequence[Batch | None]], pending: Pending) -> None:
        """Send each row what it will ask for."""
        last = (self._stages - 1) * self._rows
        for dealt in batches:
            for row, batch in enumerate(dealt):
                if batch is None:
                    continue
                if row:
                    self._data.send(batch.inputs, row, pending)
                    self._data.send(batch.times, row, pending)
                if last + row:
                    self._data.send(batch.target, last + row, pending)

    def _inputs(self, given: Given, own: Batch | None) -> State:
        """Return inputs and times of a batch, on the device."""
        if own is None:
            inputs = self._data.receive(Form(given.inputs), 0)
            times = self._data.receive(Form(given.inputs[:1]), 0)
        else:
            inputs, times = own.inputs, own.times
        layout = torch.channels_last_3d if self._settings.channels_last else torch.contiguous_format
        return (
            inputs.to(self.device, memory_format=layout, non_blocking=True),
            times.to(self.device, non_blocking=True),
        )

    def _target(self, given: Given, own: Batch | None) -> Tensor:
        target = self._data.receive(Form(given.target), 0) if own is None else own.target
        return target.to(self.device, non_blocking=True)

    def _part_of_loss(self, step: Step, output: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Return a batch's share of the loss, for its gradient and as a number.

        DeepSpeed averages gradients over rows, where shares add up.
        """
        share = step.loss(output, target) * (len(output) / step.examples)
        value = float(share.detach())
        # One that is not finite must not let a gradient be finite anywhere: no process may step.
        return share * (self._rows if math.isfinite(value) else math.nan), value

    def peak(self) -> int:
        """Return the most bytes that a process has used so far, of all."""
        return int(max(used for (used,) in self._world.collect([float(peak(self.device))])))

    def close(self) -> None:
        """Let go of all memory; DeepSpeed's engines are bound to themselves."""
        try:
            if self._learning is not None:
                self._learning.close()
        finally:
            self._learning = None
            del self._calculated, self._bare, self._thrift
            gc.collect()

    def remember(self) -> Memory | None:
        """Return, in the first process, what the session remembers: of all stages."""
        memory = self._remember()
        if self._world.rank == 0:
            others = [self._world.take(stage * self._rows) for stage in range(1, self._stages)]
            return _joined([memory, *others])
        if self.row == 0:
            self._world.give(memory, 0)
        return None

    def _remember(self) -> Memory:
        from ddmkit_plugins.engines.distributed.learning import Memory

        if self._learning is not None:
            return self._learning.remember()
        state = {name: tensor.detach().cpu() for name, tensor in self._bare.state_dict().items()}
        return Memory(state, None, {}, None)

    def recall(self, memory: Memory | None = None) -> None:
        """Go on as what the first process gives."""
        memory = self._world.share_out(memory)
        assert memory is not None  # noqa: S101 - the first process gives it
        if self._learning is not None:
            self._learning.recall(memory)
        else:
            self._bare.load_state_dict({name: memory.answering[name] for name in self._bare.state_dict()})

    def way(self, shape: tuple[int, ...], *, training: bool) -> str | None:
        """Return the way to evaluate these layers where the network is given inputs of a shape."""
        return self._thrift.way(shape, training=training, more=self._moments_to_come() if training else 0)

    def _moments_to_come(self) -> int:
        """Return the bytes of what AdamW makes in its first step, at most."""
        if self._learning is None or self._learning.stepped:
            return 0
        return moment_bytes(self._learning.learned.values())

    @abstractmethod
    def _learn(self, step: Step, own: Sequence[Batch | None] | None) -> float:
        """Go forward and backward through this process's layers and step; return its share of the loss."""

    @abstractmethod
    def needs_others(self, members: Sequence[int]) -> bool:
        """Tell whether the first process predicts with the help of others."""

    @abstractmethod
    def predict(self, members: Sequence[int], shape: tuple[int, ...], own: State | None = None) -> Tensor | None:
        """Evaluate this process's layers for its members, and return all answers in the first process.

        Args:
            members: how many each row evaluates.
            shape: of one member's inputs, (in_channels, X, Y, Z).
            own: inputs (members, in_channels, X, Y, Z) and times (members,) of all, which the first process has.

        Returns:
            (members, out_channels, X, Y, Z), float32, in the first process; None in the others.

        Raises:
            OutOfMemoryError: the memory of this process's device does not suffice.
            RuntimeError: torch's, where another process is gone.
        """


def one_voxel(shape: tuple[int, ...], device: torch.device) -> State:
    """Return inputs and times that nobody asked about, for a process that has to do as others do."""
    return torch.zeros(shape, device=device), torch.ones(shape[0], device=device)


def one_voxel_of(dealt: Sequence[Given | None]) -> tuple[int, ...]:
    """Return the shape of inputs of one voxel, with as many channels as those that other rows are given."""
    channels = next(given.inputs[1] for given in dealt if given is not None)
    return 1, channels, 1, 1, 1


def piece(settings: DeepSpeed, network: nn.Module, layers: Sequence[range], stage: int, parts: int) -> nn.Module:
    """Return what a process has of a network: all of it, or one stage.

    Args:
        settings: of the engine.
        network: all of it.
        layers: of each stage.
        stage: from 0.
        parts: micro-batches that go through in a step.
    """
    if len(layers) == 1 and not settings.checkpointing:
        return network
    assert isinstance(network, Divisible)  # noqa: S101 - as was made sure where it was cut
    held = held_by(stage, len(layers), parts)
    return Stage(network, layers[stage], held=held, checkpointing=settings.checkpointing)


def parts_of(settings: DeepSpeed, batch_size: int, rows: int) -> int:
    """Return how many micro-batches each row has in a step."""
    of_row = math.ceil(batch_size / rows)
    return math.ceil(of_row / (settings.at_once or of_row))


def held_by(stage: int, stages: int, parts: int) -> int:
    """Return how many micro-batches have gone through a stage at most, and have not come back yet.

    Args:
        stage: from 0.
        stages: how many there are.
        parts: micro-batches of a step.
    """
    return min(stages - stage, parts)


def _joined(memories: Sequence[Memory]) -> Memory:
    from ddmkit_plugins.engines.distributed.learning import Memory

    answering: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}
    for memory in memories:
        answering |= memory.answering
        weights |= memory.weights or {}
        moments |= memory.moments
    return Memory(answering, weights or None, moments, memories[0].step)
