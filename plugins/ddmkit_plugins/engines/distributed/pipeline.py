"""A process with one stage of the network: micro-batches go through all stages one after the other, and back.

The schedule is DeepSpeed's, one forward and one backward (Narayanan et al. 2019).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from ddmkit.memory import memory_guard
from ddmkit.stages import Entrance, leave
from ddmkit_plugins.engines.distributed.boundary import Boundary, Fetching
from ddmkit_plugins.engines.distributed.channel import Form, Pending, receive_forms, send_forms
from ddmkit_plugins.engines.distributed.engines import stage_engine
from ddmkit_plugins.engines.distributed.share import Share, one_voxel, one_voxel_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddmkit import Batch
    from ddmkit.stages import State
    from ddmkit_plugins.engines.distributed.share import Given, Opening, Step
    from ddmkit_plugins.engines.distributed.world import World


class Staged(Share):
    """A stage of one of the rows."""

    def __init__(self, world: World, opening: Opening) -> None:
        super().__init__(world, opening)
        self._boundary = Boundary(world, self._rows)
        if opening.training is not None:
            self._learning = stage_engine(self._calculated, self._bare, opening, (self.stage, self._rows))

    @override
    def _learn(self, step: Step, own: Sequence[Batch | None] | None) -> float:
        assert self._learning is not None  # noqa: S101 - as the caller made sure
        passes = _Passes(self, step, own)
        self._learning.engine.learn(passes, len(step.rounds))
        self._boundary.settle()
        return passes.total

    def forward(self, step: Step, dealt: Sequence[Given | None], own: Batch | None) -> tuple[_Flight, float]:
        """Take a micro-batch through this stage; return what is needed to go back, and its share of the loss."""
        given = dealt[self.row]
        shape = one_voxel_of(dealt) if given is None else given.inputs
        entrance, forms = Entrance(), []
        came: Sequence[Tensor]
        if self.stage > 0:
            came = self._boundary.receive()
            forms = [Form.of(tensor) for tensor in came]
            came = entrance(came)
        else:
            came = one_voxel(shape, self.device) if given is None else self._inputs(given, own)
        state = self._calculated(came, self.way(shape, training=True))
        if not self._last:
            fetching = self._boundary.fetching([Form.of(tensor) for tensor in state])
            return _Flight(leave(state, fetching), entrance, forms, self._boundary.send(state), fetching), 0.0
        if given is None:  # as if there were an example, where other rows have one: all exchange gradients
            return _Flight(step.loss(state[0], torch.zeros_like(state[0])) * 0, entrance, forms, None, None), 0.0
        share, value = self._part_of_loss(step, state[0], self._target(given, own))
        return _Flight(share, entrance, forms, None, None), value

    def pass_back(self, flight: _Flight) -> None:
        """Send the stage before what the way back found."""
        if flight.fetching is not None:
            flight.fetching.finish()
        if self.stage > 0:
            self._boundary.send_gradients(flight.entrance.gradients, flight.entered)

    @override
    def needs_others(self, members: Sequence[int]) -> bool:
        return True

    @override
    @torch.no_grad()
    def predict(self, members: Sequence[int], shape: tuple[int, ...], own: State | None = None) -> Tensor | None:
        out, onward = Pending(), Pending()
        mine = self._dealt_singly(members, shape, own, out) if self.stage == 0 else None
        for _ in range(members[self.row]):
            after = self._evaluated(self._boundary.receive() if mine is None else next(mine), (1, *shape))
            onward.wait()
            if self._last:
                answer = after[0].float().cpu()
                send_forms((answer,), 0, out, self._world.control)
                self._data.send(answer, 0, out)
            else:
                onward = self._boundary.send(after)
        onward.wait()
        out.wait()
        return None if own is None else self._answers(members)

    def _dealt_singly(
        self, members: Sequence[int], shape: tuple[int, ...], own: State | None, out: Pending
    ) -> Iterator[State]:
        """Yield inputs and times of this row's members one by one; the first process sends the other rows theirs."""
        if own is None:
            forms = Form((1, *shape)), Form((1,))
            return (
                tuple(self._data.receive(form, 0).to(self.device) for form in forms) for _ in range(members[self.row])
            )
        singly = list(zip(*(torch.split(part, 1) for part in own), strict=True))
        for member, row in enumerate(row for row, count in enumerate(members) for _ in range(count)):
            for part in singly[member] if row else ():
                self._data.send(part, row, out)
        return iter(singly[: members[0]])

    def _evaluated(self, state: Sequence[Tensor], shape: tuple[int, ...]) -> State:
        way = self.way(shape, training=False)
        with memory_guard(self.device, partial(self._thrift.advice, shape, training=False)):
            if self._learning is None:
                after: State = self._calculated.eval()(state, way)
            else:
                with self._learning.answering() as layers:
                    after = self._calculating(layers)(state, way)
            return after

    def _answers(self, members: Sequence[int]) -> Tensor:
        """Return what the last stages of all rows answer."""
        answers = []
        for row, count in enumerate(members):
            last = (self._stages - 1) * self._rows + row
            for _ in range(count):
                (form,) = receive_forms(last, self._world.control)
                answers.append(self._data.receive(form, last).to(self.device))
        return torch.cat(answers)


class _Flight(NamedTuple):
    """A micro-batch that has gone through the stage, and has not come back yet."""

    end: Tensor
    entrance: Entrance
    entered: list[Form]
    sent: Pending | None
    fetching: Fetching | None


class _Passes:
    """The micro-batches of a step, forward and backward through a stage."""

    def __init__(self, staged: Staged, step: Step, own: Sequence[Batch | None] | None) -> None:
        self._staged, self._step = staged, step
        self._coming = deque((dealt, None if own is None else own[number]) for number, dealt in enumerate(step.rounds))
        self._flights: deque[_Flight] = deque()
        self.total = 0.0
        """This process's share of the loss."""

    def forward(self) -> None:
        dealt, own = self._coming.popleft()
        flight, value = self._staged.forward(self._step, dealt, own)
        self._flights.append(flight)
        self.total += value

    def backward(self) -> Tensor:
        flight = self._flights[0]
        if flight.sent is not None:
            flight.sent.wait()
        return flight.end

    def returned(self) -> None:
        self._staged.pass_back(self._flights.popleft())
