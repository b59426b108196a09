"""How answers are judged: what a task's figures are called, which of them decides, and who works them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from functools import cached_property
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from typing_extensions import override

from ddmkit.summary import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit.scoring import Score

Summary: TypeAlias = "Mapping[str, Mapping[str, Any]]"
"""What answers come to: a row for each region, or for what else is told apart ("all" where nothing is).

A row holds "n", how many cases or volumes it is about (int), and every figure under its `Figure.key`: a float, or None
for one that they are too few for. For a figure of which each case has its own (`by_case`), NAME_mean is that key, and
beside it stand NAME_std, the sample standard deviation over cases, and NAME_interval, [low, high] of the mean or None.
What else a row holds is written to JSON and shown by nobody. A judge of sets::

    {"all": {"n": 16, "n_real": 8, "mmd": 0.0213, "ms_ssim": None}}

One of cases::

    {"all": {"n": 5, "psnr_mean": 24.1, "psnr_std": 1.3, "psnr_interval": [23.2, 25.0]}}
"""


class Figure(NamedTuple):
    """A number that answers are judged by."""

    name: str
    """In JSON."""
    title: str
    """In tables and pictures, short."""
    higher_is_better: bool
    """Which way the best checkpoint lies, if it is the first of a judge's figures."""
    unit: str = ""
    """Behind the title, such as "mm"; empty for a bare number."""
    decimals: int = 3
    """With how many it is shown; files keep them all."""
    largest: float | None = None
    """That it can be, where there is one; the smallest that is usual is 0."""
    by_case: bool = False
    """Whether each case has its own, which a summary gives the mean, spread and interval of; else it is the set's."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Its names in a summary: of a figure that each case has, those of the mean, the spread and the interval."""
        whats = ("mean", "std", "interval")
        return tuple(f"{self.name}_{what}" for what in whats) if self.by_case else (self.name,)

    @property
    def key(self) -> str:
        """Its name in a summary, or that of its mean."""
        return self.keys[0]

    @property
    def heading(self) -> str:
        """Its title with its unit."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def text(self, value: float | None) -> str:
        """Return a value as people read it."""
        return "–" if value is None else f"{value:.{self.decimals}f}"


class Judge(ABC):
    """Is shown one answer after the other, and says what they come to; made anew for each set of answers."""

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """What it works out; the first, over all rows of the summary, chooses the best checkpoint."""

    @abstractmethod
    def definition(self) -> dict[str, str]:
        """Return what each figure means, in words, by its name; they are written beside the numbers."""

    @property
    def scores(self) -> Sequence[Score]:
        """The cases one by one, where each can be judged alone."""
        return ()

    @abstractmethod
    def summary(self) -> Summary:
        """Return what the answers come to; None for a figure that they are too few for, never NaN."""


class SetJudge(Judge):
    """Compares a set of volumes with a set of real ones; neither need be as large as the other, nor matched.

    What it keeps of each volume should be small: it is shown whole ones.
    """

    @abstractmethod
    def real(self, case: str, volume: NDArray[np.float32]) -> None:
        """Take in a real volume.

        Args:
            case: its name.
            volume: the read-out of its own x_0, shape (C, X, Y, Z); X, Y, Z run left, back and up.
        """

    @abstractmethod
    def generated(self, case: str, volume: NDArray[np.float32]) -> None:
        """Take in a generated volume.

        Args:
            case: whose grid it lies on, or the volume's own name.
            volume: its read-out, shape (C, X, Y, Z); X, Y, Z run left, back and up.
        """


class PairJudge(Judge):
    """Compares each generated volume with the real one of its own case, as where an image is made from others.

    A complete one::

        class Error(PairJudge):
            @property
            def figures(self) -> tuple[Figure, ...]:
                return (Figure("mae", "MAE", higher_is_better=False, by_case=True),)

            def definition(self) -> dict[str, str]:
                return {"mae": "mean absolute difference over all voxels"}

            def measure(self, real: NDArray[np.float32], generated: NDArray[np.float32]) -> Sequence[float]:
                return (float(abs(real - generated).mean()),)

    Of several members of a case, the case's figures are the means.
    """

    @abstractmethod
    def measure(self, real: NDArray[np.float32], generated: NDArray[np.float32]) -> Sequence[float]:
        """Return a finite number for each of `figures`, in their order; all of them are `by_case`.

        Args:
            real: the read-out of the case's own x_0, shape (C, X, Y, Z); X, Y, Z run left, back and up.
            generated: the read-out of a member, of the same shape.
        """

    def add(self, case: str, values: Sequence[float]) -> None:
        """Take in what `measure` said of a member of a case."""
        self._members[case].append(values)

    def by_case(self) -> dict[str, dict[str, float]]:
        """Return the figures of each case by their names, means over its members, in order of first appearance."""
        names = [figure.name for figure in self.figures]
        return {
            case: dict(zip(names, map(fmean, zip(*members, strict=True)), strict=True))
            for case, members in self._members.items()
        }

    @override
    def summary(self) -> Summary:
        cases = list(self.by_case().values())
        row: dict[str, Any] = {"n": len(cases)}
        for figure in self.figures:
            found = spread([case[figure.name] for case in cases]) if cases else (None, None, None)
            row |= dict(zip(figure.keys, found, strict=True))
        return {"all": row}

    @cached_property
    def _members(self) -> defaultdict[str, list[Sequence[float]]]:
        return defaultdict(list)


def decisive(summary: Summary, figures: Sequence[Figure]) -> float | None:
    """Return the figure that chooses the best checkpoint, over all rows by their "n"; None where none has it."""
    rows = [(row["n"], row[figures[0].key]) for row in summary.values()]
    known = [(count, value) for count, value in rows if value is not None and count]
    return sum(count * value for count, value in known) / sum(count for count, _ in known) if known else None


def goodness(value: float | None, figure: Figure) -> float:
    """Return a number that is the higher the better a figure is; what is not known is worse than all that is."""
    if value is None:
        return -inf
    return value if figure.higher_is_better else -value
