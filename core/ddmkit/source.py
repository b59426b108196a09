"""A file's bytes, read as a stranger's file has to be: regular files only, and no more inflated than is asked for."""

from __future__ import annotations

import errno
import os
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from ddmkit.rules import caution, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ddmkit.rules import Warn

PIECE = 1 << 20
"""Bytes that are handled at once."""
_COMPRESSED_PIECE = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
"""What zlib calls the format with header, checksum and length."""
_MOST_RATIO = 1032
"""Bytes that a byte of deflate can become at most."""
_BOMB_SIZE = 256 << 20
_BOMB_RATIO = 400
_MOST_BEHIND = 1 << 20
"""Bytes behind the voxels up to which a file is read with a warning."""
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Source:
    """An open file, read once from its start.

    Args:
        path: its name, for sentences.
        file: itself, at its start.
        compressed: whether it is; None: its first bytes tell, which is safer than its name.
    """

    def __init__(self, path: Path, file: BinaryIO, *, compressed: bool | None = None) -> None:
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        if compressed is None:
            compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
        self._inflater = zlib.decompressobj(_GZIP) if compressed else None
        self._waiting = b""
        """Compressed bytes that were read and not used yet."""
        self._behind = 0
        """Bytes behind the last compressed one."""

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end.

        Raises:
            RefusedDataError: the compression is damaged.
        """
        parts: list[bytes] = []
        while count:
            part = self._next(min(count, PIECE))
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            RefusedDataError: the compression is damaged, or there are fewer.
        """
        part = self.read(count)
        if len(part) < count:
            self._refuse_short(f"{count - len(part)} bytes or more are missing")
        return part

    def skip(self, count: int) -> None:
        """Pass over the next `count` bytes, which `expect` has made sure of.

        Raises:
            RefusedDataError: as `take`.
        """
        if self._inflater is None:
            self._file.seek(count, os.SEEK_CUR)
            return
        while count:
            count -= len(self.take(min(count, PIECE)))

    def expect(self, promised: int) -> None:
        """Make sure that the file can hold as many bytes, inflated, as its header promises; read nothing.

        Raises:
            RefusedDataError: it cannot, or is a compression bomb.
        """
        if promised > self._size * (1 if self._inflater is None else _MOST_RATIO):
            compressed = "" if self._inflater is None else " compressed"
            self._refuse_short(f"its header promises {promised} bytes, but it holds {self._size}{compressed} ones")
        if self._inflater is not None and promised > max(_BOMB_SIZE, _BOMB_RATIO * self._size):
            refuse(
                "compression-bomb",
                f"{shown(self._path)} would grow from {self._size} bytes to {promised}, like a file made to fill the "
                "memory; if it is what you want, save it as uint8, or uncompressed as .nii.",
            )

    def finish(self, warn: Warn) -> None:
        """Read on to the end and to the checksum, and look at what lies behind the bytes that were used.

        Raises:
            RefusedDataError: the compression is damaged, or too much lies behind.
        """
        inflated = 0 if self._inflater is None else len(self.read(_MOST_BEHIND + 1))
        behind = self._size - self._file.tell() if self._inflater is None else inflated + self._behind
        if behind > _MOST_BEHIND:
            refuse(
                "megabytes-behind",
                f"{shown(self._path)} goes on for more than {_MOST_BEHIND >> 20} MiB behind the voxels that its header "
                "promises; write it anew with the program that made it.",
            )
        if behind:
            sentence = f"{shown(self._path)} holds {behind} bytes behind its voxels, which are left out."
            caution("bytes-behind", sentence, warn)

    def _next(self, count: int) -> bytes:
        """Return some of the next bytes, at most `count`; none at the end."""
        if self._inflater is None:
            return self._file.read(count)
        while True:
            if self._inflater.eof and not self._next_member():
                return b""
            self._waiting = self._waiting or self._file.read(_COMPRESSED_PIECE)
            exhausted = not self._waiting
            part = self._inflate(count)
            if part:
                return part
            if exhausted and not self._inflater.eof:
                refuse("truncated", f"{shown(self._path)} was cut off: its compression does not end; copy it again.")

    def _inflate(self, count: int) -> bytes:
        assert self._inflater is not None  # noqa: S101 - the only caller has made sure
        try:
            part = self._inflater.decompress(self._waiting, count)
        except zlib.error as error:
            if str(error).endswith(("incorrect data check", "incorrect length check")):
                refuse("wrong-checksum", f"{shown(self._path)} has a wrong checksum: it is damaged; copy it again.")
            reason = str(error).rpartition(": ")[-1]
            refuse(
                "corrupt-compression", f"The compression of {shown(self._path)} is damaged ({reason}); copy it again."
            )
        self._waiting = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        return part

    def _next_member(self) -> bool:
        """Go on to what was compressed apart and appended, as some writers do block by block."""
        if len(self._waiting) < len(_GZIP_MAGIC):
            self._waiting += self._file.read(_COMPRESSED_PIECE)
        if self._waiting.startswith(_GZIP_MAGIC):
            self._inflater = zlib.decompressobj(_GZIP)
            return True
        self._behind = len(self._waiting) + self._size - self._file.tell()
        return False

    def _refuse_short(self, what: str) -> NoReturn:
        refuse("too-short", f"{shown(self._path)} is too short: {what}; copy it again, or mend its header.")


@contextmanager
def opened(path: Path, *, compressed: bool | None = None) -> Generator[Source]:
    """Open a file; for the arguments see `Source`.

    Raises:
        RefusedDataError: it is no regular file, is not there or cannot be read.
    """
    _check_name(path)
    try:
        _require_regular(path, _mode_of(path))  # before it is opened, which a pipe or a tape would notice
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            _require_regular(path, os.fstat(descriptor).st_mode)
            yield Source(path, file, compressed=compressed)
    except OSError as error:
        _refuse_unreadable(path, error)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        refuse("name-not-utf8", f"The name {shown(path)} is not UTF-8; rename it, for instance with convmv.")


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except ValueError as error:  # a null byte, which JSON or YAML may hold
        refuse("unreadable-file", f"Cannot read {shown(path)}: {error}; mend its name where it is written.")


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        refuse("not-a-file", f"{shown(path)} is {kind}, not a file; give a NIfTI file (.nii or .nii.gz).")


def _refuse_unreadable(path: Path, error: OSError) -> NoReturn:
    if error.errno == errno.ELOOP:
        refuse("link-loop", f"{shown(path)} is a link that leads back to itself; put the file there.")
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            target = shown(path.readlink())
            refuse("broken-link", f"{shown(path)} is a link to {target}, which is not there; put the file there.")
        refuse("missing-file", f"{shown(path)} is not there; put the file there, or give the right folder.")
    reason = error.strerror or str(error)
    refuse("unreadable-file", f"Cannot read {shown(path)}: {reason}; make it readable, or copy it again.")
