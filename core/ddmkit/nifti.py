"""One NIfTI file: its grid, its voxels, and a new one on the grid of another."""

from __future__ import annotations

import gzip
import logging
import math
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ddmkit.files import whole_file
from ddmkit.nifti_header import parse_header
from ddmkit.rules import refuse, shown
from ddmkit.source import PIECE, opened

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from nibabel.nifti1 import Nifti1Header
    from numpy.typing import NDArray

    from ddmkit.nifti_header import NiftiHeader
    from ddmkit.rules import Warn
    from ddmkit.source import Source
    from ddmkit.window import Shape

_log = logging.getLogger(__name__)

_COMPRESSION = 1
"""Level of gzip: higher ones take several times as long to save a few percent of an answer."""
_HALVES = {"hdr": "img", "img": "hdr"}
_GRID_FIELDS = (
    "pixdim",
    "xyzt_units",
    "qform_code",
    "sform_code",
    *(f"quatern_{name}" for name in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"srow_{axis}" for axis in "xyz"),
)
"""What of a header says where voxels lie; the rest tells of the scan, and some of it of the patient."""


class Header(NamedTuple):
    """What a file says of its grid."""

    shape: Shape
    """Of one volume."""
    affine: NDArray[np.float64]
    """(4, 4): voxel indices to millimetres."""
    volumes: int
    """How many lie behind each other along the fourth axis; 1 in a 3D file."""


def read_header(path: Path, warn: Warn = _log.warning) -> Header:
    """Read a file's grid without its voxels, and make sure that the file can hold these.

    Args:
        path: the file.
        warn: is told what is odd about the header and can be read all the same.

    Raises:
        DataError: the file breaks a rule of `ddmkit.rules`.
    """
    with _opened(path, warn) as (header, _):
        return Header(header.shape, header.affine, header.volumes)


def read_array(path: Path, volume: int | None = None, warn: Warn = _log.warning) -> NDArray[np.float32]:
    """Read one volume as float32 (X, Y, Z), in the file's own voxel order.

    Args:
        path: the file.
        volume: which one of a 4D file, counted from 0; None: the file holds one only.
        warn: is told what is odd about the voxels and can be read all the same; of the header tells `read_header`.

    Raises:
        DataError: the file breaks a rule of `ddmkit.rules`.
    """
    (array,) = read_volumes(path, [volume], warn)
    return array


def read_volumes(path: Path, volumes: Sequence[int | None], warn: Warn = _log.warning) -> Iterator[NDArray[np.float32]]:
    """Read several volumes of one file in one go, each as `read_array`, in the order asked for.

    A volume that is asked for after one that lies behind it in the file is kept until its turn.

    Raises:
        DataError: as `read_array`; also after the last volume, where the end of the file is damaged.
    """
    with _opened(path, _unheard) as (header, source):
        order = [index_of(path, header.volumes, volume) for volume in volumes]
        passed: dict[int, NDArray[np.float32]] = {}
        place = 0
        for turn, wanted in enumerate(order):
            for index in range(place, wanted + 1):
                if index in order[turn:]:
                    passed[index] = _read_voxels(path, header, source)
                else:
                    source.skip(header.volume_bytes)
            place = max(place, wanted + 1)
            if turn + 1 == len(order):
                source.skip((header.volumes - place) * header.volume_bytes)
                source.finish(warn)
            yield passed[wanted].copy("K") if wanted in order[turn + 1 :] else passed.pop(wanted)


def index_of(path: Path, volumes: int, volume: int | None) -> int:
    """Return which volume of a file is meant.

    Args:
        path: the file, for sentences.
        volumes: how many it holds.
        volume: as in `ddmkit.Image`.

    Raises:
        RefusedDataError: there is no such volume, or it could be any.
    """
    if volume is None and volumes > 1:
        sentence = f"{shown(path)} holds {volumes} volumes where one is needed; split them, or say which one is meant."
        refuse("4d-for-3d", sentence)
    if volume and volumes == 1:
        sentence = (
            f"{shown(path)} holds one volume, but volume {volume}, counted from 0, is asked for; give the 4D file."
        )
        refuse("3d-for-4d", sentence)
    if not 0 <= (volume or 0) < volumes:
        sentence = (
            f"{shown(path)} holds the volumes 0 to {volumes - 1}; there is no volume {volume}: give one of these."
        )
        refuse("no-such-volume", sentence)
    return volume or 0


