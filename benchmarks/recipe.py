"""A better recipe: the preset `patchddm-plus` against the paper's, a supervised network, and itself with one change.

python -m benchmarks.recipe [--minutes 10] [--seeds 2] [--ablation-minutes 2] [--ablation-seeds 2] [--arms a,b]

All train on the same synthetic cases for as long, and the same unseen cases are answered. First of all a step of each
arm is timed, in turn and several times over, while the machine should do nothing else; each then trains for as many
steps as there is time for, however busy the machine is by then. Times and results are kept in the working folder, so
that the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.kept import whole_lines
from benchmarks.machine import RESULTS
from benchmarks.recipe_arms import ABLATION, ARMS, MAIN, PLUS, SUPERVISED
from benchmarks.recipe_report import FEW, MANY, report, row
from benchmarks.recipe_subjects import (
    ddmkit,
    opened,
    probe,
    probe_supervised,
    supervise,
    train,
    whole,
    window_by_window,
    with_tumour,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddmkit.sampling import Model
    from ddmkit.stored_case import StoredCase

_SPLIT = ("-o", "split.test=0.25", "-o", "split.validation=0.1")
_MANY_CASES = 4
"""Cases that the preset samples with many steps too, which takes long."""


def main() -> None:
    """Train what is not trained yet, and write what it came to."""
    given = _arguments()
    folder = Path(given.work) / f"{given.cases}-cases-{given.shape}"
    data = folder / "cases"
    ddmkit("phantom", data, "--cases", str(given.cases), "--shape", given.shape, "--seed", "0")
    names = list(dict.fromkeys(name for name, *_ in _asked(given)))
    paces = _paces(names, given.rounds, data, folder)
    results = folder / "results.jsonl"
    for name, seed, minutes in _asked(given):
        if _found(results, name, seed, minutes) is None:
            result = _measured(Training(name, seed, minutes, paces[name]), data, folder)
            _keep(results, result)
            print(row([result]), flush=True)
    arguments = {name: value for name, value in vars(given).items() if name not in {"work", "out"}}
    report(whole_lines(results), arguments, given.out)


class Training(NamedTuple):
    """One training."""

    arm: str
    seed: int
    minutes: float
    pace: float
    """Seconds that a step takes on a machine that does nothing else."""

    @property
    def steps(self) -> int:
        """For which there is time."""
        return max(1, int(60 * self.minutes / self.pace))


def _keep(path: Path, record: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(record)}\n")  # the line before may have been cut short


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of training, of the preset and its rivals")
    parser.add_argument("--seeds", type=int, default=2, help="0, 1, …: weights, windows and noise; the cases stay")
    parser.add_argument("--ablation-minutes", type=float, default=2, help="of the preset with one change")
    parser.add_argument("--ablation-seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="in which steps are timed")
    parser.add_argument("--arms", type=lambda names: names.split(","), default=list(ARMS), help="only these")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--shape", type=_shape, default="64,64,64", help="X,Y,Z of a case")
    parser.add_argument("--work", default="recipe-work", help="where runs and results are kept")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table and the picture go")
    given = parser.parse_args()
    if strangers := [name for name in given.arms if name not in ARMS]:
        parser.error(f"there is no arm {strangers[0]!r}; there are {', '.join(ARMS)}")
    if SUPERVISED in given.arms and any(int(side) % 16 for side in given.shape.split(",")):
        parser.error(f"--shape {given.shape} is halved for windows, and these three times: give multiples of 16")
    return given


def _shape(text: str) -> str:
    if len(sides := text.split(",")) != 3 or not all(side.isdecimal() and int(side) for side in sides):  # noqa: PLR2004 - axes
        msg = f"{text!r} is no shape: give three whole numbers, as in 64,64,64"
        raise argparse.ArgumentTypeError(msg)
    return text


def _asked(given: argparse.Namespace) -> Iterator[tuple[str, int, float]]:
    """Yield arm, seed and minutes of all trainings: rivals side by side, whatever else the machine does meanwhile."""
    for seed in range(given.seeds):
        yield from ((name, seed, given.minutes) for name in MAIN if name in given.arms)
    for seed in range(given.ablation_seeds):
        for name in (PLUS, *ABLATION):
            if name in given.arms:
                yield name, seed, given.ablation_minutes


def _paces(names: Sequence[str], rounds: int, data: Path, folder: Path) -> dict[str, float]:
    """Return seconds that a step of each arm takes: medians over rounds in which all have their turn."""
    kept = folder / "paces.jsonl"
    known = [record for record in whole_lines(kept) if record["arm"] in names]
    for name in [name for _ in range(rounds) for name in names]:
        if sum(record["arm"] == name for record in known) >= rounds:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            seconds = _probed(name, data, Path(scratch))
        known.append({"arm": name, "seconds": seconds})
        _keep(kept, known[-1])
        print(f"{name}: {seconds:.3f} s a step", flush=True)
    return {name: statistics.median(record["seconds"] for record in known if record["arm"] == name) for name in names}


def _probed(name: str, data: Path, scratch: Path) -> float:
    if name != SUPERVISED:
        return probe(_words(name, data, 0), scratch)
    train(_words(PLUS, data, 0), 1, scratch)  # whose windows it learns from
    return probe_supervised(*opened(scratch / "run"))


def _words(name: str, data: Path, seed: int) -> list[str]:
    return [*ARMS[name].words, "--data", str(data), *_SPLIT, "--seed", str(seed)]


def _found(results: Path, name: str, seed: int, minutes: float) -> dict[str, Any] | None:
    wanted = name, seed, minutes
    return next((one for one in whole_lines(results) if (one["arm"], one["seed"], one["minutes"]) == wanted), None)


def _measured(training: Training, data: Path, folder: Path) -> dict[str, Any]:
    run = folder / f"{training.arm.replace(' ', '-')}-{training.seed}-{training.minutes:g}"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    about = training._asdict()
    if training.arm == SUPERVISED:
        train(_words(PLUS, data, training.seed), 1, run)
        model, cases = opened(run / "run")
        told = supervise(model, cases, training.steps, training.seed)
        spent, scores = told.spent, {"whole": told.whole, "windows": told.windows}
    else:
        spent = train(_words(training.arm, data, training.seed), training.steps, run)
        model, cases = opened(run / "run")
        scores = _scores(model, cases["test"], training.arm)
    return {**about, **spent._asdict(), **scores, "tumour": with_tumour(model.configuration, cases["test"])}


def _scores(model: Model, test: Sequence[StoredCase], arm: str) -> dict[str, list[float]]:
    scores = {"whole": whole(model, test, FEW), "windows": window_by_window(model, test, FEW)}
    return scores | ({"many": whole(model, test[:_MANY_CASES], MANY)} if arm == PLUS else {})


if __name__ == "__main__":
    main()
