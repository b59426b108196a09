"""Sizes of memory and of volumes, as people type and read them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(i?)B\s*")
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}
_RESERVE = 1.05


def bytes_of(size: str) -> int:
    """Return a size such as "16GB" (10⁹ bytes) or "16GiB" (2³⁰ bytes) in bytes.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(size)
    if found is None:
        msg = f"{size!r} is no size such as 16GB or 900MB"
        raise ValueError(msg)
    number, unit, binary = found.groups()
    thousand = 1024.0 if binary else 1000.0
    return round(float(number) * math.pow(thousand, _UNITS[unit]))


def written(count: float) -> str:
    """Return a number of bytes as a setting takes it and people read it: "1.3GB", rounded up to two digits or more."""
    if count >= 1e10:  # noqa: PLR2004 - from here on whole gigabytes tell enough
        return f"{math.ceil(count / 1e9)}GB"
    return f"{math.ceil(count / 1e8) / 10:.1f}GB" if count >= 1e9 else f"{math.ceil(count / 1e6)}MB"  # noqa: PLR2004 - a GB


def proposed(count: float) -> str:
    """Return the size to type where so many bytes are foretold: a little more, as nothing is foretold exactly."""
    return written(_RESERVE * count)


def sides_of(shape: Iterable[object]) -> str:
    """Return the sides of a volume as people read them: "240×240×155"."""
    return "×".join(map(str, shape))
