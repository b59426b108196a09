"""`--budget` of `ddmkit sample`: what is measured, picked and said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit_cli.console import say
from ddmkit_cli.options import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ddmkit.run.budget import Pick
    from ddmkit.sampling import Model
    from ddmkit.stored_case import StoredCase

_PICKED = {
    "sampler.steps": "--steps ",
    "sampling.ensemble": "--ensemble ",
    "sampling.tolerance": "-o sampling.tolerance=",
    "sampling.most": "-o sampling.most=",
}
"""What a budget picks, or what means nothing to what it picks, and how it is typed."""


def seconds_per_case(budget: str | None, options: Sequence[str]) -> float | None:
    """Return the budget in seconds, None where none is given.

    Args:
        budget: as it is typed.
        options: what else is typed, as given to -o.

    Raises:
        ConfigurationError: it is no time, or an option says what it is to pick.
    """
    from ddmkit import ConfigurationError
    from ddmkit.run.budget import seconds_of

    if budget is None:
        return None
    for option in options:
        key = key_of(option)
        if key in _PICKED:
            typed = f"{_PICKED[key]}{option.partition('=')[2].strip()}"
            msg = f"--budget {budget} picks steps and members itself: leave out {typed}, or --budget {budget}."
            raise ConfigurationError(msg)
    return seconds_of(budget)


def options_of(pick: Pick) -> list[str]:
    """Return the settings that are picked, as given to -o."""
    return [f"sampler.steps={pick.steps}", f"sampling.ensemble={pick.members}"]


def known_pick(folder: Path, seconds: float) -> Pick | None:
    """Return what the same budget picked for the answers that are in a folder, if there are any, and say so.

    Raises:
        DataError: the folder's record cannot be read.
    """
    from ddmkit.run.answers import read_record
    from ddmkit.run.budget import picked_before

    found = picked_before(read_record(folder).facts, seconds)
    if found is not None:
        say(f"Going on with {_words(found)}, which this budget picked for the answers in {folder}.")
    return found


def measured_pick(model: Model, cases: Sequence[StoredCase], seconds: float) -> Pick:
    """Measure the network on the largest case, pick for all of them, and say what and why.

    Raises:
        ConfigurationError: the budget is too little.
    """
    from ddmkit.run.budget import evaluation_seconds, largest, pick

    configuration = model.configuration
    case = largest(cases, configuration.patch.factor)
    evaluation = evaluation_seconds(model, case)
    found = pick(seconds, evaluation, configuration.sampler, configuration.schedule.timesteps)
    say(
        f"{_words(found)} for each case: an evaluation of the network takes {evaluation:.2g} s on the largest "
        f"({case.name}), and {seconds:g} s are to be spent."
    )
    return found


def _words(pick: Pick) -> str:
    return f"{pick.members} {'member' if pick.members == 1 else 'members'} of {pick.steps} steps"
