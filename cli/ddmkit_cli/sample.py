"""`ddmkit sample`."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddmkit_cli.console import bars, propose, result, say
from ddmkit_cli.options import refuse_fixed

if TYPE_CHECKING:
    from ddmkit import Case, Registry
    from ddmkit.configuration import Configuration
    from ddmkit.run.folder import RunFolder
    from ddmkit.sampling import Answer

EXAMPLES = (
    "Examples: [bold]ddmkit sample runs/mine --input BraTS2020/ --split test --out answers/[/bold] · "
    "[bold]ddmkit sample runs/mine --input BraTS2020/ --cases BraTS20_Training_003 --ensemble 15 --steps 20 "
    "--out answers/[/bold] · [bold]-o sampler.eta=1 -o engine.precision=bfloat16[/bold]"
)
_FREE = ("sampler", "sampling", "engine")


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
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="KIND.FIELD=VALUE",
            help=f"Settings of {', '.join(_FREE)}; see ddmkit plugins show. Repeatable.",
        ),
    ] = None,
) -> None:
    """Answer whole volumes with a trained model.

    For each case CASE_seg (the answer), CASE_mean and CASE_var (mean and variance of the ensemble) are written on
    the input's own grid, and sample.json says how they were made.
    """
    from ddmkit import ConfigurationError, Registry
    from ddmkit.run.folder import RunFolder
    from ddmkit.run.plan import find_cases
    from ddmkit.run.trainer import open_session
    from ddmkit.sampling import Model, answer_case
    from ddmkit.store import Store

    if cases is not None and split is not None:
        msg = f"--cases {cases} and --split {split} both say which cases; leave out one of them."
        raise ConfigurationError(msg)
    registry = Registry()
    folder = RunFolder(run)
    options = [*(option or []), *([] if steps is None else [f"sampler.steps={steps}"])]
    options += [] if ensemble is None else [f"sampling.ensemble={ensemble}"]
    configuration = _with_options(registry, folder.configuration(registry), options)
    seed = configuration.seed if seed is None else seed
    splits = _splits(folder, needed=split is not None)
    there = find_cases(configuration.dataset, source)
    if split is not None:
        chosen = _chosen(there, _of_split(folder, splits, split), f"--split {split}", source)
    else:
        chosen = there if cases is None else _chosen(there, cases.split(","), "--cases", source)
    weights = _weights(folder, checkpoint)
    model = Model(configuration, open_session(configuration, weights))
    store = Store(configuration)
    record = _record(configuration, run, weights, seed)
    with bars() as progress:
        for case in chosen:
            started = time.perf_counter()
            answer = answer_case(
                model,
                store.open(case._replace(labels=None)),  # a reference is not needed, so it need not be readable
                ensemble=configuration.sampling.ensemble,
                seed=seed,
                progress=partial(progress, case.name),
            )
            _write(out_folder, case, answer, configuration.task.modalities[0])
            seconds = time.perf_counter() - started
            voxels = int((answer.labels > 0).sum())
            record["cases"][case.name] = {
                "seconds": round(seconds, 2),
                "voxels": voxels,
                "split": splits.get(case.name),
            }
            record["peak_memory"] = model.session.peak_memory()
            _write_record(out_folder, record)
            result(f"{case.name}: {voxels} voxels, {seconds:.1f} s")
    propose("evaluate", out_folder, "--reference", source)


def _weights(folder: RunFolder, checkpoint: str) -> Path:
    """Return the checkpoint asked for; of a run stopped before its first validation, the last for the best."""
    if checkpoint == "best" and not folder.has_checkpoint("best") and folder.has_checkpoint("last"):
        say("No checkpoint of this run was validated yet: using the last one.")
        checkpoint = "last"
    return folder.find_checkpoint(checkpoint)


def _with_options(registry: Registry, configuration: Configuration, options: list[str]) -> Configuration:
    from ddmkit.assembly import assemble

    refuse_fixed(options, _FREE, "does not fit a trained network")
    return assemble(registry, base=[configuration.tree()], options=options)


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


def _chosen(cases: list[Case], names: list[str], flag: str, source: Path) -> list[Case]:
    from ddmkit import ConfigurationError

    known = {case.name: case for case in cases}
    wanted = [name.strip() for name in names if name.strip()]
    for name in wanted:
        if name not in known:
            some = ", ".join(list(known)[:5])
            msg = f"{flag} names {name!r}, which is not under {source}; the first there are {some}."
            raise ConfigurationError(msg)
    return [known[name] for name in wanted]


def _record(configuration: Configuration, run: Path, weights: Path, seed: int) -> dict[str, Any]:
    return {
        "run": str(run),
        "checkpoint": weights.name,
        "seed": seed,
        "ensemble": configuration.sampling.ensemble,
        "sampler": configuration.sampler.tree(),
        "task": configuration.task.tree(),
        "answers": {str(number): name for number, name in configuration.task.answers.items()},
        "peak_memory": 0,
        "cases": {},
    }


def _write(folder: Path, case: Case, answer: Answer, modality: str) -> None:
    from ddmkit.volume import write_like

    like = case.images[modality]
    write_like(folder / f"{case.name}_seg.nii.gz", answer.labels, like)
    for what, channels in (("mean", answer.mean), ("var", answer.variance)):
        for channel, array in enumerate(channels):
            suffix = what if len(channels) == 1 else f"{what}{channel}"
            write_like(folder / f"{case.name}_{suffix}.nii.gz", array, like)


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    from ddmkit.files import write_text

    write_text(folder / "sample.json", json.dumps(record, indent=2) + "\n")
