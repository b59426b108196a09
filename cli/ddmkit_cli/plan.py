"""`ddmkit plan`."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ddmkit_cli.assembling import (
    BackboneOption,
    ConfigOption,
    DatasetOption,
    EncodingOption,
    EngineOption,
    PatchOption,
    PresetOption,
    SamplerOption,
    ScheduleOption,
    SeedOption,
    SettingsOption,
    StepsOption,
    TaskOption,
    Typed,
)
from ddmkit_cli.console import bars, command, out, propose, result, say
from ddmkit_cli.forecasts import Outlook, forecast_facts, forecast_table, reasons

if TYPE_CHECKING:
    import torch

    from ddmkit import Shape
    from ddmkit.configuration import Configuration
    from ddmkit.errors import DdmkitError
    from ddmkit.run.proposal import Planner, Proposal

EXAMPLES = (
    "Examples: [bold]ddmkit plan --preset fullres --memory 16GB[/bold] · "
    "[bold]ddmkit plan --preset patchddm --data BraTS2020/[/bold] (with what this machine has free) · "
    "[bold]ddmkit plan --preset fullres -o engine.device=cuda --memory 40GB[/bold] (for a GPU that is not here) · "
    "[bold]ddmkit plan --config runs/mine --memory 8GB --json[/bold]"
)
_BRATS = (240, 240, 155)
_MILLIMETRES = ((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))
"""The affine of BraTS's files, and of phantoms, but for the origin."""
_AXES = 3


class _Room(NamedTuple):
    """How much memory there is."""

    limit: int
    typed: str | None
    """As a setting takes it; None: nobody set a limit."""


def plan(
    preset: PresetOption = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the cases, of which only headers are read.")] = None,
    dataset: DatasetOption = None,
    backbone: BackboneOption = None,
    schedule: ScheduleOption = None,
    sampler: SamplerOption = None,
    patch: PatchOption = None,
    encoding: EncodingOption = None,
    engine: EngineOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    option: SettingsOption = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Voxels of a case as the network sees it. [default: that of most cases of --data, else 240,240,155]",
            metavar="X,Y,Z",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="What the process may use of the device's memory. [default: engine.memory, else what is free]",
            metavar="16GB",
        ),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what a run will take, memory and time, and what to type so that it fits.

    All is told from shapes: nothing is trained and no weight allocated. What is typed here stays as it is; what a
    preset or --config says is changed if it must be: first members and examples come one at a time, then bfloat16 is
    used, then windows are made smaller.
    """
    from ddmkit import Registry
    from ddmkit.run.proposal import Planner
    from ddmkit.run.resources import Forecaster, device_of, resting

    named = {
        "task": task,
        "dataset": dataset,
        "backbone": backbone,
        "schedule": schedule,
        "sampler": sampler,
        "patch": patch,
        "encoding": encoding,
        "engine": engine,
    }
    typed = Typed.of(preset, config, data, seed, steps, named, option)
    typed.say_default()
    typed = typed.or_default()
    registry = Registry()
    configuration = typed.assembled(registry)
    seen, device = _shape(configuration, shape), device_of(configuration)
    room = _room(configuration, device, memory)
    with bars() as progress:
        forecaster = Forecaster(device, resting(device), seen, partial(progress, "ways counted"))
        planner = Planner(registry, configuration, typed.settled, forecaster)
        proposal = planner.propose(room.limit)
        if proposal is None:
            raise _too_little(planner, typed, room)
        outlook = Outlook(proposal, planner.beside(proposal), _speeds(planner, device), device, room.limit, seen)
    _warn(proposal.chosen.configuration, seen)
    words = _words(typed, proposal, room.typed)
    if as_json:
        out.print_json(json.dumps({**forecast_facts(outlook), "command": command(*words)}))
        return
    out.print(forecast_table(outlook))
    for reason in reasons(outlook):
        result(reason)
    propose(*words)


def _shape(configuration: Configuration, typed: str | None) -> Shape:
    """Return the shape of a case: as it is typed, of most that are there, of those that will be made, or of BraTS's."""
    from ddmkit.grid import Grid
    from ddmkit.run.plan import shapes_under

    if typed is not None:
        return _sides(typed)
    data = None if configuration.data is None else configuration.dataset.ready(configuration.data)
    if data is None:
        own = getattr(configuration.dataset, "shape", _BRATS)
        preprocessing = configuration.preprocessing
        return Grid.of(own, _MILLIMETRES, preprocessing.orientation, preprocessing.spacing).seen_shape
    shapes = shapes_under(configuration, data)
    seen = next(iter(shapes))
    if larger := [shape for shape in shapes if math.prod(shape) > math.prod(seen)]:
        largest = max(larger, key=math.prod)
        say(
            f"{sum(shapes[shape] for shape in larger)} of {sum(shapes.values())} cases are larger than most: plan for "
            f"them too with --shape {','.join(map(str, largest))}."
        )
    return seen


