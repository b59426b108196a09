"""Whole volumes answered: noise to members, members to mean, variance and labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch.nn import functional

from ddmkit.checked import (
    Outputs,
    checked_alphas_bar,
    checked_condition,
    checked_encoding,
    checked_readout,
    checked_sample,
    fault,
)
from ddmkit.combination import Combination
from ddmkit.errors import DivergedError, PluginError
from ddmkit.memory import memory_guard
from ddmkit.randomness import normal
from ddmkit.settling import Settling
from ddmkit.task import label_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ddmkit.configuration import Configuration
    from ddmkit.engine import Session
    from ddmkit.sampler import Denoise, Draw, Sampler
    from ddmkit.stored_case import StoredCase
    from ddmkit.task import Example
    from ddmkit.window import Shape


SAMPLED = 4
"""Tensors of x_0's size that a sampler holds while it waits for the network: x_T, x_t, the last x_0 and eps."""


class Model(NamedTuple):
    """A network at work and what it was made for."""

    configuration: Configuration
    session: Session


class Answer(NamedTuple):
    """What an ensemble says of one case, on the case's own grid."""

    labels: np.ndarray
    """(X, Y, Z), uint8: 0 is background, i + 1 is class i of `LabelTask.answers`."""
    mean: np.ndarray
    """(C, X, Y, Z), float32: the mean read-out."""
    variance: np.ndarray
    """(C, X, Y, Z), float32: population variance over the members, 0 for a single one."""
    members: int
    """That it took."""
    settled: bool
    """Whether more members had ceased to change the labels; True where their number was given."""


def answer_case(  # noqa: PLR0913 - each argument is part of the key or of the work
    model: Model,
    case: StoredCase,
    *,
    ensemble: int | Literal["auto"],
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
    keep: Callable[[int, np.ndarray], None] = lambda *_: None,
) -> Answer:
    """Sample a whole volume several times and return mean, variance and labels.

    Args:
        model: the network, trained for a `LabelTask`; its configuration's sampler and `sampling` section are used.
        case: a case of the store.
        ensemble: number of members; "auto": as many as change the labels, which is decided member by member, so that
            the answer is that of an ensemble of the number that it took.
        seed: starting noise of member m of this case comes from (seed, case, m) alone, so any batching of the
            members and any order of the cases gives the same answer.
        progress: called with (calls of the network done, calls there will be at most) as far as the sampler's steps
            tell.
        keep: called with each member's number, from 0, and read-out, (C, X, Y, Z), before it is let go.
    """
    configuration = model.configuration
    sampling, task = configuration.sampling, label_task(configuration.task)
    combination, settling = Combination(task, sampling.combine), Settling(sampling.tolerance)
    most = sampling.most if ensemble == "auto" else ensemble
    counted, settled = _Counted(progress), ensemble != "auto"
    labels: Tensor | None = None
    for number, member in enumerate(_members(model, case, most, seed, counted)):
        combination.add(member)
        keep(number, member.numpy())
        if ensemble == "auto":
            labels = combination.labels()
            if settled := settling.settled(labels):
                break
    counted.end()
    mean, variance = combination.mean().numpy(), combination.variance().numpy()
    labels = combination.labels() if labels is None else labels
    return Answer(labels.numpy(), mean, variance, combination.members, settled)


