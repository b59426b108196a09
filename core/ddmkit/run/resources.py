"""What a run will take, from shapes alone: memory at its worst moments, and arithmetic. No weight is allocated.

On a CPU all that the process holds counts, on a GPU what torch's allocator gives out there. The network's share is
counted by `ddmkit.footprint`; the rest is what batches, samplers, ensembles and an engine with AdamW keep beside it.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch

from ddmkit.checked import checked_size
from ddmkit.combination import held
from ddmkit.errors import ConfigurationError
from ddmkit.footprint import Footprint, Work, footprint
from ddmkit.memory import used
from ddmkit.run.plan import bare_network
from ddmkit.sampling import SAMPLED
from ddmkit.task import LabelTask
from ddmkit.thrift import ways_of, weight_bytes
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ddmkit.configuration import Configuration
    from ddmkit.window import Shape

_FLOAT = 4
"""Bytes of float32, in which weights, inputs and samples are whatever the arithmetic."""
_MOMENTS = 2
"""Copies of the weights that AdamW keeps."""
_SUMS = 16
"""Bytes a voxel of an ensemble's mean and variance."""
_LIBRARIES = 60_000_000
"""Bytes that torch's libraries take on a CPU once they calculate; measured."""
_SCATTERED, _MOST_SCATTERED = 0.6, 120_000_000
"""Share of a network's memory, and bytes at most, that lie idle on a CPU between blocks under 32 MiB; measured."""


@runtime_checkable
class Foreseeable(Protocol):
    """What must be known of an engine to say beforehand what it takes."""

    device: str
    """auto, cpu, cuda or cuda:N."""
    precision: str
    """A floating-point type of torch, by its name."""
    memory: str | None
    """What the process may use, as `ddmkit.sizes` reads it."""
    channels_last: bool
    """Whether inputs are copied into that layout."""


@runtime_checkable
class Shared(Protocol):
    """An engine with several processes, in rows that each have the whole network and examples of their own."""

    at_once: int | None
    """Examples that a process works on at once in training; None for all that its row has of a batch."""

    def rows(self) -> int:
        """Return how many rows there are, or would be."""
        ...

    def pieces(self, network: nn.Module, batch_size: int) -> list[nn.Module]:
        """Return what the processes of a row have of a network: all of it, or a stage each (`ddmkit.stages`)."""
        ...


class StepForecast(NamedTuple):
    """A training step by one of the network's ways."""

    way: str | None
    """None for a network that knows only one."""
    peak: int
    """Bytes of the process, at the worst moment."""
    operations: int
    """Floating-point operations, over all examples of the step."""


class CaseForecast(NamedTuple):
    """The sampling of a case by one of the network's ways."""

    way: str | None
    peak: int
    """Bytes of a process that does nothing else."""
    validation_peak: int
    """Bytes of the training process, which validates like this."""
    evaluation_operations: int
    """Of one evaluation of the network for one member."""
    operations: int
    """Of all steps and members."""


class Forecast(NamedTuple):
    """What a run takes in the precision that is configured."""

    precision: str
    window: Shape
    """What the network sees of a case in training, in its own voxels."""
    volume: Shape
    """What it sees in sampling."""
    waiting: int
    """Bytes of the batches that lie ready while a step is done; 0 on a GPU, where they lie in the host's memory."""
    steps: tuple[StepForecast, ...]
    """By way, fastest first."""
    cases: tuple[CaseForecast, ...]
    """By way, fastest first."""

    @property
    def least(self) -> int:
        """Bytes that training needs, validation included, however slow."""
        return max(min(step.peak for step in self.steps), min(case.validation_peak for case in self.cases))

    def step_within(self, limit: int) -> StepForecast | None:
        """Return the fastest training step that keeps to a limit."""
        return next((step for step in self.steps if step.peak <= limit), None)

    def case_within(self, limit: int) -> CaseForecast | None:
        """Return the fastest validation that keeps to a limit."""
        return next((case for case in self.cases if case.validation_peak <= limit), None)


