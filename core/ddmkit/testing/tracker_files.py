"""What stands in a run's folder while a tracker is told of it: files of the run's own, and lines of the tracker's."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ddmkit.run.folder import RunFolder


class Line(NamedTuple):
    """One line of a text file that a tracker keeps."""

    file: str
    """Below the run's folder."""
    text: str


class TrackerFiles:
    """Looks at the lines that a tracker writes into the folder of a run.

    Args:
        folder: of the run; what stands in it now is the run's own.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder.path
        self._own = (*folder.path.iterdir(), folder.metrics_file, folder.checkpoints)

    def own(self) -> dict[str, bytes]:
        """Return the contents of the run's own files by name."""
        return {self._name(path): path.read_bytes() for path in self._files() if self._is_own(path)}

    def lines(self) -> Counter[Line]:
        """Return how often each line stands in a tracker's files; what is no text has none."""
        return Counter(line for path in self._files() if not self._is_own(path) for line in self._lines_of(path))

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.rglob("*") if path.is_file())

    def _is_own(self, path: Path) -> bool:
        return any(path.is_relative_to(one) for one in self._own)

    def _lines_of(self, path: Path) -> list[Line]:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # a thread of the tracker's may just have replaced it
            return []
        return [Line(self._name(path), line) for line in text.splitlines() if line.strip()]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def said(lines: Sequence[Line]) -> str:
    """Quote the first of some lines, with its file."""
    return "".join(f"{line.text!r} in {line.file}" for line in lines[:1])
