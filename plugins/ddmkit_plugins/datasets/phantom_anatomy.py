"""A healthy head without its skull: where brain, cortex, ventricles, deep grey matter and vessels lie.

Everything is a signed distance in mm at the voxels inside the head, shape (N,), positive inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddmkit_plugins.datasets.phantom_fields import (
    ellipsoid,
    grid,
    larger,
    mirrored,
    noise,
    rotation,
    smaller,
    spacing,
    tube,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from ddmkit import Shape
    from ddmkit_plugins.datasets.phantom_fields import Field

    Streams = Callable[[str], np.random.Generator]
    """Fresh random numbers of one case for each purpose."""


TEMPORAL = ((40, 12, -24), (26, 42, 26))
"""Centre and half-axes of the right temporal lobe, mm."""


class Head(NamedTuple):
    """The skull-stripped head in its volume."""

    shape: Shape
    inside: npt.NDArray[np.bool_]
    """Shape (X·Y·Z,): the voxels that are not background; all other arrays list these in order."""
    points: Field
    """Shape (3, N): anatomical coordinates, mm."""
    depth: Field
    """How far below the surface, mm."""
    voxel: float
    """Mean side of a voxel, mm."""


class Swelling(NamedTuple):
    """What a tumour does to the anatomy around it."""

    centre: Field
    """Shape (3,), mm."""
    radius: float
    """Of a ball of the tumour's volume, mm."""


class Brain(NamedTuple):
    """Depths inside the structures, mm, shape (N,)."""

    pia: Field
    """Depth below the folded surface of the brain; negative in the fluid around it."""
    white: Field
    """Depth inside white matter."""
    ventricle: Field
    deep_grey: Field
    putamen: Field
    vessel: Field
    dura: Field
    choroid: Field


def draw_head(streams: Streams, shape: Shape) -> Head:
    """Return a head of random size and pose that fills most of `shape`."""
    random = streams("pose")
    turned = rotation(random.normal(0, (0.05, 0.05, 0.07))) @ grid(shape)
    turned /= random.uniform((0.93, 0.93, 0.93), (1.0, 1.0, 1.0)).astype(np.float32)[:, None]
    depth = _surface(turned)
    near = depth > -8  # noqa: PLR2004 - mm, more than the lumps reach
    points, lumpy = turned[:, near], depth[near]
    lumpy += 2.2 * noise(streams("lumps"), points, 34.0)
    inside = near.copy()
    inside[near] = lumpy > 0
    return Head(shape, inside, points[:, lumpy > 0], lumpy[lumpy > 0], float(spacing(shape).mean()))


def _surface(points: Field) -> Field:
    """Depth inside the smooth hull of cerebrum, temporal lobes, cerebellum and brain stem."""
    half = mirrored(points)
    tapered = points.copy()
    tapered[0] *= 1 + np.float32(0.0016) * np.clip(points[1], 0, None)  # the frontal lobes are narrower
    cerebrum = ellipsoid(tapered, (0, 0, 12), (67, 86, 54))
    floor = points[2] + 24 - 0.16 * points[1].clip(0)
    body = -union(-cerebrum, -floor, 12.0)
    for centre, axes in (TEMPORAL, ((23, -46, -37), (33, 33, 27)), ((0, -44, -36), (22, 28, 24))):
        body = union(body, ellipsoid(half, centre, axes), 9.0)
    body = union(body, tube(points, (0, -6, -14), (0, -20, -80), (19, 12)), 9.0)
    return smaller(body, points[2] + 65)


def draw_brain(streams: Streams, head: Head, swellings: Sequence[Swelling]) -> Brain:
    """Return the anatomy inside `head`, pushed aside by `swellings`."""
    points = _warped(streams, head)
    effaced = np.zeros_like(head.depth)
    for swelling in swellings:
        points, bump = _pushed(points, swelling)
        effaced = larger(effaced, bump)
    sheet, branch = _folds(streams, head, points)
    random = streams("anatomy")
    gap = np.float32(random.uniform(0.7, 1.5)) * (1 - effaced) - 2 * effaced
    reach = 15 + 4 * noise(streams("sulci"), points, 28.0)
    sulcus = smaller(larger(sheet, head.depth - reach), larger(branch, head.depth - 0.7 * reach)) - gap
    fissure = smaller(_fissure(points), _sylvian(head, points)) - gap
    pia = smaller(head.depth - 1.2 - gap, sulcus, fissure)
    ventricle = ventricles(points, float(random.uniform(0.75, 1.45)))
    deep_grey, putamen = _deep_grey(points)
    cortex = 3.6 + 0.5 * noise(streams("cortex"), points, 14.0)
    return Brain(
        pia=pia,
        white=pia - cortex,
        ventricle=ventricle,
        deep_grey=smaller(deep_grey, -ventricle),
        putamen=putamen,
        vessel=_vessels(head, points, sheet, branch),
        dura=_dura(streams, head, fissure),
        choroid=_choroid(streams, points, ventricle),
    )


def _warped(streams: Streams, head: Head) -> Field:
    """Move points by a few mm, smoothly: no two heads are alike, nor the halves of one."""
    return np.stack([line + 2.5 * noise(streams(f"warp {i}"), head.points, 45.0) for i, line in enumerate(head.points)])


