"""Files that appear whole or not at all: write beside, flush to disk, rename."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ddmkit.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_END = 100
"""Bytes of a name that its temporary one keeps."""


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`, which takes its place when the block ends well.

    Its name keeps `path`'s suffixes, which some writers choose the format by.

    Raises:
        StorageError: the disk is full or does not let us write.
    """
    temporary = _beside(path)
    try:
        with _storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        with suppress(OSError):  # what kept us from writing may keep us from deleting; the first error says more
            temporary.unlink()


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """Yield an empty temporary folder beside `path`, which takes its place when the block ends well.

    Raises:
        StorageError: the disk is full or does not let us write.
    """
    temporary = _beside(path)
    try:
        with _storage_errors(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.iterdir():
                _flush(file)
            _flush(temporary)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(path: Path) -> Path:
    """Return a temporary name of this process beside a path, which keeps the end of a name too long for more."""
    return path.with_name(f".{os.getpid()}-{os.fsdecode(os.fsencode(path.name)[-_END:])}")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _storage_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"Cannot write {path}: {reason}. Free or choose another place, then type the same command again."
        raise StorageError(msg) from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
