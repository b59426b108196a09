"""A process with the whole network, which works on examples of its own: data parallel, with ZeRO or without."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from ddmkit.footprint import Work
from ddmkit.memory import memory_guard
from ddmkit.thrift import ways_of
from ddmkit_plugins.engines.distributed.channel import Form, Pending
from ddmkit_plugins.engines.distributed.engines import replica_engine
from ddmkit_plugins.engines.distributed.share import Share, one_voxel, one_voxel_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit import Batch
    from ddmkit.stages import State
    from ddmkit_plugins.engines.distributed.share import Opening, Step
    from ddmkit_plugins.engines.distributed.world import World


class Replica(Share):
    """One of the rows, which is one process."""

    def __init__(self, world: World, opening: Opening) -> None:
        super().__init__(world, opening)
        self._agreed: dict[tuple[int, ...], str | None] = {}
        self._shared_weights = opening.training is not None and opening.settings.zero == 3  # noqa: PLR2004 - ZeRO 3
        if opening.training is not None:
            self._learning = replica_engine(self._calculated, self._bare, opening)

    @override
    def _learn(self, step: Step, own: Sequence[Batch | None] | None) -> float:
        assert self._learning is not None  # noqa: S101 - as the caller made sure
        engine, total = self._learning.engine, 0.0
        for number, dealt in enumerate(step.rounds):
            given, batch = dealt[self.row], None if own is None else own[number]
            largest = max((one.inputs for one in dealt if one is not None), key=math.prod)
            way = self._agreed_way(largest)
            if given is None:
                self._keep_step(step, one_voxel_of(dealt), way)
                continue
            inputs, times = self._inputs(given, batch)
            (output,) = engine((inputs, self._marked(times)), way)
            share, value = self._part_of_loss(step, output, self._target(given, batch))
            total += value
            engine.backward(share, scale_wrt_gas=False)
        engine.step()
        return total

    def _agreed_way(self, shape: tuple[int, ...]) -> str | None:
        """Return the leanest of the ways that processes would go with the largest inputs of a round.

        ZeRO adds gradients up as they come, which is in another order on another way.
        """
        if shape not in self._agreed:
            names = ways_of(self._calculated.network, Work(shape, self._precision, training=True), self.device)
            mine = names.index(self.way(shape, training=True))
            self._agreed[shape] = names[int(max(given[0] for given in self._world.collect([mine])))]
        return self._agreed[shape]

    def _keep_step(self, step: Step, shape: tuple[int, ...], way: str | None) -> None:
        """Do as if there were an example, where other rows have one: all must exchange gradients as often."""
        assert self._learning is not None  # noqa: S101 - as the caller made sure
        inputs, times = one_voxel(shape, self.device)
        (output,) = self._learning.engine((inputs, self._marked(times)), way)
        self._learning.engine.backward(step.loss(output, torch.zeros_like(output)) * 0, scale_wrt_gas=False)

    def _marked(self, times: Tensor) -> Tensor:
        """Return times as if they were learned: ZeRO 3 fetches weights for a way back that reaches an input."""
        return times.requires_grad_(self._shared_weights)

    @override
    def needs_others(self, members: Sequence[int]) -> bool:
        return self._shared_weights or any(members[1:])

    @override
    @torch.no_grad()
    def predict(self, members: Sequence[int], shape: tuple[int, ...], own: State | None = None) -> Tensor | None:
        pending = Pending()
        inputs, times = self._dealt(members, shape, own, pending)
        mine = tuple(inputs.shape)
        with memory_guard(self.device, partial(self._thrift.advice, mine, training=False)):
            answer = self._evaluated((inputs, times), mine) if len(inputs) else None
            if answer is None and self._shared_weights:  # which the others ask this process for
                self._evaluated(one_voxel((1, shape[0], 1, 1, 1), self.device), (1, shape[0], 1, 1, 1))
        if own is None:
            if answer is not None:
                self._data.send(answer, 0, pending)
            pending.wait()
            self._agree_on_the_end()
            return None
        assert answer is not None  # noqa: S101 - the first row has the first member
        answers = [answer]
        for row, count in enumerate(members[1:], start=1):
            if count:
                answers.append(self._data.receive(Form((count, *answer.shape[1:])), row).to(self.device))
        pending.wait()
        self._agree_on_the_end()
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _agree_on_the_end(self) -> None:
        """Make sure that all have fetched each other's weights: NCCL that was aborted hands out garbage in silence."""
        if self._shared_weights:
            self._world.collect([])

    def _dealt(self, members: Sequence[int], shape: tuple[int, ...], own: State | None, pending: Pending) -> State:
        """Return inputs and times of this row's members, on the device; the first process sends the others theirs."""
        if own is None:
            forms = Form((members[self.row], *shape)), Form((members[self.row],))
            if members[self.row] == 0:
                return tuple(form.empty(self.device) for form in forms)
            return tuple(self._data.receive(form, 0).to(self.device) for form in forms)
        pieces = list(zip(*(torch.split(part, list(members)) for part in own), strict=True))
        for row, piece in enumerate(pieces[1:], start=1):
            for part in piece if members[row] else ():
                self._data.send(part, row, pending)
        return pieces[0]

    def _evaluated(self, state: State, shape: tuple[int, ...]) -> Tensor:
        way = self.way(shape, training=False)
        if self._learning is None:
            after: State = self._calculated.eval()(state, way)
        else:
            with self._learning.answering() as network:
                after = (network if self._shared_weights else self._calculating(network))(state, way)
        return after[0].float()
