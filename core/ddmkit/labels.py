"""Label numbers on disk and what they mean; inside the program a label is never a bare number."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def classes_of(labels: Mapping[int, str]) -> tuple[str, ...]:
    """Return the classes that label numbers may mean, "background" first; two numbers may mean the same."""
    return tuple(dict.fromkeys(("background", *labels.values())))


def numbers_for(answers: Sequence[str], labels: Mapping[int, str]) -> dict[int, str]:
    """Return what the numbers of an answer mean: those of the case's own layout, where it has them.

    Args:
        answers: the classes that the answer may hold.
        labels: what numbers mean in the label files of the case. A class that it does not know gets the next free
            number; where it knows none of them, they count from 1.
    """
    own = {name: number for number, name in sorted(labels.items(), reverse=True) if name in answers}
    free = iter(count(1)) if not own else (number for number in count(1) if number not in labels)
    return {own[name] if name in own else next(free): name for name in answers}