def _pushed(points: Field, swelling: Swelling) -> tuple[Field, Field]:
    """Push the anatomy away from a swelling; also return how strongly each point is concerned, 0…1."""
    away = points - swelling.centre[:, None]
    bump = np.exp(np.einsum("in,in->n", away, away) * np.float32(-0.5 / (1.1 * swelling.radius) ** 2))
    away *= 1 - np.float32(0.35) * bump
    away += swelling.centre[:, None]
    return away, bump


def _folds(streams: Streams, head: Head, points: Field) -> tuple[Field, Field]:
    """Distance to the sheets along which the surface folds inward, and to a second family that crosses them.

    The sheets are where smooth noise is zero. It is looked up near the surface, so that they run straight inward.
    """
    length = np.sqrt(np.einsum("in,in->n", points, points)) + 15
    outward = points * (1 + 0.85 * head.depth / length)
    cerebellum = (points[2] < -20) & (points[1] < -22)  # noqa: PLR2004 - mm
    cell = max(8.5, 3.2 * head.voxel)  # folds that a voxel cannot show would only look like noise
    leaves = np.asarray([[1.0], [1.2], [np.clip(cell / (2.5 * head.voxel), 1, 2.4)]], np.float32)
    outward *= np.where(cerebellum, leaves, np.float32(1))  # the cerebellum's folds are thin and flat
    sheet = np.abs(noise(streams("folds"), outward, cell)) * np.float32(cell / 1.7)
    branch = np.abs(noise(streams("branches"), outward, 1.3 * cell)) * np.float32(1.3 * cell / 1.7)
    return sheet, branch


def _fissure(points: Field) -> Field:
    """Distance to the sheet of fluid between the hemispheres, which ends at the corpus callosum, and the tentorium."""
    middle = larger(np.abs(points[0]), ellipsoid(points, (0, -6, -2), (40, 46, 27)), -24 - points[2])
    slope = points[2] + 19 - 0.25 * np.clip(-points[1] - 30, 0, None)
    tentorium = larger(np.abs(slope) * 0.9, ellipsoid(points, (0, 20, -20), (200, 45, 60)))
    return smaller(middle, tentorium)


def _sylvian(head: Head, points: Field) -> Field:
    """Distance to the sheet of fluid between the temporal lobe and the insula."""
    lobe = np.abs(ellipsoid(mirrored(points), *TEMPORAL))
    return larger(lobe, head.depth - 24, TEMPORAL[0][2] + 8 - points[2])


def ventricles(points: Field, size: float) -> Field:
    """Return the depth inside all four ventricles; `size` scales their widths."""
    half = mirrored(points)
    front = tube(half, (5, 30, 8), (10, -5, 18), (4.5 * size, 4.5 * size))
    body = tube(half, (10, -5, 18), (22, -36, 10), (4.5 * size, 7 * size))
    back = tube(half, (22, -36, 10), (20, -62, 6), (5.5 * size, 1.5))
    temporal = tube(half, (25, -34, 4), (34, 2, -20), (3.5 * size, 2.0))
    third = ellipsoid(points, (0, -6, -2), (2.2 * size, 12, 10))
    fourth = ellipsoid(points, (0, -34, -38), (6 * size, 5 * size, 9))
    lateral = union(union(front, body, 3.0), union(back, temporal, 3.0), 3.0)
    # A septum keeps the two lateral ventricles apart.
    return larger(smaller(lateral, half[0] - 1.2), third, fourth)


def _deep_grey(points: Field) -> tuple[Field, Field]:
    half = mirrored(points)
    thalamus = ellipsoid(half, (11, -14, 3), (9, 14, 10))
    caudate = tube(half, (13, 24, 8), (17, -8, 20), (6, 2.5))
    putamen = ellipsoid(half, (26, 4, 2), (6.5, 16, 10))
    return larger(thalamus, caudate, putamen), putamen


def _vessels(head: Head, points: Field, sheet: Field, branch: Field) -> Field:
    """Veins that run in the folds, and the sinus along the top of the falx."""
    veins = smaller(1.5 - np.hypot(sheet, branch), 16 - head.depth)
    above_or_behind = larger(points[2] - 5, -points[1] - 40)
    sinus = smaller(4.0 - np.hypot(points[0], 0.8 * (head.depth - 2.5)), above_or_behind)
    arteries = smaller(tube(mirrored(points), (5, 12, -16), (36, 14, -6), (2.4, 1.6)), head.depth)
    return larger(veins, sinus, arteries)


def _dura(streams: Streams, head: Head, fissure: Field) -> Field:
    """Patches of the membrane under the surface and of the falx."""
    patches = 2.0 * noise(streams("dura"), head.points, 25.0) - 0.5
    falx = smaller(0.4 - fissure, 28 - head.depth)
    return smaller(larger(1.8 - head.depth, falx), patches)


def _choroid(streams: Streams, points: Field, ventricle: Field) -> Field:
    """The plexus that lies in the back of the lateral ventricles."""
    near = ellipsoid(mirrored(points), (20, -33, 9), (6, 11, 6)) + 1.5 * noise(streams("choroid"), points, 7.0)
    return smaller(near, ventricle - 0.5)
