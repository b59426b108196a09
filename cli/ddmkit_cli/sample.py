"""`ddmkit sample`."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ddmkit_cli.console import bars, propose, result, say
from ddmkit_cli.options import refuse_fixed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ddmkit import Case, Dataset, Registry, Task
    from ddmkit.configuration import Configuration
    from ddmkit.run.folder import RunFolder
    from ddmkit.sampling import Answer
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
    ensemble: Annotated[int | None, typer.Option(help="Members per case. [default: the run's]", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the starting noise. [default: the run's]", min=0)] = None,
    cases: Annotated[str | None, typer.Option(help="Only these cases: a,b,c.", metavar="A,B")] = None,
    split: Annotated[Split | None, typer.Option(help="Only the cases of this split of the run.")] = None,
    checkpoint: Annotated[str, typer.Option(help="best, last or a step.")] = "best",
    dataset: Annotated[
        str | None, typer.Option(help="Layout of the input. [default: told by looking]", metavar="D")
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
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without the cases that cannot be used.")] = False,
) -> None:
    """Answer whole volumes with a trained model.

    For each case CASE_seg (the answer, in the label numbers of the input's layout), CASE_mean and CASE_var (mean and
    variance of the ensemble) are written on the input's own grid, and sample.json says how they were made and what
    the numbers mean.
    """
    from ddmkit import ConfigurationError, Registry
    from ddmkit.detection import recognise
    from ddmkit.labels import numbers_for
    from ddmkit.run.folder import RunFolder
    from ddmkit.run.trainer import open_session
    from ddmkit.sampling import Model, answer_case

    if cases is not None and split is not None:
        msg = f"--cases {cases} and --split {split} both say which cases; leave out one of them."
        raise ConfigurationError(msg)
    registry = Registry()
    folder = RunFolder(run)
    options = [*(option or []), *([] if steps is None else [f"sampler.steps={steps}"])]
    options += [] if ensemble is None else [f"sampling.ensemble={ensemble}"]
    configuration = _with_options(registry, folder.configuration(registry), dataset, options)
    layout = configuration.dataset if dataset else recognise(registry, source, configuration.dataset)
    seed = configuration.seed if seed is None else seed
    splits = _splits(folder, needed=split is not None)
    wanted = None if cases is None else _Wanted([name.strip() for name in cases.split(",") if name.strip()], "--cases")
    if split is not None:
        wanted = _Wanted(_of_split(folder, splits, split), f"--split {split}")
    weights = _weights(folder, checkpoint)
    model = Model(configuration, open_session(configuration, weights))
    record = _record(configuration, run, weights, seed)
    with bars() as progress:
        for case in _opened(configuration, layout, source, wanted, partial(progress, "cases read"), skip_bad=skip_bad):
            started = time.perf_counter()
            answer = answer_case(
                model, case, ensemble=configuration.sampling.ensemble, seed=seed, progress=partial(progress, case.name)
            )
            numbers = numbers_for(configuration.task.answers, case.case.labels)
            _write(out_folder, case.case, answer, numbers, configuration.task)
            seconds = time.perf_counter() - started
            voxels = int((answer.labels > 0).sum())
            record["cases"][case.name] = {
                "seconds": round(seconds, 2),
                "voxels": voxels,
                "split": splits.get(case.name),
                "answers": {str(number): name for number, name in numbers.items()},
            }
            record["peak_memory"] = model.session.peak_memory()
            _write_record(out_folder, record)
            result(f"{case.name}: {voxels} voxels, {seconds:.1f} s")
    propose("evaluate", out_folder, "--reference", source)


class _Wanted(NamedTuple):
    """The cases that are asked for."""

    names: list[str]
    flag: str
    """What asked for them."""


def _opened(
    configuration: Configuration,
    layout: Dataset,
    source: Path,
    wanted: _Wanted | None,
    progress: Callable[[int, int], None],
    *,
    skip_bad: bool,
) -> list[StoredCase]:
    """Find and normalise the cases before the first is answered, so that a bad one is known before hours of work."""
    from ddmkit import ConfigurationError, DataError
    from ddmkit.run.cases import refuse_or_skip, usable_cases
    from ddmkit.store import Store

    found = usable_cases(layout, source, configuration.task.modalities, references=False)
    there = {case.name: case for case in found.cases}
    names = sorted(there.keys() | found.wrong.keys() if wanted is None else set(wanted.names))
    for name in names:
        if name not in there and name not in found.wrong:
            some = ", ".join(list(there)[:5])
            msg = f"{wanted.flag if wanted else ''} names {name!r}, which is not under {source}; the first are {some}."
            raise ConfigurationError(msg)
    bad = {name: found.wrong[name] for name in names if name in found.wrong}
    refuse_or_skip(bad, len(names), source, skip_bad=skip_bad)
    chosen = [there[name] for name in names if name in there]
    opened = Store(configuration, references=False).open_all(chosen, progress)
    refuse_or_skip(opened.wrong, len(names), source, skip_bad=skip_bad)
    if not opened.cases:
        msg = f"None of the {len(names)} cases under {source} can be used: ddmkit check {source} says why."
        raise DataError(msg)
    return opened.cases


def _weights(folder: RunFolder, checkpoint: str) -> Path:
    """Return the checkpoint asked for; of a run stopped before its first validation, the last for the best."""
    if checkpoint == "best" and not folder.has_checkpoint("best") and folder.has_checkpoint("last"):
        say("No checkpoint of this run was validated yet: using the last one.")
        checkpoint = "last"
    return folder.find_checkpoint(checkpoint)


def _with_options(
    registry: Registry, configuration: Configuration, dataset: str | None, options: list[str]
) -> Configuration:
    from ddmkit.assembly import assemble

    refuse_fixed(options, _FREE, "does not fit a trained network")
    names = {} if dataset is None else {"dataset": dataset}
    return assemble(registry, base=[configuration.tree()], names=names, options=options)


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


def _record(configuration: Configuration, run: Path, weights: Path, seed: int) -> dict[str, Any]:
    return {
        "run": str(run),
        "checkpoint": weights.name,
        "seed": seed,
        "ensemble": configuration.sampling.ensemble,
        "sampler": configuration.sampler.tree(),
        "task": configuration.task.tree(),
        "peak_memory": 0,
        "cases": {},
    }


def _write(folder: Path, case: Case, answer: Answer, numbers: Mapping[int, str], task: Task) -> None:
    import numpy as np

    from ddmkit.volume import write_like

    like = case.images[task.modalities[0]].path
    names, channels = {name: number for number, name in numbers.items()}, task.x0_channels
    of_index = np.array([0, *(names[name] for name in task.answers)], dtype=np.uint8)
    write_like(folder / f"{case.name}_seg.nii.gz", of_index[answer.labels], like)
    for what, arrays in (("mean", answer.mean), ("var", answer.variance)):
        for channel, array in zip(channels, arrays, strict=True):
            ending = what if len(channels) == 1 else f"{what}_{channel}"
            write_like(folder / f"{case.name}_{ending}.nii.gz", array, like)


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    from ddmkit.files import write_text

    write_text(folder / "sample.json", json.dumps(record, indent=2) + "\n")