def write_like(path: Path, array: NDArray[Any], like: Path) -> None:
    """Write a volume on the grid of another file: its shape, affine, qform and sform with their codes, and units.

    Args:
        path: where to, .nii or .nii.gz.
        array: (X, Y, Z), of a type that NIfTI knows.
        like: whose grid; of a 4D file, that of each of its volumes.

    Raises:
        DataError: `like` breaks a rule of `ddmkit.rules`.
        StorageError: it cannot be written.
    """
    with _opened(like, _unheard) as (source, _):
        header = _header_like(source, array)
    content = (header.binaryblock, bytes(4), array.astype(header.get_data_dtype(), copy=False).tobytes(order="F"))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as compressed:
                compressed.writelines(content)
        else:
            file.writelines(content)


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an image consists of: itself, or the header (.hdr) and the voxels (.img) of a pair.

    Raises:
        RefusedDataError: half of a pair is missing.
    """
    bare = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem, _, ending = bare.rpartition(".")
    other = _HALVES.get(ending.lower())
    if other is None:
        return (path,)
    endings = (other.upper(), other) if ending.isupper() else (other, other.upper())
    compressions = (path.name[len(bare) :], "", ".gz", ".GZ")
    names = (f"{stem}.{end}{compression}" for compression in compressions for end in endings)
    half = next((path.with_name(name) for name in names if os.path.lexists(path.with_name(name))), None)
    if half is None:
        sentence = f"{shown(path)} has no {shown(stem)}.{other} beside it; put it there, or convert to .nii."
        refuse("missing-half", sentence)
    return (path, half) if other == "img" else (half, path)


@contextmanager
def _opened(path: Path, warn: Warn) -> Generator[tuple[NiftiHeader, Source]]:
    """Yield a file's header, and the file that holds its voxels at the first of them."""
    first, *pair = files_of(path)
    with opened(first) as source:
        header = parse_header(first, source, warn, single=not pair)
        promised = header.offset + header.volumes * header.volume_bytes
        if not pair:
            source.expect(promised)
            yield header, source
            return
        source.finish(_unheard)  # what follows a header of its own are extensions
    with opened(pair[0], compressed=pair[0].name.lower().endswith(".gz")) as source:  # voxels may begin with any bytes
        source.expect(promised)
        source.skip(header.offset)
        yield header, source


def _read_voxels(path: Path, header: NiftiHeader, source: Source) -> NDArray[np.float32]:
    """Read the next volume, of which the file's bytes are never in memory as a whole."""
    count = math.prod(header.shape)
    step = PIECE // header.dtype.itemsize
    array = np.empty(count, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond float32 is infinite, which is refused below
        for start in range(0, count, step):
            piece = array[start : start + step]
            stored = np.frombuffer(source.take(len(piece) * header.dtype.itemsize), header.dtype)
            piece[:] = stored if header.scale is None else _scaled(stored, *header.scale)
    strange = count - np.count_nonzero(np.isfinite(array))
    if strange:
        refuse("not-finite", f"{shown(path)} holds {strange} voxels that are NaN or infinite; mend the file.")
    return array.reshape(header.shape, order="F")


def _scaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    scaled: NDArray[Any] = stored * np.float64(slope) + np.float64(intercept)
    return scaled


def _header_like(like: NiftiHeader, array: NDArray[Any]) -> Nifti1Header:
    if array.shape != like.shape:
        msg = f"An array of shape {array.shape} does not lie on a grid of shape {like.shape}."
        raise ValueError(msg)
    header = like.form(endianness=like.endianness)
    sides = like.sides if like.volumes == 1 else like.shape
    header["dim"] = [len(sides), *sides, *(1,) * (len(header["dim"]) - 1 - len(sides))]
    for field in _GRID_FIELDS:
        header[field] = like.fields[field]
    header.set_data_dtype(array.dtype)
    header["vox_offset"] = like.form.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["descrip"] = b"ddmkit"
    return header


def _unheard(_: str) -> None:
    """Leave a warning to who has read the header before."""
