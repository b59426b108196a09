"""Files that cannot be read, whatever they hold, and files whose bytes are not what they should be."""

from __future__ import annotations

import gzip
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from tests.core.breaches import Breaches, labels, volume, whole_file
from tests.core.niftis import SHAPE, content_of, header_of, save, store, voxels

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from ddmkit.rules import Warn

GIGABYTE = 1 << 30

breaks = Breaches()


@contextmanager
def nobody() -> Generator[None]:
    """Be a user who may not read everything, if we are root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def by_nobody(path: Path, warn: Warn) -> None:
    with nobody():
        whole_file(path, warn)


def gigabyte_of_zeros(start: bytes = b"") -> bytes:
    """Return a valid gzip stream of a megabyte that begins with `start` and goes on for a gigabyte."""
    piece = 64 << 20
    first = gzip.compress(start.ljust(piece, b"\0"), 1)
    return first + gzip.compress(bytes(piece), 9) * (GIGABYTE // piece - 1)


# The file.


@breaks("name-not-utf8")
def in_latin_1(folder: Path) -> Path:
    return save(folder / os.fsdecode(b"Gr\xf6\xdfe.nii"))


@breaks("missing-file")
def not_there(folder: Path) -> Path:
    return folder / "missing.nii"


@breaks("missing-file")
def in_a_missing_folder(folder: Path) -> Path:
    return folder / "missing" / "a.nii"


@breaks("broken-link")
def link_to_nothing(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("gone.nii")
    return folder / "a.nii"


@breaks("link-loop")
def links_in_a_circle(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("b.nii")
    (folder / "b.nii").symlink_to("a.nii")
    return folder / "a.nii"


@breaks("not-a-file")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.nii.gz")
    return folder / "a.nii.gz"


@breaks("not-a-file")
def socket(folder: Path) -> Path:
    os.mknod(folder / "a.nii", stat.S_IFSOCK | 0o600)
    return folder / "a.nii"


@breaks("not-a-file")
def endless_device(folder: Path) -> Path:
    (folder / "a.nii").symlink_to("/dev/zero")
    return folder / "a.nii"


@breaks("not-a-file")
def folder_with_a_file_in_it(folder: Path) -> Path:
    (folder / "a.nii").mkdir()
    save(folder / "a.nii" / "00000057_brain_flair.nii")
    return folder / "a.nii"


@breaks("unreadable-file", by_nobody)
def of_another_user(folder: Path) -> Path:
    path = save(folder / "a.nii")
    path.chmod(0)
    return path


@breaks("unreadable-file")
def name_with_a_null_byte(folder: Path) -> Path:
    return folder / "a\0.nii"


@breaks("unreadable-file")
def below_a_file(folder: Path) -> Path:
    return save(folder / "a.nii") / "b.nii"


@breaks("empty-file")
def nothing(folder: Path) -> Path:
    (folder / "a.nii").touch()
    return folder / "a.nii"


@breaks("empty-file")
def nothing_compressed(folder: Path) -> Path:
    return store(folder / "a.nii.gz", b"")


@breaks("missing-half")
def header_alone(folder: Path) -> Path:
    return store(folder / "a.hdr", header_of(voxels(), single=False))


@breaks("missing-half")
def voxels_alone(folder: Path) -> Path:
    return store(folder / "a.img.gz", bytes(1000))


# Its bytes.


@breaks("truncated")
def cut_in_the_voxels(folder: Path) -> Path:
    path = save(folder / "a.nii.gz", voxels(shape=(30, 30, 30)))
    os.truncate(path, path.stat().st_size // 2)
    return path


@breaks("truncated")
def cut_in_the_checksum(folder: Path) -> Path:
    path = save(folder / "a.nii.gz")
    os.truncate(path, path.stat().st_size - 3)
    return path


@breaks("corrupt-compression")
def no_deflate(folder: Path) -> Path:
    content = bytearray(save(folder / "a.nii.gz", voxels(shape=(30, 30, 30))).read_bytes())
    content[10] = 0xFF  # a type of block that does not exist
    (folder / "a.nii.gz").write_bytes(content)
    return folder / "a.nii.gz"


def with_bits_flipped(path: Path, place: int) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    return path


@breaks("wrong-checksum")
def other_checksum(folder: Path) -> Path:
    return with_bits_flipped(save(folder / "a.nii.gz"), -8)


@breaks("wrong-checksum")
def other_length(folder: Path) -> Path:
    return with_bits_flipped(save(folder / "a.nii.gz"), -1)


@breaks("wrong-checksum", labels)
def other_checksum_of_labels(folder: Path) -> Path:
    return with_bits_flipped(save(folder / "seg.nii.gz", np.ones(SHAPE, dtype=np.uint8)), -8)


@breaks("wrong-checksum", volume(0))
def other_checksum_behind_the_volume_asked_for(folder: Path) -> Path:
    return with_bits_flipped(save(folder / "a.nii.gz", voxels(shape=(*SHAPE, 4))), -8)


@breaks("wrong-checksum")
def other_checksum_of_a_header(folder: Path) -> Path:
    store(folder / "a.img", bytes(1000))
    return with_bits_flipped(store(folder / "a.hdr.gz", header_of(voxels(), single=False)), -8)


@breaks("too-short")
def cut_without_compression(folder: Path) -> Path:
    path = save(folder / "a.nii")
    os.truncate(path, path.stat().st_size - 1)
    return path


@breaks("too-short")
def cut_in_the_header(folder: Path) -> Path:
    path = save(folder / "a.nii")
    os.truncate(path, 200)
    return path


@breaks("too-short")
def cut_before_compression(folder: Path) -> Path:
    return store(folder / "a.nii.gz", content_of(voxels())[:-1])


@breaks("too-short")
def a_gigabyte_promised_in_a_kilobyte(folder: Path) -> Path:
    return save(folder / "a.nii.gz", dim=[3, 800, 800, 800, 1, 1, 1, 1])


@breaks("too-short")
def voxels_cut_in_half_a_pair(folder: Path) -> Path:
    store(folder / "a.hdr", header_of(voxels(), single=False))
    return store(folder / "a.img", voxels().tobytes()[:-4])


@breaks("bytes-behind")
def padded(folder: Path) -> Path:
    return store(folder / "a.nii", content_of(voxels()) + bytes(100))


@breaks("bytes-behind")
def padded_before_compression(folder: Path) -> Path:
    return store(folder / "a.nii.gz", content_of(voxels()) + bytes(100))


@breaks("bytes-behind")
def padded_behind_compression(folder: Path) -> Path:
    path = folder / "a.nii.gz"
    path.write_bytes(gzip.compress(content_of(voxels())) + b"rubbish")
    return path


@breaks("megabytes-behind")
def header_of_a_smaller_volume(folder: Path) -> Path:
    return store(folder / "a.nii", content_of(voxels()) + bytes((1 << 20) + 1))


@breaks("megabytes-behind")
def rubbish_behind_compression(folder: Path) -> Path:
    path = folder / "a.nii.gz"
    path.write_bytes(gzip.compress(content_of(voxels())) + b"r" * ((1 << 20) + 1))
    return path


@breaks("megabytes-behind")
def bomb_behind_the_voxels(folder: Path) -> Path:
    (folder / "a.nii.gz").write_bytes(gigabyte_of_zeros(content_of(voxels())))
    return folder / "a.nii.gz"


@breaks("compression-bomb")
def bomb(folder: Path) -> Path:
    header = header_of(voxels(dtype="int16"), dim=[3, 800, 800, 800, 1, 1, 1, 1])
    (folder / "a.nii.gz").write_bytes(gigabyte_of_zeros(header))
    return folder / "a.nii.gz"


@breaks("compression-bomb", volume(1))
def bomb_of_many_volumes(folder: Path) -> Path:
    header = header_of(voxels(dtype="uint8"), dim=[4, 100, 100, 100, 1000, 1, 1, 1])
    (folder / "a.nii.gz").write_bytes(gigabyte_of_zeros(header))
    return folder / "a.nii.gz"
