"""What a sampler owes, and distributions for which the right answer is known."""

from __future__ import annotations

from math import log, log2, sqrt
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from ddmkit.randomness import normal
from ddmkit.testing.promises import changed, in_a_sentence, misplaced, require

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.sampler import Denoise, Draw, Sampler


class Known(Protocol):
    """A distribution of x_0 whose diffusion is known."""

    def denoise(self, alphas_bar: Tensor) -> Denoise:
        """Return the best estimate of x_0 there is, E[x_0 | x_t], as a sampler calls it."""
        ...

    def flow(self, x: Tensor, alpha_bar: float) -> Tensor:
        """Return where the probability-flow ODE (Song et al. 2021) takes x_t."""
        ...


class Gaussian(NamedTuple):
    """Voxels that are independent and normal: the one x_0 whose diffusion is known in closed form."""

    mean: float = 0.4
    deviation: float = 0.5

    def denoise(self, alphas_bar: Tensor) -> Denoise:
        """Return the best estimate of x_0 there is, E[x_0 | x_t], as a sampler calls it."""

        def expected(x: Tensor, t: int) -> Tensor:
            level = float(alphas_bar[t])
            gain = self.deviation**2 * sqrt(level) / self.variance(level)
            return self.mean + gain * (x - sqrt(level) * self.mean)

        return expected

    def flow(self, x: Tensor, alpha_bar: float) -> Tensor:
        """Return where the probability-flow ODE (Song et al. 2021) takes x_t: the x_0 at its own quantile."""
        return self.mean + self.deviation * self.away(x, alpha_bar)

    def away(self, x: Tensor, alpha_bar: float) -> Tensor:
        """Return how many deviations x_t lies from its mean."""
        return (x - sqrt(alpha_bar) * self.mean) / sqrt(self.variance(alpha_bar))

    def variance(self, alpha_bar: float) -> float:
        """Return that of x_t."""
        return alpha_bar * self.deviation**2 + 1 - alpha_bar


class Mixture(NamedTuple):
    """Voxels that are independent, each of one of several normal kinds: what a segmentation looks like, softened."""

    weights: tuple[float, ...] = (0.3, 0.7)
    kinds: tuple[Gaussian, ...] = (Gaussian(1.0, 0.4), Gaussian(-1.0, 0.3))

    def denoise(self, alphas_bar: Tensor) -> Denoise:
        """Return the best estimate of x_0 there is: that of each kind, weighted by how likely x_t is of it."""

        def expected(x: Tensor, t: int) -> Tensor:
            level = float(alphas_bar[t])
            chances = [
                log(weight / sqrt(kind.variance(level))) - kind.away(x, level).square() / 2
                for weight, kind in zip(self.weights, self.kinds, strict=True)
            ]
            estimates = [kind.denoise(alphas_bar)(x, t) for kind in self.kinds]
            return (torch.stack(chances).softmax(0) * torch.stack(estimates)).sum(0)

        return expected

    def flow(self, x: Tensor, alpha_bar: float) -> Tensor:
        """Return where the probability-flow ODE (Song et al. 2021) takes x_t: the x_0 at its own quantile.

        A flow along a line keeps its order, so that each point keeps its share of the distribution below it.
        """
        below = self._share_below(x.double(), alpha_bar)
        furthest = max(abs(kind.mean) + 10 * kind.deviation for kind in self.kinds)
        low, high = torch.full_like(below, -furthest), torch.full_like(below, furthest)
        for _ in range(60):  # halvings, after which float64 knows nothing in between
            middle = (low + high) / 2
            under = self._share_below(middle, 1.0) < below
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return low

    def _share_below(self, x: Tensor, alpha_bar: float) -> Tensor:
        """Return the distribution function of x_t."""
        shares = [
            weight * torch.special.ndtr(kind.away(x, alpha_bar))
            for weight, kind in zip(self.weights, self.kinds, strict=True)
        ]
        return torch.stack(shares).sum(0)


