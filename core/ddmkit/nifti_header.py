"""What the header of a NIfTI file says, taken at its word or refused, never mended in silence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np
from nibabel.nifti1 import Nifti1Header, data_type_codes
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import quat2mat

from ddmkit.rules import caution, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ddmkit.rules import Warn
    from ddmkit.source import Source
    from ddmkit.window import Shape

_MOST_VOXELS = 1 << 29
"""Of one volume: 812 voxels along each side."""
_SPACE_AXES = 3
_MOST_AXES = 7
_MOST_OFFSET = 16 << 20
"""Bytes of header and extensions."""
_EXTENSION_HEAD = 8
_FLATTEST = 1e-6
"""Volume of a voxel over the product of its sides below which an affine counts as singular."""
_NO_ROTATION = 1e-3
"""By which the square of a quaternion may exceed 1."""
_UNITS = {1: "metres", 3: "micrometres"}
_ENDIANNESS: tuple[tuple[Literal["little", "big"], Literal["<", ">"]], ...] = (("little", "<"), ("big", ">"))
_OTHERS = {
    b"NRRD": "a NRRD file",
    b"\x89HDF": "an HDF5 or MINC file",
    b"CDF": "a MINC file",
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard",
    b"\xfd7zXZ": "compressed with xz",
    b"version https://git-lfs": "a pointer that `git lfs pull` replaces by the file",
    b"ObjectType": "a MetaImage file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"<": "a web page",
}
_DICOM_PREFIX = 128
"""Bytes before its magic."""
_FORMS: Mapping[bytes, tuple[type[Nifti1Header], Literal["<", ">"]]] = {
    form.sizeof_hdr.to_bytes(4, order): (form, sign)
    for form in (Nifti1Header, Nifti2Header)
    for order, sign in _ENDIANNESS
}
"""The first four bytes, which are the length of the header, tell form and endianness."""


class NiftiHeader(NamedTuple):
    """What of a header is used."""

    form: type[Nifti1Header]
    """NIfTI-1 or NIfTI-2."""
    endianness: Literal["<", ">"]
    fields: np.void
    """All of them, as they stand in the file: a numpy record."""
    sides: tuple[int, ...]
    """Three or more; the fifth and later are 1."""
    dtype: np.dtype[Any]
    """Of the voxels in the file."""
    offset: int
    """Of the first voxel in the file that holds them."""
    scale: tuple[float, float] | None
    """(slope, intercept): what is stored times slope plus intercept is meant; None: it is meant as stored."""
    affine: NDArray[np.float64]
    """(4, 4): voxel indices to millimetres; regular."""

    @property
    def shape(self) -> Shape:
        """Of one volume."""
        return self.sides[0], self.sides[1], self.sides[2]

    @property
    def volumes(self) -> int:
        """How many there are."""
        return math.prod(self.sides[3:])

    @property
    def volume_bytes(self) -> int:
        """Of one volume in the file."""
        return math.prod(self.shape) * self.dtype.itemsize


def parse_header(path: Path, source: Source, warn: Warn, *, single: bool) -> NiftiHeader:
    """Read a header; of a single file, all up to the first voxel.

    Args:
        path: of the file, for sentences.
        source: the file at its start.
        warn: is told what is odd and can be read all the same.
        single: whether the voxels are in the same file.

    Raises:
        RefusedDataError: it is no NIfTI header, or says what cannot be.
    """
    form, endianness, fields = _fields(path, source)
    sides = _sides(path, fields)
    dtype = _dtype(path, int(fields["datatype"])).newbyteorder(endianness)
    offset = _offset(path, fields, form.single_vox_offset if single else 0)
    if single:
        _pass_extensions(path, source, offset - form.sizeof_hdr, endianness)
    _look_at_units(path, fields, warn)
    scale = _scale(path, fields, warn)
    affine = _affine(path, fields, sides, abs(float(form.quaternion_threshold)), warn)
    return NiftiHeader(form, endianness, fields, sides, dtype, offset, scale, affine)


def _fields(path: Path, source: Source) -> tuple[type[Nifti1Header], Literal["<", ">"], np.void]:
    start = source.read(4)
    if not start:
        refuse("empty-file", f"{shown(path)} is empty; copy it again.")
    if start not in _FORMS:
        _refuse_format(path, _format_of(start + source.read(_DICOM_PREFIX)))
    form, endianness = _FORMS[start]
    content = start + source.take(form.sizeof_hdr - len(start))
    fields: np.void = np.frombuffer(content, np.dtype(form.template_dtype).newbyteorder(endianness))[0]
    if bytes(fields["magic"]) not in {form.single_magic, form.pair_magic}:
        _refuse_format(path, "an Analyze file, which does not say which side is left")
    return form, endianness, fields


def _format_of(start: bytes) -> str:
    if start[_DICOM_PREFIX:] == b"DICM":
        return "a DICOM file"
    return next((what for magic, what in _OTHERS.items() if start.startswith(magic)), "something else")


def _refuse_format(path: Path, what: str) -> NoReturn:
    refuse("not-nifti", f"{shown(path)} is no NIfTI image but {what}; convert it to NIfTI (.nii or .nii.gz).")


def _sides(path: Path, fields: np.void) -> tuple[int, ...]:
    axes, *lengths = (int(number) for number in fields["dim"])
    sides = tuple(lengths[: max(axes, 0)])
    if not 1 <= axes <= _MOST_AXES or min(sides) < 1 or math.prod(sides[:_SPACE_AXES]) > _MOST_VOXELS:
        refuse(
            "absurd-dimensions",
            f"{shown(path)} says that it has {axes} axes of {sides} voxels; a side is at least 1 and a volume holds "
            f"at most {_MOST_VOXELS} voxels: mend its header, or write it anew.",
        )
    if axes < _SPACE_AXES:
        refuse("too-few-axes", f"{shown(path)} has shape {sides}; one 3D volume (X, Y, Z) is needed: stack the slices.")
    if any(side > 1 for side in sides[_SPACE_AXES + 1 :]):
        refuse("too-many-axes", f"{shown(path)} has shape {sides}; save one 3D volume, or a 4D series of them.")
    return sides


def _dtype(path: Path, code: int) -> np.dtype[Any]:
    known = code in data_type_codes.value_set()
    kind: Any = data_type_codes.dtype[code] if known else np.void
    dtype: np.dtype[Any] = np.dtype(kind)
    if dtype.kind not in "iuf":
        name = data_type_codes.label[code] if known else f"of the unknown code {code}"
        refuse("voxel-type", f"{shown(path)} holds voxels of type {name}; one real number a voxel is needed.")
    return dtype


def _offset(path: Path, fields: np.void, least: int) -> int:
    offset = float(fields["vox_offset"])
    if not (least <= offset <= _MOST_OFFSET and offset.is_integer()):
        refuse(
            "voxel-offset",
            f"{shown(path)} says that its voxels begin at byte {offset:g}; {least} is the first that can be, and "
            f"{_MOST_OFFSET} the last that ddmkit reads: write it anew with the program that made it.",
        )
    return int(offset)


def _pass_extensions(path: Path, source: Source, count: int, endianness: str) -> None:
    """Read the `count` bytes between header and voxels: extensions describe the scan and are not used."""
    content = source.take(count)
    if not content[0]:
        return
    place = 4
    while count - place >= 2 * _EXTENSION_HEAD:
        length = int.from_bytes(content[place : place + 4], "little" if endianness == "<" else "big", signed=True)
        if not _EXTENSION_HEAD <= length <= count - place:
            refuse(
                "extension",
                f"A header extension of {shown(path)} is {length} bytes long, but there is room for {count - place} "
                "before its voxels; write it anew without extensions.",
            )
        place += length


def _scale(path: Path, fields: np.void, warn: Warn) -> tuple[float, float] | None:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or (slope, intercept) == (1, 0):
        return None
    if math.isfinite(slope) and math.isfinite(intercept):
        return slope, intercept
    sentence = f"The scale of {shown(path)} is {slope:g} and {intercept:g}: its voxels are taken as they are stored."
    caution("scaling", sentence, warn)
    return None


def _look_at_units(path: Path, fields: np.void, warn: Warn) -> None:
    unit = _UNITS.get(int(fields["xyzt_units"]) & 7)
    if unit is not None:
        caution("units", f"{shown(path)} says that its lengths are {unit}; they are taken as millimetres.", warn)


@np.errstate(all="ignore")  # whatever does not come out as a number is refused
def _affine(path: Path, fields: np.void, sides: tuple[int, ...], rounding: float, warn: Warn) -> NDArray[np.float64]:
    spacing = fields["pixdim"][1:4].astype(np.float64)
    sound = bool((np.isfinite(spacing) & (spacing > 0)).all())
    said = ", ".join(f"{side:g}" for side in spacing)
    if fields["sform_code"] > 0:
        if not sound:
            caution("unused-spacing", f"The voxel sides of {shown(path)} are {said}; its sform is used instead.", warn)
        affine = _sform(fields)
    elif not sound:
        refuse("spacing", f"The voxel sides of {shown(path)} are {said}, and it has no sform; mend its header.")
    elif fields["qform_code"] > 0:
        affine = _qform(path, fields, spacing, rounding)
    else:
        sentence = f"{shown(path)} has neither qform nor sform; its axes are taken to run left, anterior and superior."
        caution("no-transform", sentence, warn)
        affine = _analyze(spacing, sides)
    _require_regular(path, affine)
    return affine


def _sform(fields: np.void) -> NDArray[np.float64]:
    return np.array([*(fields[f"srow_{axis}"] for axis in "xyz"), (0, 0, 0, 1)], dtype=np.float64)


def _qform(path: Path, fields: np.void, spacing: NDArray[np.float64], rounding: float) -> NDArray[np.float64]:
    """Return the affine of the qform (the NIfTI-1 standard's method 2).

    The quaternion's first number is not stored. Where what the others leave for its square may be `rounding` alone, it
    is 0, as nibabel and the NIfTI library have it: its root would turn the volume visibly.
    """
    b, c, d = (float(fields[f"quatern_{name}"]) for name in "bcd")
    rest = 1 - (b * b + c * c + d * d)
    if not rest >= -_NO_ROTATION:  # a NaN is no rotation either
        refuse("affine", f"The qform of {shown(path)} is no rotation; mend its header.")
    flip = -1 if fields["pixdim"][0] < 0 else 1
    affine = np.eye(4)
    affine[:3, :3] = quat2mat([math.sqrt(rest) if rest > rounding else 0, b, c, d]) * spacing * (1, 1, flip)
    affine[:3, 3] = [fields[f"qoffset_{axis}"] for axis in "xyz"]
    return affine


def _analyze(spacing: NDArray[np.float64], sides: tuple[int, ...]) -> NDArray[np.float64]:
    """Return what nibabel takes a file without transforms for: x runs to the left, the origin is the centre."""
    affine = np.diag([*(spacing * (-1, 1, 1)), 1])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(sides[:_SPACE_AXES]) - 1) / 2
    return affine


def _require_regular(path: Path, affine: NDArray[np.float64]) -> None:
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    flatness = abs(np.linalg.det(affine[:3, :3] / sides))
    if not (np.isfinite(affine).all() and flatness > _FLATTEST):
        refuse(
            "affine",
            f"{shown(path)} has an affine that is singular or not finite, so its voxels have no size; mend its header.",
        )
