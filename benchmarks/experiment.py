"""What the paper's experiments share: their command line, and how what they found is summed up and written."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks import machine, paper
from benchmarks.answering import Answering
from benchmarks.kept import Kept
from benchmarks.subjects import Question, find_subjects
from ddmkit.errors import DdmkitError
from ddmkit.run.folder import weights_digest
from ddmkit.summary import summarise
from ddmkit_cli.console import bars, log_to_stderr, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from benchmarks.kept import Found
    from benchmarks.subjects import Subject
    from ddmkit.summary import Summary


class Ensemble(NamedTuple):
    """How well a run answers its cases by ensembles of one size."""

    run: str
    steps: int
    """Of the sampler."""
    members: int
    found: list[Found]
    """A case each."""
    summary: dict[str, Summary]
    """By region, over the cases."""

    @classmethod
    def of(cls, subject: Subject, steps: int, members: int, found: list[Found]) -> Ensemble:
        """Sum up what was found of all cases."""
        return cls(subject.name, steps, members, found, summarise([score for one in found for score in one.scores]))

    def values(self, region: str, field: str) -> list[float]:
        """Return one number of each case whose reference tells a region."""
        return [getattr(score, field) for one in self.found for score in one.scores if score.region == region]

    @property
    def seconds(self) -> float:
        """That a case took, in the mean."""
        return sum(one.seconds for one in self.found) / len(self.found)


def command_line(documentation: str | None, *, runs: bool) -> argparse.ArgumentParser:
    """Return a parser of what all experiments understand.

    Args:
        documentation: of the experiment's module.
        runs: whether it takes several.
    """
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+" if runs else 1, help="a run's folder")
    parser.add_argument("--out", type=Path, default=machine.RESULTS, help="folder of the results")
    return parser


def add_question(parser: argparse.ArgumentParser, cases: str | None = None) -> None:
    """Add what experiments understand that sample.

    Args:
        parser: of the experiment.
        cases: those of the split that are taken by default; None: all.
    """
    parser.add_argument("--data", type=Path, required=True, help="folder of cases with references")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"), help="of the run")
    parser.add_argument(
        "--cases", default=cases, help="so many of them, the first; or names: a,b (a single number as 7,)"
    )
    parser.add_argument(
        "-o", dest="options", action="append", default=[], metavar="KIND.FIELD=VALUE", help="settings of the sampling"
    )
    parser.add_argument("--skip-bad", action="store_true", help="go on without the cases that cannot be used")


def question_of(given: argparse.Namespace) -> Question:
    """Return what was asked on the command line."""
    return Question(given.data, given.split, given.cases, given.options, given.skip_bad)


def numbers(text: str) -> list[int]:
    """Read "1,3,5": whole numbers from 1, in ascending order, each once."""
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        msg = f"{text!r} are no numbers from 1, such as 1,3,5"
        raise argparse.ArgumentTypeError(msg)
    return found


def number(text: str) -> int:
    """Read a whole number from 1."""
    found = numbers(text)
    if len(found) > 1:
        msg = f"{text!r} are several numbers; give one"
        raise argparse.ArgumentTypeError(msg)
    return found[0]


@contextmanager
def told() -> Generator[None]:
    """Answer a user's own mistake, and Ctrl-C, with one sentence."""
    log_to_stderr()
    try:
        yield
    except DdmkitError as error:
        problem(str(error))
        raise SystemExit(error.exit_status) from error
    except KeyboardInterrupt as error:
        problem("Stopped; what was finished is kept. Type the same command again to go on.")
        raise SystemExit(1) from error


def _ensembles_of(
    subjects: Sequence[Subject],
    given: argparse.Namespace,
    progress: Callable[[str, int, int], None],
) -> list[Ensemble]:
    """Ask runs, one after the other, for ensembles of `given.members` members."""
    kept = Kept(given.out)
    return [
        Ensemble.of(subject, subject.configuration.sampler.steps, members, found)
        for subject in subjects
        for members, found in Answering(subject, kept, progress).ensembles(given.members).items()
    ]