def order_of(sampler: Sampler, truth: Known | None = None) -> float:
    """Measure a sampler's order of convergence: how many times twice the steps halve its distance from the exact flow.

    Measured on a schedule of 10,000 times whose noise over signal grows as the square of t, from 0 to 10, so that a
    last step to t = 0, which is of first order in all samplers, is of no account.

    Args:
        sampler: one that needs no fresh noise, which is given none.
        truth: of x_0; a `Gaussian` if left out.
    """
    alphas_bar = 1 / (1 + (10 * torch.linspace(0, 1, 10_001, dtype=torch.float64).square()).square())
    known = Gaussian() if truth is None else truth
    noise = normal((1, 1, 8, 8, 8), 0, "start")
    zero, exact = torch.zeros_like(noise), known.flow(noise.double(), float(alphas_bar[-1]))
    misses = [
        changed(sampler, steps=steps).sample(known.denoise(alphas_bar), noise, alphas_bar, lambda _: zero) - exact
        for steps in _FEW_AND_MANY
    ]
    few, many = (float(miss.square().mean().sqrt()) for miss in misses)
    return log2(few / many) / log2(_FEW_AND_MANY[1] / _FEW_AND_MANY[0])


_FEW_AND_MANY = (80, 160)
"""Steps between which a sampler's order is measured."""


@in_a_sentence
def check_sampler(sampler: Sampler) -> None:
    """Check that a sampler is a function of its arguments, arrives at x_0, and draws from the right distribution.

    It must do so over schedules of different lengths, calculate where the noise lies, leave what it is given as it is,
    and ask as often as `evaluations` says. One that needs no fresh noise must also come nearer to the exact flow as
    fast as its order says: the order that `order_of` measures may lie 0.25 below.

    Raises:
        AssertionError: it breaks a promise.
    """
    for alphas_bar in (_USUAL, _OTHER):
        fitting = changed(sampler, steps=min(sampler.steps, len(alphas_bar) - 1))
        _check_purity(fitting, alphas_bar)
        _check_arrival(fitting, alphas_bar)
        if alphas_bar is _USUAL:  # in few steps of another one not every time is near to where a step should end
            _check_convergence(sampler, alphas_bar)
        _check_distribution(sampler, alphas_bar)
    _check_order(sampler)
    _check_evaluations(sampler)


_BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
_USUAL = torch.cat([torch.ones(1, dtype=torch.float64), (1 - _BETAS).cumprod(0)])
"""The usual noise."""
_OTHER = 0.985 ** torch.arange(601, dtype=torch.float64)
"""Another schedule, which a sampler with noise levels of its own knows nothing of."""


def _check_purity(sampler: Sampler, alphas_bar: Tensor) -> None:
    title = type(sampler).__qualname__
    noise = normal((2, 1, 3, 5, 4), 0, "start")
    kept, levels = noise.clone(), alphas_bar.clone()
    denoise = _asked(title, Gaussian().denoise(alphas_bar), noise, len(alphas_bar) - 1)
    sample = sampler.sample(denoise, noise, levels, _fresh(noise, 0))
    require(torch.equal(noise, kept), f"{title} writes into the noise it is given.")
    require(torch.equal(levels, alphas_bar), f"{title} writes into the alphas_bar it is given.")
    require(sample.shape == noise.shape, f"{title} turns shape {tuple(noise.shape)} into {tuple(sample.shape)}.")
    require(sample.dtype == torch.float32, f"{title} returns {sample.dtype}, not float32.")
    require(sample.isfinite().all(), f"{title} returns numbers that are not finite.")
    again = sampler.sample(denoise, noise, levels, _fresh(noise, 0))
    require(torch.equal(sample, again), f"{title} gives two samples for the same arguments.")
    alone = sampler.sample(denoise, noise[:1], levels, lambda number: _fresh(noise, 0)(number)[:1])
    require(torch.allclose(alone, sample[:1], atol=1e-5), f"{title} mixes the members of a batch.")
    fault = misplaced(lambda x: sampler.sample(lambda x_t, _: x_t / 2, x, levels, _fresh(x, 0)), noise)
    require(not fault, f"{title}, {fault}; make its tensors where the noise is.")


def _asked(title: str, best: Denoise, noise: Tensor, last: int) -> Denoise:
    """Return `best`, which sees to it that it is asked as the network may be, at times up to the last."""

    def denoise(x: Tensor, t: int) -> Tensor:
        require(t in range(1, last + 1), f"{title} asks for t = {t!r}, not for a whole number from 1 to T = {last}.")
        require(x.shape[1:] == noise.shape[1:], f"{title} asks about shape {tuple(x.shape)}.")
        require(x.dtype == torch.float32, f"{title} hands x_t over as {x.dtype}, not as float32.")
        return best(x, t)

    return denoise


def _check_arrival(sampler: Sampler, alphas_bar: Tensor) -> None:
    title, tolerance = type(sampler).__qualname__, 1e-3
    noise, x0 = normal((1, 1, 4, 4, 4), 0, "start"), normal((1, 1, 4, 4, 4), 0, "known")
    sample = sampler.sample(lambda _x, _t: x0.clone(), noise, alphas_bar, _fresh(noise, 0))
    miss = float((sample - x0).abs().max())
    require(miss < tolerance, f"{title}, told x_0, misses it by {miss:.2g}; does its last step end at alpha-bar 1?")


