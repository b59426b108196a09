"""What experiments have found so far, kept line by line, so that one that was stopped goes on where it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ddmkit.errors import StorageError
from ddmkit.scoring import Score

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "kept"
"""Below the folder of the results."""


class Found(NamedTuple):
    """How well an ensemble of one size answers one case."""

    key: str
    """Names all that the scores depend on but the number of members: weights, case, settings."""
    members: int
    seconds: float
    """That sampling the members took."""
    scores: list[Score]
    """By region."""


class Kept:
    """A file of findings, one JSON object a line; experiments that share a folder share it.

    Args:
        folder: of the results; it is made, so that one that cannot be written to is known before hours of work.

    Raises:
        StorageError: it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER / "scores.jsonl"
        self._write("")
        self._found = {(one.key, one.members): one for one in map(_found, whole_lines(self._path))}

    def get(self, key: str, members: int) -> Found | None:
        """Return what was found, or None where it is still to be."""
        return self._found.get((key, members))

    def add(self, found: Found) -> None:
        """Keep a finding, on disk too.

        Raises:
            StorageError: it cannot be written.
        """
        record = {**found._asdict(), "scores": [score._asdict() for score in found.scores]}
        self._write(f"\n{json.dumps(record, allow_nan=False)}\n")  # the line before may have been cut short
        self._found[found.key, found.members] = found

    def _write(self, text: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            msg = f"Cannot write {self._path}: {error.strerror}. Give another --out, or make room and type this again."
            raise StorageError(msg) from error


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole; one cut short by a kill is passed over, and so is an empty one."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _found(record: dict[str, Any]) -> Found:
    scores = [Score(**score) for score in record["scores"]]
    return Found(record["key"], record["members"], record["seconds"], scores)