def compare(  # noqa: PLR0913 - what an experiment is
    documentation: str | None,
    name: str,
    sizes: Sequence[int],
    arguments: Sequence[str] | None,
    *,
    tabulate: Callable[[Sequence[Subject], Sequence[Ensemble]], str],
    draw: Callable[[Sequence[Subject], Sequence[Ensemble], Path], None],
    check: Callable[[Sequence[Subject]], None] = lambda _: None,
    closing: str = "",
) -> None:
    """Ask several runs for ensembles of several sizes, and write table, figure and JSON.

    Args:
        documentation: of the experiment's module.
        name: of the experiment, and of its files.
        sizes: numbers of members, where none are typed.
        arguments: that are typed; None: those of this program.
        tabulate: says what was found in Markdown.
        draw: the same as a PNG.
        check: refuses runs before any is asked.
        closing: what stands behind what the numbers are of.
    """
    parser = command_line(documentation, runs=True)
    add_question(parser)
    parser.add_argument("--members", type=numbers, default=sizes, help="sizes of ensembles")
    given = parser.parse_args(arguments)
    with told():
        with bars() as progress:
            subjects = find_subjects(given.runs, question_of(given), progress)
            check(subjects)
            ensembles = _ensembles_of(subjects, given, progress)
        draw(subjects, ensembles, given.out / f"{name}-{machine.slug()}.png")
        result = {**facts(subjects, given), "ensembles": [plain(one) for one in ensembles]}
        words = " ".join(filter(None, (about(subjects, given), closing)))
        machine.write(name, result, f"{tabulate(subjects, ensembles)}\n\n{words}", given.out)


def facts(subjects: Sequence[Subject], given: argparse.Namespace) -> dict[str, Any]:
    """Return what was asked of whom, and what the scores mean; plain values."""
    scoring = subjects[0].configuration.scoring
    return {
        "data": given.data.resolve().name,
        "split": given.split,
        "scoring": scoring.model_dump(mode="json"),
        "definition": scoring.definition(),
        "paper": paper.plain(),
        "threads": torch.get_num_threads(),
        "runs": {subject.name: _run_facts(subject) for subject in subjects},
    }


def _run_facts(subject: Subject) -> dict[str, Any]:
    configuration = subject.configuration
    return {
        "method": paper.method_of(configuration),
        "checkpoint": subject.weights.name,
        "weights": weights_digest(subject.weights),
        "trained_steps": configuration.training.steps,
        "seed": configuration.seed,
        "combine": configuration.sampling.combine,
        **{kind: getattr(configuration, kind).tree() for kind in ("backbone", "patch", "encoding", "sampler")},
        "cases": [case.name for case in subject.cases],
    }


def plain(ensemble: Ensemble) -> dict[str, Any]:
    """Return an ensemble as it is written into JSON: its summary, and the score of each case."""
    return {
        "run": ensemble.run,
        "steps": ensemble.steps,
        "members": ensemble.members,
        "seconds_per_case": round(ensemble.seconds, 3),
        "summary": ensemble.summary,
        "cases": [{"seconds": found.seconds, **score._asdict()} for found in ensemble.found for score in found.scores],
    }


def about(subjects: Sequence[Subject], given: argparse.Namespace) -> str:
    """Return the paragraph that says what the numbers of a table are of, ours and the paper's."""
    counts = sorted({len(subject.cases) for subject in subjects})
    cases = " or ".join(map(str, counts))
    steps = ", ".join(f"{subject.name} {subject.configuration.training.steps}" for subject in subjects)
    titles = subjects[0].configuration.scoring.titles()
    return (
        f"Ours: {cases} {given.split} cases under `{given.data.resolve().name}`; training steps: {steps}. "
        f"{titles['hd95']}; ± is the standard deviation over cases. {paper.OF_WHAT}"
    )


def about_times() -> str:
    """Return the sentence that says what seconds are of."""
    return f"Seconds are of sampling and combining members, without scoring; threads: {torch.get_num_threads()}."


def spread(mean: float, std: float, digits: int) -> str:
    """Return a mean and its standard deviation for a table."""
    return f"{mean:.{digits}f} ± {std:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
