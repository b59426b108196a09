"""Patterns of file names, such as "{case}/**/*_flair.nii.gz": what a path that fits one says of its case.

A name may be read in several ways: `a_b_t1.nii` fits "{case}_*.nii" as the case `a` and as `a_b`. All readings are
returned, so that other files can tell which one is meant. They are found by one pass over a path that keeps a bounded
set of states, not by trying alternatives one after the other: no pattern takes exponential time.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from ddmkit import DataError
from ddmkit.rules import shown
from ddmkit.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

_State = TypeVar("_State")
Pieces: TypeAlias = tuple[str, ...]
"""Of one part of a path: literal text, "*", or a word in braces."""

_ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
_WORDS = ("{case}", "{patient}", "{visit}")
_PIECE = re.compile(r"(\{[^{}]*\}|\*+)")
HELP = "Known are {case}, {patient} and {visit}; * stands for anything in a name, ** for any folders."
"""What may stand in a pattern, for an error."""
ALIKE = 0.7
"""How alike a word has to be to be taken for another one misspelt: `mask` is not meant for `images`."""
_LONGEST, _SHOWN = 1000, 200
_MOST = 1000
"""States that a path may lead to; real names lead to a handful."""


class Reading(NamedTuple):
    """What the words of a pattern stand for in a path."""

    case: str | None = None
    patient: str | None = None
    visit: str | None = None

    @property
    def name(self) -> str:
        """Of the case."""
        return self.case if self.case is not None else f"{self.patient}_{self.visit}"


class Pattern(NamedTuple):
    """Names of files, relative to a folder."""

    text: str
    parts: tuple[Pieces | None, ...]
    """Between the slashes; None is "**", any number of folders."""

    @classmethod
    def parse(cls, text: str, where: str) -> Pattern:
        """Understand what a user wrote.

        Args:
            text: the pattern.
            where: what an error begins with, such as "ddmkit.yaml, images: t1".

        Raises:
            DataError: it leaves the folder, names no case, or names one in a way that cannot be understood.
        """
        if mistake := _mistake(text):
            msg = f'{where}: "{shown(text[:_SHOWN])}{"…" * (len(text) > _SHOWN)}" {mistake}'
            raise DataError(msg)
        parts = [part for part in unicodedata.normalize("NFC", text).split("/") if part not in {"", "."}]
        pieces = [None if part == "**" else _pieces(part) for part in parts]
        if pieces[-1] is None:
            pieces.append(("*",))
        return cls(text, tuple(pieces))

    def read(self, path: str) -> AbstractSet[Reading]:
        """Return every way to read `path`, relative and with slashes; none if it does not fit.

        Raises:
            DataError: there are too many ways.
        """
        names = unicodedata.normalize("NFC", path).split("/")
        deep = self.parts.count(None)
        if len(names) < len(self.parts) - deep or (not deep and len(names) > len(self.parts)):
            return frozenset()
        try:
            return _read(self.parts, names)
        except _TooManyError as error:
            msg = (
                f"{shown(path)} fits the pattern {self.quoted} in too many ways: write more of what the names have in "
                'common around the words in braces, such as "{case}_*T1*.nii.gz" instead of "*{case}*".'
            )
            raise DataError(msg) from error

    @property
    def quoted(self) -> str:
        """As it was written."""
        return f'"{self.text}"'

    def of(self, reading: Reading) -> str:
        """Return the pattern with its words replaced, as far as `reading` knows them."""
        text = self.text
        for word, value in zip(_WORDS, reading, strict=True):
            text = text if value is None else text.replace(word, value)
        return text


class _TooManyError(Exception):
    """A path can be read in so many ways that none is meant."""


def _pieces(part: str) -> Pieces:
    return tuple("*" if piece.startswith("*") else piece for piece in _PIECE.split(part) if piece)


def _mistake(text: str) -> str | None:
    """Return what is wrong with a pattern and what to write instead."""
    words = re.findall(r"\{[^{}]*\}", text)
    unknown = next((word for word in words if word not in _WORDS), "")
    stray = re.search("[{}]", _PIECE.sub("", text))
    absolute = text.startswith(("/", "~")) or re.match("[A-Za-z]:", text)
    named = "{case}" in words or {"{patient}", "{visit}"} <= set(words)
    checks = {
        "is empty: write a file's name, such as {case}_t1.nii.gz.": not text,
        f"is longer than {_LONGEST} characters: shorten it with * or **.": len(text) > _LONGEST,
        "holds a character that cannot be printed: write it without.": not text.isprintable(),
        "holds a backslash: write / between folders.": "\\" in text,
        "is an absolute path: write it as seen from the folder of the data.": absolute,
        "leaves the folder of the data by '..': give --data a folder that holds all files.": ".." in text.split("/"),
        f"holds {unknown}, which is no word here.{did_you_mean(unknown.lower(), _WORDS, ALIKE)} {HELP}": unknown,
        "holds a brace without its partner: write {case}.": stray,
        "does not say where the name of the case stands: write {case} there, or {patient} and {visit}.": not named,
        "holds both {case} and {visit}: {case} is the whole name, so write * for {visit}.": {"{case}", "{visit}"}
        <= set(words),
        f"does not end like the name of an image: end it in {', '.join(_ENDINGS)} or *.": not _may_be_image(text),
    }
    return next((mistake for mistake, made in checks.items() if made), None)


def _may_be_image(text: str) -> bool:
    tail = _PIECE.split(text)[-1].lower()
    return not text.endswith("}") and any(ending.endswith(tail) or tail.endswith(ending) for ending in _ENDINGS)


def _read(parts: tuple[Pieces | None, ...], names: list[str]) -> AbstractSet[Reading]:
    """Walk along the pattern, keeping for each number of names that it may have used up what they say."""
    last = parts[-1]
    if last is None or not _readings(last, names[-1]):
        return frozenset()
    states: dict[int, AbstractSet[Reading]] = {0: {Reading()}}
    for part in parts:
        after: dict[int, AbstractSet[Reading]] = {}
        skipped: set[Reading] = set()
        for used, name in enumerate(names):
            before = states.get(used, frozenset())
            if part is None:
                skipped |= before
                after[used] = _bounded(skipped)
            elif before:
                after[used + 1] = _bounded(_joined(before, _readings(part, name)))
        states = after
    return states.get(len(names), frozenset())


def _joined(before: AbstractSet[Reading], here: AbstractSet[Reading]) -> Iterator[Reading]:
    """Yield what both parts of a path say, where they agree."""
    for one in before:
        for other in here:
            if all(a is None or b is None or a == b for a, b in zip(one, other, strict=True)):
                yield Reading(*(b if a is None else a for a, b in zip(one, other, strict=True)))


@lru_cache(maxsize=1 << 14)
def _readings(pieces: Pieces, text: str) -> frozenset[Reading]:
    """Return every way to read one name; the ending of an image is no part of any word."""
    stem = len(text) - next((len(ending) for ending in _ENDINGS if text.lower().endswith(ending)), 0)
    states = {(0, Reading())}
    for piece, following in pairwise((*pieces, "")):
        after = (state for before in states for state in _steps(piece, following, text, *before))
        states = _bounded(state for state in after if state[0] <= stem or piece not in _WORDS)
    return frozenset(reading for position, reading in states if position == len(text))


def _steps(piece: str, following: str, text: str, start: int, reading: Reading) -> Iterator[tuple[int, Reading]]:
    """Yield where `piece` may end that begins at `start`, and what is known then."""
    word = piece[1:-1] if piece in _WORDS else None
    literal = getattr(reading, word) if word else piece if piece != "*" else None
    if literal is not None:
        if text.startswith(literal, start):
            yield start + len(literal), reading
        return
    for end in _ends(following, text, start + (word is not None)):
        yield end, reading._replace(**{word: text[start:end]}) if word else reading


def _ends(following: str, text: str, first: int) -> Iterator[int]:
    """Yield the places from `first` on where `following` may begin; "" is the end."""
    if not following:
        yield from range(max(first, len(text)), len(text) + 1)
    elif following == "*" or following in _WORDS:
        yield from range(first, len(text) + 1)
    else:
        end = text.find(following, first)
        while end >= 0:
            yield end
            end = text.find(following, end + 1)


def _bounded(states: Iterable[_State]) -> set[_State]:
    kept: set[_State] = set()
    for state in states:
        kept.add(state)
        if len(kept) > _MOST:
            raise _TooManyError
    return kept
