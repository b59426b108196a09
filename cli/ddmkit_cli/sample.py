"""`ddmkit sample`."""

from __future__ import annotations

import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ddmkit_cli.assembling import EngineOption
from ddmkit_cli.budget import known_pick, measured_pick, options_of, seconds_per_case
from ddmkit_cli.console import bars, propose, result, say
from ddmkit_cli.options import named_layout, naming_the_planner, offering_others, refuse_fixed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ddmkit import Dataset, Registry
    from ddmkit.calibration import Calibration
    from ddmkit.configuration import Configuration
    from ddmkit.run.answers import Answered, Asked
    from ddmkit.run.folder import RunFolder
    from ddmkit.sampling import Model
    from ddmkit.stored_case import StoredCase

EXAMPLES = (
    "Examples: [bold]ddmkit sample runs/mine --input BraTS2020/ --split test --out answers/[/bold] · "
    "[bold]ddmkit sample runs/mine --input BraTS2020/ --cases BraTS20_Training_003 --ensemble 15 --steps 20 "
    "--out answers/[/bold] · [bold]-o sampler.eta=1 -o engine.precision=bfloat16[/bold]"
)
_FREE = ("sampler", "sampling", "engine", "dataset")


class Split(StrEnum):
    """Which part of a run's cases."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def sample(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    source: Annotated[Path, typer.Option("--input", help="Folder of cases; references are not needed.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Where the answers go.", metavar="DIR")],
    steps: Annotated[int | None, typer.Option(help="Sampling steps. [default: the run's]", min=1)] = None,
    ensemble: Annotated[
        str | None,
        typer.Option(help="Members per case; auto: as many as change the labels. [default: the run's]", metavar="N"),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="In place of both: what a case may take, as in 90s, 2m, 1h30m.", metavar="TIME"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the starting noise. [default: the run's]", min=0)] = None,
    cases: Annotated[str | None, typer.Option(help="Only these cases: a,b,c.", metavar="A,B")] = None,
    split: Annotated[Split | None, typer.Option(help="Only the cases of this split of the run.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    calibration: Annotated[
        Path | None,
        typer.Option(help="From ddmkit calibrate: also write calibrated probabilities, as CASE_prob.", metavar="FILE"),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the input. [default: told by looking]", metavar="D")
    ] = None,
    engine: EngineOption = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Another sampler, with its own defaults but for --steps and -o. [default: the run's]", metavar="S"
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="KIND.FIELD=VALUE",
            help=f"Settings of {', '.join(_FREE)}; see ddmkit plugins show. Repeatable.",
        ),
    ] = None,
    *,
    keep_members: Annotated[
        bool, typer.Option("--keep-members", help="Also write each member, as CASE_member-001 and so on.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without the cases that cannot be used.")] = False,
) -> None:
    """Answer whole volumes with a trained model.

    For each case CASE_seg (the answer, in the label numbers of the input's layout), CASE_mean and CASE_var (mean and
    variance of the ensemble) are written on the input's own grid, and sample.json says how they were made, how many
    members each case took, and what the numbers mean. --calibration adds CASE_prob, what the mean stands for.
    Of a task that generates volumes, each member is a sample of its own: CASE_member-001 and so on are all there is.
    """
    from ddmkit import Registry
    from ddmkit.assembly import assemble
    from ddmkit.run.answers import go_on_with, open_asked, write_answered
    from ddmkit.run.folder import RunFolder
    from ddmkit.run.trainer import open_session
    from ddmkit.sampling import Model

    registry = Registry()
    folder = RunFolder(run)
    options = [] if steps is None else [f"sampler.steps={steps}"]
    options += [] if ensemble is None else [f"sampling.ensemble={ensemble}"]
    options += option or []
    seconds = seconds_per_case(budget, options)
    known = None if seconds is None else known_pick(out_folder, seconds)
    options += [] if known is None else options_of(known)
    named = {"dataset": dataset, "engine": engine, "sampler": sampler}
    names = {kind: name for kind, name in named.items() if name is not None}
    configuration = _configuration(registry, folder, names, options)
    configuration.engine.serve()
    layout = _layout(registry, configuration, source, dataset, option or [])
    seed = configuration.seed if seed is None else seed
    splits = _splits(folder, needed=split is not None)
    asked = _asked(folder, splits, cases, split)
    weights = _weights(folder, checkpoint)
    curves = _calibration(calibration, budget)
    made_by = _made_by(configuration, run, weights, seed, seconds, curves)
    if curves is not None:
        curves.check(made_by)
    model = Model(configuration, open_session(configuration, weights))
    say(f"Working on {model.session.where}.")
    answered = go_on_with(out_folder, made_by)
    with bars() as progress, naming_the_planner(folder, options):
        questions = open_asked(
            configuration, layout, source, asked, out_folder, partial(progress, "cases read"), skip_bad=skip_bad
        )
        if seconds is not None and known is None:
            picked = options_of(measured_pick(model, questions.cases, seconds))
            model = model._replace(configuration=assemble(registry, base=[configuration.tree()], options=picked))
            made_by = _made_by(model.configuration, run, weights, seed, seconds, curves)
        for case in questions.cases:
            target = _Target(out_folder, keep_members, curves)
            facts = _answer(model, case, seed, target, partial(progress, case.name))
            answered[case.name] = facts._replace(split=splits.get(case.name))
            write_answered(out_folder, made_by, model.session.peak_memory(), answered)
            found = "" if facts.voxels is None else f"{facts.voxels} voxels, "
            result(f"{case.name}: {found}{_members(facts.members)}, {facts.seconds:.1f} s")
            if not facts.settled:
                _say_unsettled(case.name, model.configuration)
    if questions.labelled:  # else there is nothing to compare with
        propose("evaluate", out_folder, "--reference", source, *named_layout(registry, layout, source))


class _Target(NamedTuple):
    """What is written of an answer, and where."""

    folder: Path
    members: bool
    """Whether each member is."""
    calibration: Calibration | None
    """That probabilities are written of."""


def _answer(
    model: Model, case: StoredCase, seed: int, target: _Target, progress: Callable[[int, int], None]
) -> Answered:
    """Answer a case, write that into a folder, and return what is to be written down about it.

    Args:
        model: the network.
        case: in the store.
        seed: of the noise.
        target: what is written.
        progress: told of calls of the network.
    """
    from ddmkit import VolumeTask
    from ddmkit.run.answers import Answered, write_answer, write_member, write_probability
    from ddmkit.sampling import answer_case
    from ddmkit.task import label_task

    if isinstance(model.configuration.task, VolumeTask):
        return _generate(model, case, seed, target, progress)
    started, task = time.perf_counter(), label_task(model.configuration.task)
    ensemble = model.configuration.sampling.ensemble
    keep = partial(write_member, target.folder, case.case, task) if target.members else (lambda *_: None)
    answer = answer_case(model, case, ensemble=ensemble, seed=seed, progress=progress, keep=keep)
    numbers = write_answer(target.folder, case.case, answer, task)
    if target.calibration is not None:
        write_probability(target.folder, case.case, task, answer.mean, target.calibration)
    return Answered(
        seconds=round(time.perf_counter() - started, 2),
        voxels=int((answer.labels > 0).sum()),
        split=None,
        answers={str(number): name for number, name in numbers.items()},
        members=answer.members,
        settled=answer.settled,
    )


def _generate(
    model: Model, case: StoredCase, seed: int, target: _Target, progress: Callable[[int, int], None]
) -> Answered:
    """Do what `_answer` does where each member is an answer of its own."""
    from ddmkit.run.answers import Answered, write_member
    from ddmkit.sampling import sample_case

    started, configuration = time.perf_counter(), model.configuration
    members = configuration.sampling.members
    for number, volume in enumerate(sample_case(model, case, members=members, seed=seed, progress=progress)):
        write_member(target.folder, case.case, configuration.task, number, volume)
    seconds = round(time.perf_counter() - started, 2)
    return Answered(seconds, voxels=None, split=None, answers={}, members=members, settled=True)


def _say_unsettled(case: str, configuration: Configuration) -> None:
    from ddmkit.settling import STEADY

    sampling = configuration.sampling
    say(
        f"{case} did not keep within sampling.tolerance={sampling.tolerance:g} for {STEADY} members in a row, of "
        f"{_members(sampling.most)}: -o sampling.most={2 * sampling.most}, with another --out, lets it have more."
    )


def _members(count: int) -> str:
    return f"{count} member{'' if count == 1 else 's'}"


def _layout(
    registry: Registry, configuration: Configuration, source: Path, named: str | None, options: list[str]
) -> Dataset:
    """Return the layout that is named or has settings, else the run's if the input has it, else another."""
    from ddmkit.detection import recognise

    if named or any(option.startswith("dataset.") for option in options):
        return configuration.dataset
    return recognise(registry, source, configuration.dataset)


