"""Write what TensorBoard reads: event files, each record whole or not there."""

from __future__ import annotations

import errno
import io
import os
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PNG_SIDES = slice(16, 24)
"""Where a PNG says its width and height."""
_BEFORE, _AFTER = 12, 4
"""Bytes around a record: its length and a checksum of that, and its own checksum."""


class EventFile:
    """A new file among a folder's event files. Each record goes to the disk at once, so that a kill loses none.

    Args:
        folder: of the event files; it need not exist yet.
        first: what other files of the folder say of this step and later ones counts no more.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        self._events: Any = event_pb2  # whose classes are made at run time
        self._summaries: Any = summary_pb2
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names.
        self.path = folder / f"events.out.tfevents.{time.time():.6f}"
        self._file = self.path.open("xb", buffering=0)
        self._write(file_version="brain.Event:2")
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=first, session_log=start)

    def add_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Add a point to each curve.

        Raises:
            OSError: as `add`.
        """
        values = [self._summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self.add(step, self._summaries.Summary(value=values))

    def add_picture(self, step: int, tag: str, png: bytes) -> None:
        """Add a picture, the bytes of a PNG.

        Raises:
            OSError: as `add`.
        """
        width, height = struct.unpack(">II", png[_PNG_SIDES])
        image = self._summaries.Summary.Image(width=width, height=height, encoded_image_string=png)
        self.add(step, self._summaries.Summary(value=[self._summaries.Summary.Value(tag=tag, image=image)]))

    def add(self, step: int, summary: object) -> None:
        """Add a `Summary` as TensorBoard's own plugins make it.

        Raises:
            OSError: it cannot be written; the file is as before.
        """
        self._write(step=step, summary=summary)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **fields: object) -> None:
        """Write an `Event`."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = io.BytesIO()
        RecordWriter(record).write(self._events.Event(wall_time=time.time(), **fields).SerializeToString())
        end = self._file.tell()
        try:
            self._write_whole(record.getvalue())
        except OSError:
            self._file.seek(end)
            self._file.truncate()
            raise

    def _write_whole(self, record: bytes) -> None:
        if self._file.write(record) < len(record):  # which is all that a full disk says at first
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)


def event_files(folder: Path) -> list[Path]:
    """Return a folder's event files, the oldest first."""
    return sorted(folder.glob("*tfevents*"))


def steps_held(folder: Path) -> dict[str, int]:
    """Return the last step that a folder's event files hold, by the first word of curves' names, such as "train"."""
    from tensorboard.compat.proto import event_pb2

    protocol: Any = event_pb2
    held: dict[str, int] = {}
    for event in (protocol.Event.FromString(record) for path in event_files(folder) for record in _records(path)):
        if event.session_log.status == protocol.SessionLog.START:
            held = {word: min(step, event.step - 1) for word, step in held.items()}
        words = {value.tag.partition("/")[0] for value in event.summary.value if value.HasField("simple_value")}
        held |= dict.fromkeys(words, event.step)
    return held


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file up to one that is cut short.

    TensorBoard's own reader works out checksums in Python, which takes a minute for a million steps.
    """
    with path.open("rb") as file:
        while len(before := file.read(_BEFORE)) == _BEFORE:
            (length,) = struct.unpack_from("<Q", before)
            if len(record := file.read(length)) < length:
                return
            file.seek(_AFTER, os.SEEK_CUR)
            yield record
