"""Stages: a network that is cut answers and learns as a whole one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import pytest
import torch
from tests.core.chains import Chain, knotted, winding
from torch import Tensor

from ddmkit.footprint import Work
from ddmkit.randomness import normal
from ddmkit.stages import Entrance, Stage, State, layers_of, leave

META = torch.device("meta")
X, T = normal((2, 3, 2, 3, 4), 0, "x").double(), torch.tensor([0.3, 0.8]).double()
NOISE = normal((2, 1, 2, 3, 4), 0, "noise").double()
CUTS = [cuts for stages in (2, 3) for cuts in combinations(range(1, 4), stages - 1)]


def learned_whole(network: Chain) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a network answers, and the gradients in its weights."""
    answer: Tensor = network(X, T)
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad((answer * NOISE).sum(), list(weights.values()), materialize_grads=True)
    return answer, dict(zip(weights, gradients, strict=True))


def learned_in(network: Chain, stages: Sequence[Callable[[State], State]]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the same of a network that is gone through stage by stage, the state handed over as a copy."""
    network.zero_grad()
    entrances = [Entrance() for _ in stages]
    ends: list[Tensor] = []
    state: State = (X, T)
    for number, stage in enumerate(stages):
        if number > 0:
            ends.append(leave(state, fetching(entrances[number], state)))
            state = tuple(entrances[number]([tensor.detach().clone() for tensor in state]))
        state = stage(state)
    answer = state[0]
    for end in [(answer * NOISE).sum(), *reversed(ends)]:
        backward(end)
    return answer, {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in network.named_parameters()
    }


def fetching(entrance: Entrance, state: State) -> Callable[[int], Tensor]:
    """Return what fetches gradients from where the state went: zeros for what nothing used there.

    A second time for the same tensor it fails.
    """
    zeros = {index: torch.zeros_like(tensor) for index, tensor in enumerate(state)}

    def fetch(index: int) -> Tensor:
        return entrance.gradients.pop(index, zeros.pop(index))

    return fetch


def assert_same(found: tuple[Tensor, dict[str, Tensor]], expected: tuple[Tensor, dict[str, Tensor]]) -> None:
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


def backward(end: Tensor) -> None:
    end.backward()  # type: ignore[no-untyped-call]  # torch leaves it so


@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_gradients_through_stages_are_those_of_the_whole_network(cuts: tuple[int, ...]) -> None:
    network = knotted()
    parts = [network.part(layers) for layers in layers_of(cuts, network.depth())]
    expected = learned_whole(network)
    assert_same(learned_in(network, parts), expected)
    assert all(gradient.any() for name, gradient in expected[1].items() if "spare" not in name)


def test_what_nothing_used_has_no_gradient_where_it_came_in() -> None:
    network, entrance = knotted(), Entrance()
    (answer,) = network.part(range(2, 4))(entrance(tuple(torch.ones(2, 2, 1, 1, 1).double() for _ in range(4))))
    assert entrance.gradients == {}
    backward(answer.sum())
    assert sorted(entrance.gradients) == [0, 2, 3]


def learned() -> Tensor:
    return torch.zeros(2, requires_grad=True)


def once_learned(weight: Tensor, then: Callable[[], None]) -> None:
    """Do something as soon as a weight has its gradient."""
    weight.register_post_accumulate_grad_hook(lambda _: then())  # type: ignore[no-untyped-call]  # torch leaves it so


class Ladder:
    """Tensors each made of the one before, and what happens on the way back, in order."""

    def __init__(self, rungs: int) -> None:
        self.happened: list[str] = []
        self.tensors: list[Tensor] = []
        h = torch.zeros(2)
        for rung in range(rungs):
            weight = learned()
            once_learned(weight, partial(self.happened.append, f"gone back past {rung}"))
            h = h + weight
            self.tensors.append(h)

    def fetch(self, index: int) -> Tensor:
        self.happened.append(f"fetched {index}")
        return torch.ones(2)


def test_a_gradient_is_fetched_once_and_not_before_the_way_back_needs_it() -> None:
    ladder = Ladder(3)
    end = leave(tuple(ladder.tensors), ladder.fetch)
    assert ladder.happened == []
    backward(end)
    assert ladder.happened == [
        *("fetched 2", "gone back past 2"),
        *("fetched 1", "gone back past 1"),
        *("fetched 0", "gone back past 0"),
    ]


def test_what_no_other_tensor_depends_on_is_fetched_first_the_last_before_the_others() -> None:
    one, other = Ladder(2), Ladder(1)
    backward(leave((*one.tensors, *other.tensors), one.fetch))
    assert one.happened == ["fetched 2", "fetched 1", "gone back past 1", "fetched 0", "gone back past 0"]


def test_what_has_no_gradient_is_not_fetched() -> None:
    ladder = Ladder(1)
    backward(leave((torch.ones(2), *ladder.tensors), ladder.fetch))
    assert ladder.happened == ["fetched 1", "gone back past 0"]


def test_a_tensor_that_is_handed_over_twice_gets_both_gradients() -> None:
    weight = learned()
    h = weight * 3
    backward(leave((h, h), lambda index: torch.full((2,), 10.0**index)))
    assert weight.grad is not None
    assert weight.grad.tolist() == [33, 33]


def test_nothing_is_fetched_for_a_state_without_gradients() -> None:
    ladder = Ladder(0)
    backward(leave((torch.ones(2), torch.ones(2)), ladder.fetch))
    assert ladder.happened == []


def memory(tensor: Tensor) -> Callable[[], object]:
    """Return a function that says None once the tensor's memory is free, whoever else had a view of it."""
    return weakref.ref(tensor.untyped_storage())


def test_leaving_keeps_nothing_of_the_state() -> None:
    ladder = Ladder(3)
    left: list[Callable[[], object]] = [weakref.ref(tensor) for tensor in ladder.tensors]
    left += [memory(tensor) for tensor in ladder.tensors]
    end = leave(tuple(ladder.tensors), ladder.fetch)
    ladder.tensors.clear()
    assert [kept() for kept in left] == [None] * 6
    backward(end)
    assert len(ladder.happened) == 6


def test_what_came_in_is_let_go_of_once_the_layers_have_done_with_it() -> None:
    came = [torch.ones(2), torch.full((2,), 2.0)]
    unneeded, needed = map(memory, came)
    entrance = Entrance()
    state = list(entrance(tuple(came)))
    came.clear()
    weight = learned()
    needed_then: list[bool] = []
    once_learned(weight, lambda: needed_then.append(needed() is not None))
    h = state.pop(0) + weight
    assert unneeded() is None
    answer = h * state.pop()
    assert needed() is not None
    backward(answer.sum())
    assert needed_then == [False]  # nobody waited for the end of the way back
    assert {index: gradient.tolist() for index, gradient in entrance.gradients.items()} == {0: [2, 2], 1: [1, 1]}


# Stages


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_stages_answer_and_learn_as_the_whole_network_does(cuts: tuple[int, ...], *, checkpointing: bool) -> None:
    network = knotted()
    stages = [Stage(network, layers, checkpointing=checkpointing) for layers in layers_of(cuts, network.depth())]
    expected = learned_whole(network)
    assert_same(learned_in(network, stages), expected)
    state: State = (X, T)
    with torch.no_grad():
        for stage in stages:
            state = stage(state)
    torch.testing.assert_close(state, (expected[0].detach(),))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_stage_has_the_networks_own_weights_each_once(*, checkpointing: bool) -> None:
    network = knotted()
    stage = Stage(network, range(1, 3), checkpointing=checkpointing)
    own = {name: weight for name, weight in network.named_parameters() if name.startswith(("layers.1", "layers.2"))}
    found = {name.removeprefix("part."): weight for name, weight in stage.named_parameters(remove_duplicate=False)}
    assert found.keys() == own.keys()
    assert all(found[name] is weight for name, weight in own.items())


def test_a_stage_goes_the_way_that_it_is_told() -> None:
    network = winding()
    stage = Stage(network, range(1, 3))
    state = network.part(range(1))((X, T))
    network.gone.clear()
    torch.testing.assert_close(stage(state, "slowly"), stage(state))
    assert network.gone == [(("1", "2"), "slowly"), (("1", "2"), "plain")]


def test_checkpointed_layers_are_gone_through_again_one_by_one_the_same_way() -> None:
    network = winding()
    stage = Stage(network, range(1, 3), checkpointing=True)
    state = network.part(range(1))((X, T))
    network.gone.clear()
    backward(stage(state, "slowly")[-1].sum())
    assert network.gone == [((layer,), "slowly") for layer in ("1", "2", "2", "1")]
    network.gone.clear()
    with torch.no_grad():
        stage(state, "slowly")
    assert network.gone == [(("1", "2"), "slowly")]


def test_the_ways_of_a_stage_are_those_of_its_layers() -> None:
    network, work = winding(), Work((1, 3, 2, 2, 2), torch.float32, training=True)
    assert Stage(network, range(1, 3)).ways(work, META) == ("plain", "there and back on meta")
    assert Stage(knotted(), range(1, 3)).ways(work, META) == (None,)