def _asked(folder: RunFolder, splits: dict[str, str], cases: str | None, split: Split | None) -> Asked | None:
    from ddmkit import ConfigurationError
    from ddmkit.run.answers import Asked

    if cases is not None and split is not None:
        msg = f"--cases {cases} and --split {split} both say which cases; leave out one of them."
        raise ConfigurationError(msg)
    if split is not None:
        return Asked(_of_split(folder, splits, split), f"--split {split}")
    return None if cases is None else Asked([name.strip() for name in cases.split(",") if name.strip()], "--cases")


def _weights(folder: RunFolder, checkpoint: str) -> Path:
    """Return the checkpoint asked for; of a run stopped before its first validation, the last for the best."""
    if checkpoint == "best" and not folder.has_checkpoint("best") and folder.has_checkpoint("last"):
        say("No checkpoint of this run was validated yet: using the last one.")
        checkpoint = "last"
    return folder.find_checkpoint(checkpoint)


def _calibration(path: Path | None, budget: str | None) -> Calibration | None:
    from ddmkit import ConfigurationError
    from ddmkit.calibration import read_calibration

    if path is None:
        return None
    if budget is not None:
        msg = (
            f"--calibration {path} holds for the steps and members that it was fitted to, and --budget {budget} picks "
            "its own: leave out --budget, and type --steps and --ensemble as they were."
        )
        raise ConfigurationError(msg)
    return read_calibration(path)


