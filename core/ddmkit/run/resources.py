"""What a run will take, from shapes alone: memory at its worst moments, and arithmetic. No weight is allocated.

On a CPU all that the process holds counts, on a GPU what torch's allocator gives out there. The network's share is
counted by `ddmkit.footprint`; the rest is what batches, samplers, ensembles and an engine with AdamW keep beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import torch

from ddmkit.errors import ConfigurationError
from ddmkit.footprint import Footprint, Work, footprint
from ddmkit.memory import used
from ddmkit.thrift import ways_of
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
_SAMPLED = 4
"""Tensors of x_0's size that a sampler holds while it waits for the network: x_T, x_t, the last x_0 and the last eps."""
_SCATTERED, _MOST_SCATTERED = 0.6, 180_000_000
"""Share of the network's memory, and bytes at most, that a CPU's allocator loses between small blocks; measured."""


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
        self._counted: dict[tuple[str, Work], Footprint] = {}
        self._wanted = 0

    def forecast(self, configuration: Configuration) -> Forecast:
        """Say what a run with this configuration takes.

        Raises:
            ConfigurationError: nothing is known beforehand of its engine.
        """
        holding = _Holding(configuration, self.shape, self.device)
        precision = getattr(torch, engine_of(configuration).precision)
        network, name = self._network(configuration)
        size, members = holding.examples_at_once, holding.members_at_once
        step = Work((size, configuration.in_channels, *holding.window), precision, training=True)
        case = Work((members, configuration.in_channels, *holding.volume), precision, training=False)
        steps, cases = (
            {way: (name, work._replace(way=way)) for way in ways_of(network, work, self.device)}
            for work in (step, case)
        )
        self._wanted += sum(key not in self._counted for key in (*steps.values(), *cases.values()))
        weights = sum(parameter.nbytes for parameter in network.parameters())
        return Forecast(
            precision=engine_of(configuration).precision,
            window=holding.window,
            volume=holding.volume,
            waiting=holding.waiting,
            steps=tuple(self._step(holding, weights, way, self._count(*key)) for way, key in steps.items()),
            cases=tuple(self._case(holding, weights, way, self._count(*key)) for way, key in cases.items()),
        )

    def _step(self, holding: _Holding, weights: int, way: str | None, counted: Footprint) -> StepForecast:
        parts = holding.batch / holding.examples_at_once
        # The gradient of one part is there while the next is worked on; that of the first is counted with it.
        gradient = weights if parts > 1 else 0
        working = self._taken(counted) + gradient + holding.copied
        peak = self._resting + holding.kept(weights) + holding.waiting + max(working, holding.preparing)
        return StepForecast(way, peak, round(counted.operations * parts))

    def _case(self, holding: _Holding, weights: int, way: str | None, counted: Footprint) -> CaseForecast:
        sampling = holding.inputs + max(self._taken(counted) + holding.sampled, holding.reading)
        trained = holding.kept(weights) + weights + holding.waiting
        once = counted.operations // holding.members_at_once
        return CaseForecast(
            way,
            self._resting + weights + sampling,
            self._resting + trained + sampling,
            once,
            once * holding.evaluations,
        )

    def _taken(self, counted: Footprint) -> int:
        """Return what the network takes, with what lies idle between its tensors."""
        lost = min(round(_SCATTERED * counted.peak), _MOST_SCATTERED) if self.device.type == "cpu" else 0
        return counted.peak + lost

    def _network(self, configuration: Configuration) -> tuple[nn.Module, str]:
        """Return the network without memory, and a name that no other one has."""
        channels = configuration.in_channels, configuration.out_channels
        name = f"{channels} {configuration.backbone.tree()}"
        if name not in self._networks:
            self._networks[name] = bare_network(configuration)
        return self._networks[name], name

    def _count(self, name: str, work: Work) -> Footprint:
        key = name, work
        if key not in self._counted:
            self._counted[key] = footprint(self._networks[name], work, self.device)
            self._progress(len(self._counted), self._wanted)
        return self._counted[key]


class _Holding:
    """What a run holds beside the network's own work: counts, shapes and bytes.

    On a GPU batches wait, cases are read and members are summed up in the host's memory, which does not count.
    """

    def __init__(self, configuration: Configuration, shape: Shape, device: torch.device) -> None:
        training, sampling = configuration.training, configuration.sampling
        factor, on_cpu = configuration.patch.factor, device.type == "cpu"
        region = configuration.region_of(Window.whole(shape))
        size = configuration.patch.size(region.size)
        self.window = Window((0, 0, 0), size, size, factor).shape
        self.volume = region._replace(factor=factor).shape
        self.batch = training.batch_size
        self.examples_at_once = min(configuration.engine.micro_batch or self.batch, self.batch)
        self.members_at_once = min(sampling.ensemble, sampling.members_at_once)
        self.evaluations = configuration.sampler.steps * sampling.ensemble
        self._averaged = training.ema is not None

        given, asked = configuration.in_channels, configuration.out_channels
        voxel, inside, images = (
            _FLOAT * math.prod(self.window),
            _FLOAT * math.prod(self.volume),
            len(configuration.task.modalities),
        )
        example = (given + asked) * voxel
        self.waiting = (configuration.loading.prefetch + 1) * self.batch * example if on_cpu else 0
        # A GPU has a copy of what it works on, a CPU only of what is laid out otherwise.
        copied = given if on_cpu and engine_of(configuration).channels_last else 0
        self.copied = self.examples_at_once * (copied * voxel if on_cpu else example)
        self.inputs = self.members_at_once * given * inside
        self.sampled = self.members_at_once * _SAMPLED * asked * inside
        self.sampled += _SUMS * asked * math.prod(shape) if on_cpu and sampling.ensemble > 1 else 0
        read = images * _FLOAT * math.prod(region.size)
        condition = configuration.task.condition_channels * inside
        self.reading = read + 2 * condition if on_cpu else condition
        seen = images * _FLOAT * math.prod(size)
        self.preparing = seen + example if on_cpu else 0

    def kept(self, weights: int) -> int:
        """Return the bytes of weights, their average and AdamW's moments."""
        return (1 + self._averaged + _MOMENTS) * weights


def engine_of(configuration: Configuration) -> Foreseeable:
    """Return the engine that is configured.

    Raises:
        ConfigurationError: nothing is known beforehand of it.
    """
    engine = configuration.engine
    if isinstance(engine, Foreseeable):
        return engine
    msg = (
        f"The engine {engine.name!r} does not say by settings device, precision, memory and channels_last what it takes, "
        "so that nothing can be planned for it: choose another --engine, such as single."
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
    import ddmkit.run.trainer  # noqa: F401 - what a run imports

    torch.optim.AdamW([torch.zeros(1)])  # which imports a good deal, as does counting
    return used(device)


def bare_network(configuration: Configuration) -> nn.Module:
    """Return the configured network, its weights shapes alone."""
    with torch.device("meta"):
        return configuration.backbone.build(configuration.in_channels, configuration.out_channels)