def _sides(typed: str) -> Shape:
    from ddmkit import ConfigurationError

    sides = [part.strip() for part in typed.split(",")]
    if len(sides) != _AXES or not all(side.isdecimal() and int(side) > 0 for side in sides):
        msg = f"--shape {typed} is no shape: type three numbers of voxels, as in --shape 240,240,155."
        raise ConfigurationError(msg)
    x, y, z = map(int, sides)
    return x, y, z


def _room(configuration: Configuration, device: torch.device, typed: str | None) -> _Room:
    from ddmkit import ConfigurationError
    from ddmkit.memory import free, used
    from ddmkit.run.resources import engine_of, is_there
    from ddmkit.sizes import bytes_of

    limit = typed or engine_of(configuration).memory
    if limit is not None:
        try:
            return _Room(bytes_of(limit), limit)
        except ValueError as error:
            msg = f"--memory {limit}: {error}."
            raise ConfigurationError(msg) from error
    unused = free(device) if is_there(device) else None
    if unused is None:
        msg = f"Nobody knows how much memory {device} has free: say how much there is, as in --memory 16GB."
        raise ConfigurationError(msg)
    return _Room(used(device) + unused, None)


def _speeds(planner: Planner, device: torch.device) -> dict[str, float]:
    """Return the operations a second in each precision; nothing for a device that is not there."""
    import torch

    from ddmkit.run.resources import is_there
    from ddmkit.speed import operations_per_second

    if not is_there(device):
        return {}
    return {name: operations_per_second(device, getattr(torch, name)) for name in planner.precisions}


def _too_little(planner: Planner, typed: Typed, room: _Room) -> DdmkitError:
    from ddmkit import ConfigurationError, DeviceError
    from ddmkit.sizes import bytes_of, proposed, sides_of, written

    least = proposed(planner.least())
    proposal = planner.propose(bytes_of(least))
    assert proposal is not None  # noqa: S101 - it is what the least was worked out for
    volume = sides_of(proposal.chosen.forecast.volume)
    line = command(*_words(typed, proposal, least))
    what = f"a training step and the sampling of {volume} voxels need {least}, by {line}"
    if room.typed is None:
        return DeviceError(f"The {written(room.limit)} that are free are too little for anything: {what}.")
    return ConfigurationError(f"{room.typed} of memory are too little for anything: {what}.")


def _warn(configuration: Configuration, seen: Shape) -> None:
    """Say what of the plan is not exact."""
    from ddmkit.run.plan import warn_of_shapes

    if configuration.preprocessing.frame == "brain":
        say("The boxes around the brains are not known before their voxels are read: planned is for whole volumes.")
    else:
        warn_of_shapes(configuration, {seen: 1})


def _words(typed: Typed, proposal: Proposal, memory: str | None) -> list[str]:
    """Return what trains as proposed, as it is typed after `ddmkit`."""
    from ddmkit import ConfigurationError

    changes = proposal.chosen.changes
    settings = dict(changes.settings) if memory is None else {**changes.settings, "engine.memory": memory}
    configuration = proposal.chosen.configuration
    try:
        configuration.dataset.ready(configuration.data)
    except ConfigurationError:  # it has to be told where its files are
        typed = typed._replace(data=Path("DIR"))
    return ["train", *typed.changed(changes.names, settings).words()]
