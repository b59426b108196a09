"""DeepSpeed's pipeline engine, told by its schedule what to do next with a stage; how, is ddmkit's."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from deepspeed.pipe import PipelineModule
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.pipe import engine as pipe
from deepspeed.runtime.pipe import schedule
from deepspeed.runtime.pipe.engine import PipelineEngine
from deepspeed.runtime.pipe.topology import PipeDataParallelTopology
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor


class Passes(Protocol):
    """What is done with one micro-batch after the other, each in the order of their numbers."""

    def forward(self) -> None:
        """Take the next micro-batch through the stage."""

    def backward(self) -> Tensor:
        """Return the number whose `backward()` goes back with the micro-batch that comes back next."""
        ...

    def returned(self) -> None:
        """Pass on what the way back found."""


def staged(module: nn.Module, stage: int, stages: int, rows: int) -> PipelineModule:
    """Return a stage as DeepSpeed has it, which only wants to know of the others that they are there."""
    layers = [module if number == stage else nn.Identity() for number in range(stages)]
    topology = PipeDataParallelTopology(num_pp=stages, num_dp=rows)
    return PipelineModule(layers, topology=topology, partition_method="uniform")


class StageEngine(PipelineEngine):  # type: ignore[misc]  # DeepSpeed ships no types
    """The engine of one stage."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - whatever DeepSpeed's takes
        with _silent_neighbours():
            super().__init__(*arguments, **options)

    def learn(self, passes: Passes, micro_batches: int) -> None:
        """Take all micro-batches of a step forward and backward, and step."""
        self._passes = passes
        self._exec_schedule(schedule.TrainSchedule(micro_batches, self.num_stages, self.stage_id))

    def _forward_pass(self, buffer_id: int) -> None:
        del buffer_id
        self._passes.forward()

    def _backward_pass(self, buffer_id: int) -> None:
        del buffer_id
        end = self._passes.backward()
        if self.is_last_stage():
            DeepSpeedEngine.backward(self, end)
        else:
            # DeepSpeed would complain of a gradient that it did not ask for.
            self._running_engine_backward = True
            try:
                end.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            finally:
                self._running_engine_backward = False
        self._passes.returned()

    def _nothing(self, buffer_id: int) -> None:
        """Leave to a pass what it does by itself, as soon as it can."""

    _INSTRUCTION_MAP: Any = {  # noqa: RUF012 - as DeepSpeed has it
        **PipelineEngine._INSTRUCTION_MAP,  # noqa: SLF001 - as above
        schedule.ForwardPass: _forward_pass,
        schedule.BackwardPass: _backward_pass,
        schedule.LoadMicroBatch: _nothing,
        schedule.SendActivation: _nothing,
        schedule.RecvActivation: _nothing,
        schedule.SendGrad: _nothing,
        schedule.RecvGrad: _nothing,
    }


@contextmanager
def _silent_neighbours() -> Generator[None]:
    """Keep DeepSpeed's stages from greeting each other: the way that they would take may not carry a GPU's tensors."""
    theirs = pipe.p2p
    pipe.p2p = SimpleNamespace(init_process_groups=_ignore, send=_ignore, recv=_ignore)
    try:
        yield
    finally:
        pipe.p2p = theirs


def _ignore(*_: object) -> None:
    """Do nothing."""
