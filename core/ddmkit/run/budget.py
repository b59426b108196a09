"""How the time that a case may take is spent: on sampler steps, on ensemble members."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from ddmkit.errors import ConfigurationError
from ddmkit.sampling import given_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ddmkit.sampler import Sampler
    from ddmkit.sampling import Model
    from ddmkit.stored_case import StoredCase

FEWEST, USUAL, STEPS = 5, 10, (10, 20, 50)
"""Sampler steps in a pinch, steps below which a sample suffers, and what is chosen from."""
ENOUGH = 15
"""Members of the paper's largest ensemble, whose Dice (0.899) is hardly above that of seven (0.897)."""
_NETWORK = 0.9
"""Share of the time that the network gets; the rest is for reading, combining and writing."""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


class Pick(NamedTuple):
    """What a budget is spent on."""

    steps: int
    """Of the sampler."""
    members: int


def seconds_of(budget: str) -> float:
    """Return a time such as "60s", "2m" or "1h30m" in seconds.

    Raises:
        ConfigurationError: it is none, or 0.
    """
    found = _DURATION.fullmatch(budget.strip())
    hours, minutes, seconds = (float(part or 0) for part in (found.groups() if found else ("", "", "")))
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        msg = f"--budget {budget} is no time for a case to take: type one such as --budget 90s, 2m or 1h30m."
        raise ConfigurationError(msg)
    return total


def pick(seconds: float, evaluation: float, sampler: Sampler, timesteps: int) -> Pick:
    """Return the steps and members that a case has time for.

    The most steps of 10, 20 and 50 with which 15 members fit; where they do not, as many members as fit with 10
    steps, since members add more to the answer than further steps do; where not even one fits, one with 5 steps.

    Args:
        seconds: that a case may take.
        evaluation: seconds of one evaluation of the network for one member.
        sampler: how often it evaluates the network is what its steps cost.
        timesteps: of the schedule: no sampler takes more steps.

    Raises:
        ConfigurationError: it is too little for a single member of the fewest steps; the message says what would do.
    """
    affordable = math.floor(_NETWORK * seconds / evaluation)

    def members(steps: int) -> int:
        return affordable // _with_steps(sampler, steps).evaluations

    usual, fewest = min(USUAL, timesteps), min(FEWEST, timesteps)
    plenty = [steps for steps in STEPS if steps <= timesteps and members(steps) >= ENOUGH]
    if plenty:
        return Pick(max(plenty), ENOUGH)
    if members(usual):
        return Pick(usual, min(ENOUGH, members(usual)))
    if members(fewest):
        return Pick(fewest, 1)
    needed = _with_steps(sampler, fewest).evaluations * evaluation / _NETWORK
    msg = (
        f"--budget {seconds:g}s is too little: one member of {fewest} steps takes about {needed:.2g} s here. Type "
        f"--budget {math.ceil(1.2 * needed)}s or more."
    )
    raise ConfigurationError(msg)


def evaluation_seconds(model: Model, case: StoredCase) -> float:
    """Return what one evaluation of the network takes for one member of a case: the second, since the first prepares.

    The member is alone: several at once take no longer each, so that a budget holds however many they will be.
    """
    configuration, session = model
    window = case.whole(configuration.patch.factor)
    inputs = given_inputs(model, case.read(window), 1)
    inputs[:, -configuration.out_channels :] = 0
    times = torch.full((1,), float(configuration.schedule.timesteps), device=session.device)
    float(session.predict(inputs, times).sum())
    began = time.perf_counter()
    float(session.predict(inputs, times).sum())  # a number on the host: whatever was only asked for is done
    return time.perf_counter() - began


def largest(cases: Iterable[StoredCase], factor: int) -> StoredCase:
    """Return the case of which the network sees most voxels: what fits for it fits for all."""
    return max(cases, key=lambda case: math.prod(case.whole(factor).shape))


def picked_before(facts: Mapping[str, Any], seconds: float) -> Pick | None:
    """Return what the same budget was spent on in a folder of answers, by its record, so that more are made alike."""
    if facts.get("budget") != seconds:
        return None
    try:
        return Pick(int(facts["sampler"]["steps"]), int(facts["ensemble"]))
    except (KeyError, TypeError, ValueError):
        return None


def _with_steps(sampler: Sampler, steps: int) -> Sampler:
    return sampler.model_copy(update={"steps": steps})
