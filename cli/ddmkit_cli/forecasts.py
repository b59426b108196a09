"""What `ddmkit plan` shows of what it found: a table for people, facts for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ddmkit.sizes import sides_of
from ddmkit_cli.console import duration
from ddmkit_cli.tables import table_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from rich.table import Table

    from ddmkit import Shape
    from ddmkit.run.proposal import Choice, Proposal
    from ddmkit.run.resources import CaseForecast, StepForecast

_HEADINGS = (
    "precision",
    "way",
    "window",
    "a step [GB]",
    "TFLOP",
    "time",
    "validation [GB]",
    "a case [GB]",
    "TFLOP",
    "time",
)
_NUMBERS = 3
"""Columns before the first number."""
_MINUTE, _DAY = 60, 86_400
_REASONS = {
    "patch": "windows in place of whole volumes, which is another method than the one that was asked for",
    "encoding": "which windows need to know where they lie",
    "loading.prefetch": "fewer batches wait, which changes no result",
    "sampling.members_at_once": "the members of an ensemble come one after the other, which changes no result",
    "engine.micro_batch": "examples come one after the other and their gradients add up, which changes no result",
    "engine.precision": "convolutions in that arithmetic; weights, optimizer and sampler stay float32",
    "patch.sides": "so much of a case is what training sees at once; cases are sampled whole all the same",
}


class Outlook(NamedTuple):
    """What was found."""

    proposal: Proposal
    choices: Sequence[Choice]
    """What was compared."""
    speeds: Mapping[str, float]
    """Operations a second by precision; empty where the device is not there."""
    device: torch.device
    limit: int
    shape: Shape
    """Of a case."""


class _Line(NamedTuple):
    """One precision, window and way."""

    choice: Choice
    way: str | None
    step: StepForecast | None
    case: CaseForecast | None
    steps_by_it: bool
    """Whether this is what the run will do."""
    validates_by_it: bool
    samples_by_it: bool


def forecast_table(outlook: Outlook) -> Table:
    """Return what each precision and way takes, with what is proposed and what does not fit marked."""
    table = table_of(_title(outlook), *_HEADINGS)
    table.caption, table.caption_justify = _caption(outlook), "left"
    for column in table.columns[_NUMBERS:]:
        column.justify = "right"
    before: Choice | None = None
    for line in _lines(outlook):
        if before is not None and line.choice is not before:
            table.add_section()
        before = line.choice
        table.add_row(*_cells(line, outlook), style="bold" if line.steps_by_it or line.validates_by_it else None)
    return table


def forecast_facts(outlook: Outlook) -> dict[str, Any]:
    """Return what the table shows as plain values: bytes, floating-point operations, seconds."""
    changes = outlook.proposal.chosen.changes
    return {
        "device": str(outlook.device),
        "memory": outlook.limit,
        "shape": outlook.shape,
        "candidates": [_facts(line, outlook) for line in _lines(outlook)],
        "changes": {**changes.names, **changes.settings},
    }


def reasons(outlook: Outlook) -> Iterator[str]:
    """Yield why each setting is changed, and how long the whole training takes."""
    changes = outlook.proposal.chosen.changes
    if not changes.names and not changes.settings:
        yield "It fits as it is."
    for kind, name in changes.names.items():
        yield f"--{kind} {name}: {_REASONS[kind]}"
    for key, value in changes.settings.items():
        yield f"-o {key}={value}: {_REASONS[key]}"
    seconds = _seconds(outlook.proposal.step.operations, outlook.proposal.chosen, outlook)
    if seconds is not None:
        steps = outlook.proposal.chosen.configuration.training.steps
        yield f"{steps:,} steps take {_time(steps * seconds)}, roughly, and validation more."


def _title(outlook: Outlook) -> str:
    seen, volume = sides_of(outlook.shape), sides_of(outlook.proposal.chosen.forecast.volume)
    sampled = "" if seen == volume else f", sampled as {volume}"
    return f"Cases of {seen} voxels{sampled}, in {outlook.limit / 1e9:.3g} GB of {outlook.device}"


def _caption(outlook: Outlook) -> str:
    on_cpu = outlook.device.type == "cpu"
    peaks = "all that the process takes" if on_cpu else f"what torch's allocator gives out on {outlook.device}"
    times = "rough" if outlook.speeds else "not known of a device that is not here"
    sampling = outlook.proposal.chosen.configuration.sampling
    most = f" Both take up to {sampling.most} members." if sampling.ensemble == "auto" else ""
    return (
        f"✓ proposed, ✗ does not fit. Memory is {peaks}; times are {times}.\n"
        f"Validation samples a case while training waits; a case is sampled later by a process of its own.{most}"
    )


def _lines(outlook: Outlook) -> Iterator[_Line]:
    proposal = outlook.proposal
    for choice in outlook.choices:
        forecast = choice.forecast
        proposed = forecast == proposal.chosen.forecast
        sampling = next((case for case in forecast.cases if case.peak <= outlook.limit), None)
        steps = {step.way: step for step in forecast.steps}
        cases = {case.way: case for case in forecast.cases}
        for way in {**steps, **cases}:
            step, case = steps.get(way), cases.get(way)
            yield _Line(
                choice,
                way,
                step,
                case,
                proposed and step == proposal.step,
                proposed and case == proposal.case,
                proposed and case is not None and case == sampling,
            )


def _cells(line: _Line, outlook: Outlook) -> list[str]:
    forecast, limit = line.choice.forecast, outlook.limit
    cells = [forecast.precision, line.way or "", sides_of(forecast.window)]
    step, case = line.step, line.case
    if step is None:
        cells += ["", "", ""]
    else:
        work = _work(step.operations, line.choice, outlook)
        cells += [_peak(step.peak, limit, proposed=line.steps_by_it), *work]
    if case is not None:
        cells.append(_peak(case.validation_peak, limit, proposed=line.validates_by_it))
        cells.append(_peak(case.peak, limit, proposed=line.samples_by_it))
        cells += _work(case.operations, line.choice, outlook)
    return cells


def _facts(line: _Line, outlook: Outlook) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "precision": line.choice.forecast.precision,
        "way": line.way,
        "window": line.choice.forecast.window,
        "step": None,
        "case": None,
    }
    if (step := line.step) is not None:
        seconds = _seconds(step.operations, line.choice, outlook)
        facts["step"] = {**step._asdict(), "seconds": seconds, "proposed": line.steps_by_it}
    if (case := line.case) is not None:
        seconds = _seconds(case.operations, line.choice, outlook)
        facts["case"] = {**case._asdict(), "seconds": seconds, "proposed": line.validates_by_it}
    return facts


def _peak(peak: int, limit: int, *, proposed: bool) -> str:
    mark = "✗" if peak > limit else "✓" if proposed else " "
    return f"{peak / 1e9:.3g} {mark}"


def _work(operations: int, choice: Choice, outlook: Outlook) -> tuple[str, str]:
    seconds = _seconds(operations, choice, outlook)
    return f"{operations / 1e12:.3g}", "" if seconds is None else _time(seconds)


def _seconds(operations: int, choice: Choice, outlook: Outlook) -> float | None:
    speed = outlook.speeds.get(choice.forecast.precision)
    return None if speed is None else operations / speed


def _time(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.2g} s"
    return duration(seconds) if seconds < _DAY else f"{seconds / _DAY:.0f} days"