def _configuration(
    registry: Registry, folder: RunFolder, names: Mapping[str, str], options: Sequence[str]
) -> Configuration:
    from ddmkit.assembly import name_of

    refuse_fixed(options, _FREE, "does not fit a trained network")
    other = names.get("sampler") not in {None, name_of(folder.tree().get("sampler"))}
    with offering_others(("sampler", "engine"), names):  # of another sampler, the run says nothing
        return folder.configuration(registry, over=[{"sampler": None}] if other else [], names=names, options=options)


def _splits(folder: RunFolder, *, needed: bool) -> dict[str, str]:
    """Return which split of the run each of its cases is in."""
    from ddmkit import CheckpointError

    try:
        return {name: split for split, names in folder.split().items() for name in names}
    except CheckpointError as error:
        if needed:
            raise
        say(f"{error} sample.json will not say so either.")
        return {}


def _of_split(folder: RunFolder, splits: dict[str, str], split: Split) -> list[str]:
    from ddmkit import ConfigurationError

    names = [name for name, part in splits.items() if part == split]
    if not names:
        msg = f"The run {folder.path} has no {split} cases; it has {', '.join(sorted(set(splits.values())))} cases."
        raise ConfigurationError(msg)
    return names


def _made_by(
    configuration: Configuration,
    run: Path,
    weights: Path,
    seed: int,
    budget: float | None,
    calibration: Calibration | None,
) -> dict[str, Any]:
    """Return what all answers of a folder share."""
    from ddmkit.run.folder import weights_digest

    sampling = configuration.sampling
    limits = {"tolerance": sampling.tolerance, "most": sampling.most} if sampling.ensemble == "auto" else {}
    return {
        "run": str(run.resolve()),
        "checkpoint": weights.name,
        "weights": weights_digest(weights),
        "seed": seed,
        "budget": budget,
        "ensemble": sampling.ensemble,
        **limits,
        "combine": sampling.combine,
        "sampler": configuration.sampler.tree(),
        "task": configuration.task.tree(),
        "percentiles": list(configuration.preprocessing.percentiles),
        "calibration": None if calibration is None else calibration.digest,
        "calibrated_on": None if calibration is None else list(calibration.cases),
    }
