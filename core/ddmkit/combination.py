"""What the members of an ensemble come to together, taken in one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from ddmkit.checked import checked_answer

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.task import LabelTask

Combine: TypeAlias = Literal["mean", "vote", "staple"]
"""How labels come of an ensemble: from the members' mean, or from the labels that each member comes to."""


class Labelling(Protocol):
    """Takes in the labels of member after member and says which labels they come to together."""

    def add(self, labels: Tensor) -> None:
        """Take in what a member says: shape (X, Y, Z), uint8, on the CPU."""
        ...

    def labels(self) -> Tensor:
        """Return what the members so far come to: shape (X, Y, Z), uint8, on the CPU."""
        ...


class Combination:
    """The members of one case: mean, variance and the labels that they come to; none of them is kept.

    Args:
        task: turns a read-out into labels.
        combine: how. mean: the answer to the mean read-out; vote and staple: what comes of the answers to the
            members' own.
    """

    def __init__(self, task: LabelTask, combine: Combine) -> None:
        from ddmkit.ensemble import Ensemble  # it imports torch, and a configuration, which needs `Combine`, does not

        self._task = task
        self._ensemble = Ensemble()
        self._labelling = _labelling(combine, len(task.answers))

    @property
    def members(self) -> int:
        """Number of members seen."""
        return self._ensemble.count

    def add(self, member: Tensor) -> None:
        """Take in a member's read-out: shape (C, X, Y, Z), float32, on the CPU."""
        self._ensemble.add(member[None])
        if self._labelling is not None:
            self._labelling.add(checked_answer(self._task, member))

    def mean(self) -> Tensor:
        """Return the mean read-out: shape (C, X, Y, Z), float32."""
        return self._ensemble.mean()

    def variance(self) -> Tensor:
        """Return the population variance of the read-outs: shape (C, X, Y, Z), float32."""
        return self._ensemble.variance()

    def labels(self) -> Tensor:
        """Return the labels that the members so far come to: shape (X, Y, Z), uint8."""
        return checked_answer(self._task, self.mean()) if self._labelling is None else self._labelling.labels()


def _labelling(combine: Combine, classes: int) -> Labelling | None:
    match combine:
        case "mean":
            return None
        case "vote":
            from ddmkit.votes import Votes

            return Votes(classes)
        case "staple":
            from ddmkit.staple import Staple

            return Staple(classes)


def held(combine: Combine, classes: int) -> int:
    """Return the bytes a voxel that a combination keeps beside mean and variance, for up to 255 members."""
    return {"mean": 0, "vote": classes, "staple": 4}[combine]