def sample_case(
    model: Model,
    case: StoredCase,
    *,
    members: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[NDArray[np.float32]]:
    """Sample a whole volume several times and yield each read-out, (C, X, Y, Z) on the case's own grid.

    Args:
        model: the network; its configuration's sampler and `sampling` section are used.
        case: a case of the store.
        members: how many samples.
        seed: of the starting noise, as for `answer_case`.
        progress: called with (calls of the network done, calls there will be).
    """
    counted = _Counted(progress)
    for member in _members(model, case, members, seed, counted):
        yield member.numpy()
    counted.end()


def _members(model: Model, case: StoredCase, most: int, seed: int, counted: _Counted) -> Iterator[Tensor]:
    """Yield read-outs, (C, X, Y, Z) on the case's own grid, one by one however many are sampled at once."""
    configuration = model.configuration
    window = case.whole(configuration.patch.factor)
    at_once = members_at_once(model, window.shape, most)
    inputs = given_inputs(model, case.read(window, configuration.task.condition_modalities), at_once)
    counted.calls = math.ceil(most / at_once) * configuration.sampler.evaluations
    for first in range(0, most, at_once):
        members = range(first, min(first + at_once, most))
        x0 = sample_members(model, inputs[: len(members)], case.name, members, seed=seed, progress=counted.tell)
        yield from _own_grid(checked_readout(configuration.task, x0), case, configuration.patch.factor)


def members_at_once(model: Model, shape: Shape, most: int) -> int:
    """Return how many members are sampled in one batch.

    Args:
        model: the network; its configuration's `sampling.members_at_once` decides.
        shape: of what the network sees.
        most: how many there are.
    """
    configuration, session = model
    asked = configuration.sampling.members_at_once
    if asked != "auto":
        return min(most, asked)
    beside = configuration.in_channels + SAMPLED * configuration.out_channels
    return session.members_at_once((configuration.in_channels, *shape), most, 4 * beside * math.prod(shape))


def condition(configuration: Configuration, example: Example) -> Tensor:
    """Return what the network is given beside x_t: condition, then encoding; (C, *window.shape), float32."""
    return torch.cat(
        [checked_condition(configuration.task, example), checked_encoding(configuration.encoding, example.window)]
    )


def given_inputs(model: Model, example: Example, members: int) -> Tensor:
    """Return the network's inputs for several members of a case, all but x_t.

    Returns:
        Shape (members, in_channels, *window.shape), float32, on the session's device; the last channels are not set.
    """
    configuration, session = model
    shape = (members, configuration.in_channels, *example.window.shape)
    inputs = torch.empty(shape, device=session.device)
    conditions = configuration.task.condition_channels
    inputs[:, :conditions] = checked_condition(configuration.task, example).to(session.device)
    places = checked_encoding(configuration.encoding, example.window)
    inputs[:, conditions : -configuration.out_channels] = places.to(session.device)
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

    alphas_bar = checked_alphas_bar(configuration.schedule)
    with memory_guard(session.device, "type -o sampling.members_at_once=1"):
        denoise = _Watched(denoiser(model, inputs, alphas_bar, progress), session.device)
        draw: Draw = lambda step: noise("sampler", step)  # noqa: E731 - named for its type
        x0 = checked_sample(configuration.sampler, denoise, noise("start"), alphas_bar, draw)
        finite = bool(x0.isfinite().all())
    if not finite:
        raise denoise.diverged(case) or _not_finite(configuration.sampler)
    return x0


def rehearse(configuration: Configuration, device: torch.device) -> None:
    """Let the sampler go its way once, over a few voxels and without a network: its own mistakes cost no training.

    Args:
        configuration: whose sampler, and whose schedule, are to be used.
        device: where samples will be drawn.

    Raises:
        PluginError: the sampler, or the schedule, answers with something else than it promised.
    """
    shape = (2, configuration.out_channels, 4, 3, 2)

    def noise(*key: str | int) -> Tensor:
        return normal(shape, configuration.seed, "rehearsal", *key).to(device)

    alphas_bar = checked_alphas_bar(configuration.schedule)
    x0 = checked_sample(configuration.sampler, lambda noisy, _: noisy / 2, noise(), alphas_bar, noise)
    if not x0.isfinite().all():
        raise _not_finite(configuration.sampler)


def denoiser(model: Model, inputs: Tensor, alphas_bar: Tensor, progress: Callable[[], None] = lambda: None) -> Denoise:
    """Return the one function that samplers see: x_t and t to a clipped estimate of x_0.

    Condition and encoding stand in the network's inputs once for all calls, each of which only copies x_t in.
    """
    configuration, session = model
    task, diffusion = configuration.task, configuration.diffusion
    members, given = len(inputs), inputs.shape[1] - configuration.out_channels
    outputs = Outputs.of(configuration.backbone)

    def denoise(noisy: Tensor, t: int) -> Tensor:
        inputs[:, given:] = noisy
        times = torch.full((members,), float(t), device=session.device)
        output = session.predict(inputs, times)
        outputs.check(output, noisy.shape)
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


def _not_finite(sampler: Sampler) -> PluginError:
    return fault(sampler, "answers sample() with numbers that are not finite")


class _Watched:
    """A `denoise` that notes, on its device and so without waiting for it, whether it spoils what is finite."""

    def __init__(self, denoise: Denoise, device: torch.device) -> None:
        self._denoise = denoise
        self._spoils = torch.zeros((), dtype=torch.bool, device=device)

    def __call__(self, noisy: Tensor, t: int) -> Tensor:
        estimate = self._denoise(noisy, t)
        self._spoils |= noisy.isfinite().all() & ~estimate.isfinite().all()
        return estimate

    def diverged(self, case: str) -> DivergedError | None:
        """Return the error of a network that spoilt a sample of a case; None where it did not."""
        if not self._spoils:
            return None
        return DivergedError(
            f"Sampling {case}, the network answers with numbers that are not finite: the weights of this checkpoint "
            "are spoilt, and those of an earlier one may not be (ddmkit sample --checkpoint STEP)."
        )


class _Counted:
    """Tells of calls of the network, which end before the last that there might have been if no more are needed."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self._done = 0
        self.calls = 0
        """That there will be at most."""

    def tell(self) -> None:
        self._done += 1
        self.calls = max(self.calls, self._done)
        self._progress(self._done, self.calls)

    def end(self) -> None:
        if self._done < self.calls:
            self._progress(self._done, self._done)
