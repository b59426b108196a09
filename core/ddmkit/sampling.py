"""Whole volumes answered: noise to members, members to mean and variance, mean to an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from ddmkit.ensemble import Ensemble
from ddmkit.memory import memory_guard
from ddmkit.randomness import normal

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Tensor

    from ddmkit.configuration import Configuration
    from ddmkit.engine import Session
    from ddmkit.sampler import Denoise, Draw
    from ddmkit.stored_case import StoredCase
    from ddmkit.task import Example
    from ddmkit.window import Shape


class Model(NamedTuple):
    """A network at work and what it was made for."""

    configuration: Configuration
    session: Session


class Answer(NamedTuple):
    """What an ensemble says of one case, on the case's own grid."""

    labels: np.ndarray
    """(X, Y, Z), uint8: 0 is background, i + 1 is class i of `Task.answers`."""
    mean: np.ndarray
    """(C, X, Y, Z), float32: the mean read-out."""
    variance: np.ndarray
    """(C, X, Y, Z), float32: population variance over the members, 0 for a single one."""


def answer_case(
    model: Model,
    case: StoredCase,
    *,
    ensemble: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Answer:
    """Sample a whole volume several times and return mean, variance and answer.

    Args:
        model: the network; its configuration's sampler and `sampling` section are used.
        case: a case of the store.
        ensemble: number of members.
        seed: starting noise of member m of this case comes from (seed, case, m) alone, so any batching of the
            members and any order of the cases gives the same answer.
        progress: called with (calls of the network done, calls there will be) as far as the sampler's steps tell.
    """
    configuration = model.configuration
    task, factor = configuration.task, configuration.patch.factor
    at_once = min(ensemble, configuration.sampling.members_at_once)
    inputs = given_inputs(model, case.read(case.whole(factor)), at_once)
    calls = -(-ensemble // at_once) * configuration.sampler.evaluations
    tell = _counted(progress, calls)
    gathered = Ensemble()
    for first in range(0, ensemble, at_once):
        members = range(first, min(first + at_once, ensemble))
        x0 = sample_members(model, inputs[: len(members)], case.name, members, seed=seed, progress=tell)
        gathered.add(_own_grid(task.readout(x0), case, factor))
    mean = gathered.mean()
    return Answer(task.answer(mean).numpy(), mean.numpy(), gathered.variance().numpy())


def condition(configuration: Configuration, example: Example) -> Tensor:
    """Return what the network is given beside x_t: condition, then encoding; (C, *window.shape), float32."""
    return torch.cat([configuration.task.condition(example), configuration.encoding.encode(example.window)])


def given_inputs(model: Model, example: Example, members: int) -> Tensor:
    """Return the network's inputs for several members of a case, all but x_t.

    Returns:
        Shape (members, in_channels, *window.shape), float32, on the session's device; the last channels are not set.
    """
    configuration, session = model
    shape = (members, configuration.in_channels, *example.window.shape)
    inputs = torch.empty(shape, device=session.device)
    conditions = configuration.task.condition_channels
    inputs[:, :conditions] = configuration.task.condition(example).to(session.device)
    inputs[:, conditions : -configuration.out_channels] = configuration.encoding.encode(example.window).to(
        session.device
    )
    return inputs


def sample_members(  # noqa: PLR0913 - each argument is part of the key or of the work
    model: Model,
    inputs: Tensor,
    case: str,
    members: range,
    *,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> Tensor:
    """Sample several members in one batch.

    Args:
        model: the network, and the sampler to use.
        inputs: from `given_inputs`, of as many members; x_t is written into it.
        case: name of the case, part of the noise's key.
        members: which members of the ensemble.
        seed: seed of the noise.
        progress: called after each call of the network.

    Returns:
        x_0 of each member, shape (len(members), x0_channels, X, Y, Z), float32, on the session's device.
    """
    configuration, session = model
    shape = (configuration.out_channels, *inputs.shape[2:])

    def noise(*key: str | int) -> Tensor:
        return torch.stack([normal(shape, seed, *key, case, member) for member in members]).to(session.device)

    alphas_bar = configuration.schedule.alphas_bar()
    with memory_guard(session.device, "type -o sampling.members_at_once=1"):
        denoise = denoiser(model, inputs, alphas_bar, progress)
        draw: Draw = lambda step: noise("sampler", step)  # noqa: E731 - named for its type
        return configuration.sampler.sample(denoise, noise("start"), alphas_bar, draw)


def denoiser(model: Model, inputs: Tensor, alphas_bar: Tensor, progress: Callable[[], None] = lambda: None) -> Denoise:
    """Return the one function that samplers see: x_t and t to a clipped estimate of x_0.

    Condition and encoding stand in the network's inputs once for all calls, each of which only copies x_t in.
    """
    configuration, session = model
    task, diffusion = configuration.task, configuration.diffusion
    members, given = len(inputs), inputs.shape[1] - configuration.out_channels

    def denoise(noisy: Tensor, t: int) -> Tensor:
        inputs[:, given:] = noisy
        times = torch.full((members,), float(t), device=session.device)
        output = session.predict(inputs, times)
        progress()
        estimate = diffusion.estimate(output, noisy, alphas_bar[t].expand(members))
        return estimate if task.clip is None else estimate.clamp(*task.clip)

    return denoise


def enlarge(coarse: Tensor, factor: int, shape: Shape) -> Tensor:
    """Interpolate (N, C, x, y, z) by an integer factor to (N, C, *shape).

    Coarse voxel i lies where nearest subsampling took it from, at voxel factor * i; between them it is linear,
    behind the last it stays.
    """
    if factor == 1:
        return coarse
    between = [factor * (side - 1) + 1 for side in coarse.shape[2:]]
    fine = functional.interpolate(coarse, between, mode="trilinear", align_corners=True)
    fine = functional.pad(fine, [0, factor - 1] * 3, mode="replicate")
    x, y, z = shape
    return fine[..., :x, :y, :z]


def _own_grid(readout: Tensor, case: StoredCase, factor: int) -> Tensor:
    """Take read-outs (N, C, …) to the case's own grid, on the CPU."""
    fine = enlarge(readout.float().cpu(), factor, case.region.size)
    return torch.from_numpy(case.leave(fine.numpy()))


def _counted(progress: Callable[[int, int], None] | None, calls: int) -> Callable[[], None]:
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, max(calls, done))

    return tell