class Forecaster:
    """Says what runs take on one device, which need not be there.

    Args:
        device: where they would run.
        resting: bytes that a process takes before it does anything, from `resting`.
        shape: of a case, as the network sees it.
        progress: called after each count with (how many are done, how many will be, as far as it is known).
    """

    def __init__(
        self, device: torch.device, resting: int, shape: Shape, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        self.device, self.shape = device, shape
        self._resting, self._progress = resting, progress
        self._networks: dict[str, nn.Module] = {}
        self._names: dict[str, list[str]] = {}
        self._counted: dict[tuple[str, Work], Footprint] = {}
        self._wanted = 0

    def forecast(self, configuration: Configuration) -> Forecast:
        """Say what a run with this configuration takes.

        Raises:
            ConfigurationError: nothing is known beforehand of its engine.
        """
        run = _Run(configuration, self.shape, self.device)
        precision = getattr(torch, engine_of(configuration).precision)
        step = Work((run.examples, configuration.in_channels, *run.window), precision, training=True)
        case = Work((run.evaluated, configuration.in_channels, *run.volume), precision, training=False)
        pieces = self._pieces(configuration)
        steps, cases = (
            {way: [(name, work._replace(way=way)) for name in pieces] for way in ways_of(piece, work, self.device)}
            for work, piece in ((step, next(iter(pieces.values()))), (case, next(iter(pieces.values()))))
        )
        keys = [key for works in (*steps.values(), *cases.values()) for key in works]
        self._wanted += sum(key not in self._counted for key in keys)
        weights = max(sum(parameter.nbytes for parameter in piece.parameters()) for piece in pieces.values())
        evaluated = max(weight_bytes(piece, precision) for piece in pieces.values())
        return Forecast(
            precision=engine_of(configuration).precision,
            window=run.window,
            volume=run.volume,
            waiting=run.waiting,
            steps=tuple(self._step(run, weights, way, self._most(keys)) for way, keys in steps.items()),
            cases=tuple(self._case(run, weights, evaluated, way, self._most(keys)) for way, keys in cases.items()),
        )

    def _step(self, run: _Run, weights: int, way: str | None, counted: Footprint) -> StepForecast:
        # The gradient of one part is there while the next is worked on; that of the first is counted with it.
        gradient = weights if run.parts > 1 else 0
        working = taken(counted, self.device) + gradient + run.copied
        peak = self._resting + run.kept(weights) + run.waiting + max(working, run.preparing)
        return StepForecast(way, peak, round(counted.operations * run.parts))

    def _case(self, run: _Run, weights: int, evaluated: int, way: str | None, counted: Footprint) -> CaseForecast:
        sampling = run.inputs + max(taken(counted, self.device) + run.sampled, run.reading)
        trained = run.kept(weights) + weights + run.waiting
        once = counted.operations // run.evaluated
        return CaseForecast(
            way,
            self._resting + evaluated + sampling,
            self._resting + trained + sampling,
            once,
            once * run.evaluations,
        )

    def _pieces(self, configuration: Configuration) -> dict[str, nn.Module]:
        """Return the network without memory, or its stages, by a name that no other one has."""
        channels = configuration.in_channels, configuration.out_channels
        engine, size = configuration.engine, configuration.training.batch_size
        name = f"{channels} {configuration.backbone.tree()}"
        if isinstance(engine, Shared):
            name += f" {size} {engine.tree()}"
        if name not in self._names:
            whole = bare_network(configuration)
            pieces = engine.pieces(whole, size) if isinstance(engine, Shared) else [whole]
            self._names[name] = [f"{name} {number}" for number in range(len(pieces))]
            self._networks |= dict(zip(self._names[name], pieces, strict=True))
        return {piece: self._networks[piece] for piece in self._names[name]}

    def _most(self, keys: list[tuple[str, Work]]) -> Footprint:
        """Return the largest peak of several pieces, and the operations of all, which wait for each other."""
        counted = [self._count(*key) for key in keys]
        return Footprint(max(one.peak for one in counted), sum(one.operations for one in counted))

    def _count(self, name: str, work: Work) -> Footprint:
        key = name, work
        if key not in self._counted:
            self._counted[key] = footprint(self._networks[name], work, self.device)
            self._progress(len(self._counted), self._wanted)
        return self._counted[key]


class _Run:
    """Shapes and counts of a run, and the bytes that it holds beside its network.

    On a GPU batches wait, cases are read and members are summed up in the host's memory, which does not count.
    """

    def __init__(self, configuration: Configuration, shape: Shape, device: torch.device) -> None:
        training, sampling, factor = configuration.training, configuration.sampling, configuration.patch.factor
        region = configuration.region_of(Window.whole(shape))
        size = checked_size(configuration.patch, region.size)
        self._own, self._read, self._cut = map(math.prod, (shape, region.size, size))
        self._configuration, self._on_cpu = configuration, device.type == "cpu"
        self.volume = region._replace(factor=factor).shape
        """What sampling sees."""
        self.window = Window((0, 0, 0), size, size, factor).shape
        """What a training step sees."""
        engine = configuration.engine
        of_row = math.ceil(training.batch_size / engine.rows()) if isinstance(engine, Shared) else training.batch_size
        at_once = engine.at_once if isinstance(engine, Shared) else engine.micro_batch
        self.examples = min(at_once or of_row, of_row)
        """At once."""
        self.parts = of_row / self.examples
        """Of a batch, one after the other."""
        # Where it is as many as fit, nothing more is needed than for one.
        self.members = 1 if sampling.members_at_once == "auto" else min(sampling.members, sampling.members_at_once)
        """At once."""
        self.evaluated = math.ceil(self.members / engine.rows()) if isinstance(engine, Shared) else self.members
        """Of these, by one process."""
        self.evaluations = configuration.sampler.evaluations * sampling.members
        """Of one member each, for a case, at most."""

    def kept(self, weights: int) -> int:
        """Return the bytes of weights, their average and AdamW's moments."""
        return (1 + (self._configuration.training.ema is not None) + _MOMENTS) * weights

    @property
    def waiting(self) -> int:
        """Batches in hand and prepared."""
        batches = self._configuration.loading.prefetch + 1
        return batches * self._configuration.training.batch_size * self._example if self._on_cpu else 0

    @property
    def copied(self) -> int:
        """What a step works on, where it is copied: to a GPU, or on a CPU to be laid out otherwise."""
        if not self._on_cpu:
            return self.examples * self._example
        turned = engine_of(self._configuration).channels_last
        return self.examples * self._configuration.in_channels * self._voxels(self.window) if turned else 0

    @property
    def preparing(self) -> int:
        """An example while it is made."""
        return self._images * self._cut + self._example if self._on_cpu else 0

    @property
    def inputs(self) -> int:
        """The network's inputs in sampling."""
        return self.members * self._configuration.in_channels * self._voxels(self.volume)

    @property
    def reading(self) -> int:
        """A case and its condition while inputs are made of them."""
        condition = self._configuration.task.condition_channels * self._voxels(self.volume)
        return self._images * self._read + 2 * condition if self._on_cpu else condition

    @property
    def sampled(self) -> int:
        """What sampler and ensemble hold while the network works."""
        channels, sampling = self._configuration.out_channels, self._configuration.sampling
        walking = channels * self.members * SAMPLED * self._voxels(self.volume)
        if not self._on_cpu or sampling.members == 1:
            return walking
        task = self._configuration.task
        if not isinstance(task, LabelTask):  # whose members are let go of one by one
            return walking
        return walking + (channels * _SUMS + held(sampling.combine, len(task.answers))) * self._own

    @property
    def _example(self) -> int:
        """Inputs and target."""
        channels = self._configuration.in_channels + self._configuration.out_channels
        return channels * self._voxels(self.window)

    @property
    def _images(self) -> int:
        """Bytes of all images at a voxel."""
        return _FLOAT * len(self._configuration.task.modalities)

    @staticmethod
    def _voxels(sides: Shape) -> int:
        """Bytes of one channel."""
        return _FLOAT * math.prod(sides)


def taken(counted: Footprint, device: torch.device) -> int:
    """Return the bytes that a process grows by while its network works, with what no tensor shows."""
    if device.type != "cpu":
        return counted.peak
    return counted.peak + _LIBRARIES + min(round(_SCATTERED * counted.peak), _MOST_SCATTERED)


def engine_of(configuration: Configuration) -> Foreseeable:
    """Return the engine that is configured.

    Raises:
        ConfigurationError: nothing is known beforehand of it.
    """
    engine = configuration.engine
    if isinstance(engine, Foreseeable):
        return engine
    msg = (
        f"The engine {engine.name!r} lacks the settings device, precision, memory and channels_last, by which a plan "
        "knows what it takes: choose another --engine, such as single."
    )
    raise ConfigurationError(msg)


def device_of(configuration: Configuration) -> torch.device:
    """Return the device that a run would take; one that is named need not be there.

    Raises:
        ConfigurationError: nothing is known beforehand of the configured engine.
    """
    named = engine_of(configuration).device
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if named == "auto" else named)


def is_there(device: torch.device) -> bool:
    """Tell whether this machine has a device."""
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()


def resting(device: torch.device) -> int:
    """Return the bytes that a run's process takes before it does anything: measured of this one, on a CPU."""
    if device.type != "cpu":
        return 0  # where only what torch's allocator gives out counts
    # What a run imports in the end: that of AdamW (and of counting) most of all, SciPy with its first validation.
    for module in ("matplotlib.figure", "scipy.stats", "ddmkit.run.trainer"):
        import_module(module)
    torch.optim.AdamW([torch.zeros(1)])
    return used(device)