def _check_distribution(sampler: Sampler, alphas_bar: Tensor) -> None:
    """In T steps, without fresh noise samples follow the probability flow; with it, their moments are x_0's."""
    title, truth, last = type(sampler).__qualname__, Gaussian(), len(alphas_bar) - 1
    allowed, noise = truth.deviation / 10, normal((1, 1, 16, 16, 16), 0, "start")
    told = f"in T = {last} steps, where {allowed:.2g} is allowed; does it go by the alphas_bar it is given?"
    if _draws(sampler, alphas_bar):
        sample = changed(sampler, steps=last).sample(truth.denoise(alphas_bar), noise, alphas_bar, _fresh(noise, 0))
        misses = abs(float(sample.mean()) - truth.mean), abs(float(sample.std()) - truth.deviation)
        off = f"{title}'s mean and deviation are off by {misses[0]:.2g} and {misses[1]:.2g}"
        require(max(misses) < allowed, f"{off} {told}")
    else:
        miss = _miss(changed(sampler, steps=last), alphas_bar)
        require(miss < allowed, f"{title} is {miss:.2g} from the exact flow {told}")


def _check_convergence(sampler: Sampler, alphas_bar: Tensor) -> None:
    """Check that more steps come nearer to the exact flow, of a sampler without fresh noise."""
    if _draws(sampler, alphas_bar):
        return
    title = type(sampler).__qualname__
    coarse, fine = (_miss(changed(sampler, steps=steps), alphas_bar) for steps in (20, 200))
    allowed = min(Gaussian().deviation / 10, max(coarse / 4, 1e-3))
    told = f"{title} is {coarse:.2g} from the exact flow in 20 steps and still {fine:.2g} in 200"
    require(fine < allowed, f"{told}, where {allowed:.2g} is allowed.")


def _check_order(sampler: Sampler) -> None:
    if _draws(sampler, _USUAL):
        return
    measured, least = order_of(sampler), sampler.order - _ORDER_TOLERANCE
    few, many = _FEW_AND_MANY
    told = f"{type(sampler).__qualname__} is of order {measured:.1f}, not {sampler.order} as it says"
    shrinks = f"its error falls by a factor of {2**measured:.2g} from {few} steps to {many}, where {2**least:.2g} is"
    require(measured > least, f"{told}: {shrinks} the least for that order.")


_ORDER_TOLERANCE = 0.25
"""By which the order measured may lie below the one promised."""


def _miss(sampler: Sampler, alphas_bar: Tensor) -> float:
    """Return how far from the exact flow samples are, as the root of the mean square."""
    truth, noise = Gaussian(), normal((1, 1, 16, 16, 16), 0, "start")
    sample = sampler.sample(truth.denoise(alphas_bar), noise, alphas_bar, _fresh(noise, 0))
    return float((sample - truth.flow(noise, float(alphas_bar[-1]))).square().mean().sqrt())


def _draws(sampler: Sampler, alphas_bar: Tensor) -> bool:
    """Tell whether a sampler needs fresh noise."""
    noise, denoise = normal((1, 1, 4, 4, 4), 0, "start"), Gaussian().denoise(alphas_bar)
    samples = [changed(sampler, steps=20).sample(denoise, noise, alphas_bar, _fresh(noise, seed)) for seed in (0, 1)]
    return not torch.equal(*samples)


def _check_evaluations(sampler: Sampler) -> None:
    """Check that the network is asked as often as is said, which progress and forecasts of time go by."""
    title, noise, asked = type(sampler).__qualname__, normal((1, 1, 2, 2, 2), 0, "start"), list[int]()

    def denoise(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return x / 2

    for steps, timesteps in ((1, 1), (1, 600), (5, 5), (5, 600)):
        asked.clear()
        stepping, levels = changed(sampler, steps=steps), _OTHER[: timesteps + 1]
        stepping.sample(_asked(title, denoise, noise, timesteps), noise, levels, _fresh(noise, 0))
        said, where = stepping.evaluations, f"in {steps} steps over T = {timesteps}"
        require(
            len(asked) == said, f"{title} asks {len(asked)} times {where}, not {said} times as its evaluations say."
        )


def _fresh(noise: Tensor, seed: int) -> Draw:
    return lambda number: normal(tuple(noise.shape), seed, "fresh", number).to(noise.device)
