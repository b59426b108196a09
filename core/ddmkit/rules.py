"""What can be wrong with the files of a case, and whether that is refused or warned about and read.

`check`, `train`, `sample` and `evaluate` obey this one table, because all of them read through `ddmkit.volume`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn, TypeAlias

from ddmkit.errors import RefusedDataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


Warn: TypeAlias = Callable[[str], None]
"""What is told a warning: one sentence that names the file."""


class Rule(NamedTuple):
    """What happens to a file or a case that something is wrong with."""

    verdict: Literal["refuse", "warn"]
    reason: str
    """Why, in one sentence."""


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        # The file.
        "name-not-utf8": Rule("refuse", "Answers, tables and JSON are named after it and could not be written."),
        "missing-file": Rule("refuse", "There is nothing to read."),
        "broken-link": Rule("refuse", "The file it stands for is gone, and another one cannot be guessed."),
        "link-loop": Rule("refuse", "The links never arrive at a file."),
        "not-a-file": Rule(
            "refuse", "A pipe or a device may never answer, and a folder may hold any of several files."
        ),
        "unreadable-file": Rule("refuse", "The operating system does not hand its bytes over."),
        "empty-file": Rule("refuse", "It was cut off before its first byte."),
        "missing-half": Rule("refuse", "A header (.hdr) without its voxels (.img), or the reverse, is half an image."),
        # Its bytes.
        "truncated": Rule("refuse", "What was cut off cannot be known."),
        "corrupt-compression": Rule("refuse", "From the first wrong bit on all voxels are noise."),
        "wrong-checksum": Rule("refuse", "Some voxels are not what was written, and nobody knows which."),
        "too-short": Rule("refuse", "The header promises voxels that are not there, so one of the two is wrong."),
        "bytes-behind": Rule(
            "warn", "Some writers pad their files; the voxels that the header promises are all there."
        ),
        "megabytes-behind": Rule("refuse", "So much more than the header promises means that the header is wrong."),
        "compression-bomb": Rule(
            "refuse", "Hardly any image is compressed so far, and inflating it may fill the memory."
        ),
        # Its header.
        "not-nifti": Rule("refuse", "Other formats say other things about where a voxel lies."),
        "voxel-type": Rule(
            "refuse", "A colour or a complex number is no intensity; how to make it one is for you to say."
        ),
        "absurd-dimensions": Rule("refuse", "No scanner makes such a volume, and it would not fit in memory."),
        "too-few-axes": Rule("refuse", "A slice has no place in a volume."),
        "too-many-axes": Rule("refuse", "Which of the volumes is meant cannot be known."),
        "voxel-offset": Rule("refuse", "Where the voxels begin is wrong, so every voxel would be."),
        "extension": Rule("refuse", "It overlaps the voxels, so where they begin is uncertain."),
        "scaling": Rule("warn", "NIfTI readers agree to take a scale that is no number as none."),
        "spacing": Rule("refuse", "Voxels without a size lie nowhere, and distances in mm could not be scored."),
        "unused-spacing": Rule("warn", "The sform says where the voxels lie, so the voxel sides are not needed."),
        "affine": Rule("refuse", "It places no voxel."),
        "no-transform": Rule("warn", "The voxels can be used, but left and right cannot be told apart."),
        "units": Rule("warn", "Most such files hold millimetres all the same, but distances may be off by a thousand."),
        # Which of its volumes.
        "4d-for-3d": Rule("refuse", "Which of the volumes is meant cannot be known."),
        "3d-for-4d": Rule("refuse", "The file is not the one that the data set describes."),
        "no-such-volume": Rule("refuse", "The file is not the one that the data set describes."),
        # Its voxels.
        "not-finite": Rule("refuse", "One such voxel makes every number that is computed from it NaN."),
        "constant-image": Rule("refuse", "It shows nothing; most likely the export failed."),
        # The case.
        "missing-modality": Rule("refuse", "The network takes all of its modalities."),
        "one-image-twice": Rule("warn", "Some stand in for a missing modality so, but most mistyped a name."),
        "different-orientations": Rule("refuse", "Voxels of one index would lie on different sides of the head."),
        "different-shapes": Rule("refuse", "Voxels of one index would lie at different places."),
        "different-affines": Rule("refuse", "Voxels of one index would lie at different places."),
        "slightly-different-affines": Rule(
            "warn", "Headers are rounded; less than a tenth of a voxel is no other place."
        ),
        # Its labels.
        "unknown-label": Rule("refuse", "What a number means cannot be guessed: years and layouts differ."),
        "fractional-label": Rule("refuse", "Interpolation has mixed two labels into a third."),
        "too-many-classes": Rule("refuse", "A class is stored as one byte."),
        "labels-outside": Rule("warn", "There is nothing to see there: the labels may be of another case, or turned."),
    }
)


def refuse(rule: str, sentence: str) -> NoReturn:
    """Refuse what breaks a rule.

    Args:
        rule: its name.
        sentence: names the file, says what is wrong with it and what to do.

    Raises:
        RefusedDataError: always.
    """
    assert RULES[rule].verdict == "refuse"  # noqa: S101 - the caller has nothing to go on with
    raise RefusedDataError(sentence, rule)


def caution(rule: str, sentence: str, warn: Warn) -> None:
    """Warn of what breaks a rule, which can be read all the same; refuse it if the table says so.

    Args:
        rule: its name.
        sentence: names the file, says what is wrong with it and what is done.
        warn: is told the sentence.

    Raises:
        RefusedDataError: the table refuses it.
    """
    if RULES[rule].verdict == "refuse":
        refuse(rule, sentence)
    warn(sentence)


def shown(path: Path | str) -> str:
    r"""Return a path for a sentence: bytes that are not UTF-8 become \xNN, and what would break the line is escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
