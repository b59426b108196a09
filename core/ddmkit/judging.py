"""How answers are judged: what a task's figures are called, which of them decides, and who works them out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit.scoring import Score

Summary: TypeAlias = "Mapping[str, Mapping[str, Any]]"
"""What answers come to, by region or by what else is told apart: "n", and every figure under its `Figure.key`."""


class Figure(NamedTuple):
    """A number that answers are judged by."""

    name: str
    """In JSON."""
    title: str
    """In tables and pictures, short."""
    higher_is_better: bool
    unit: str = ""
    decimals: int = 3
    largest: float | None = None
    """That it can be, where there is one; the smallest that is usual is 0."""
    by_case: bool = False
    """Whether each case has its own, which a summary gives the mean, spread and interval of; else it is the set's."""

    @property
    def key(self) -> str:
        """Its name in a summary."""
        return f"{self.name}_mean" if self.by_case else self.name

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
