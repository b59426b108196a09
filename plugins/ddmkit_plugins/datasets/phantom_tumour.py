"""The phantom's tumours: a necrotic core in an enhancing rim in an edema that spreads along white matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

from ddmkit_plugins.datasets.phantom_anatomy import Swelling, ventricles
from ddmkit_plugins.datasets.phantom_fields import larger, noise, ramp, rotation, smaller

if TYPE_CHECKING:
    import numpy.typing as npt

    from ddmkit_plugins.datasets.phantom_anatomy import Brain, Head, Streams
    from ddmkit_plugins.datasets.phantom_fields import Field

HEALTHY = 0.08
"""Share of cases without a tumour."""
SMALLEST, LARGEST = 0.028, 0.10
"""The whole tumour's share of the head's volume."""


class Lesion(NamedTuple):
    """What is decided about a tumour before it is drawn."""

    swelling: Swelling
    voxels: int
    """Of the whole tumour."""
    core: float
    """Share of the whole tumour that is not edema."""
    rim: float
    """Mean thickness of the enhancing rim, mm; 0 in a tumour that does not enhance."""


class Tumour(NamedTuple):
    """Shares of each voxel, 0…1, shape (N,): `core` lies in `mass`, `mass` in `whole`."""

    whole: Field
    mass: Field
    """Core and enhancing rim together."""
    core: Field

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Shape (N,): 1 core, 2 edema, 4 enhancing, where they fill most of a voxel."""
        labels = np.zeros(self.whole.shape, np.uint8)
        for share, number in ((self.whole, 2), (self.mass, 4), (self.core, 1)):
            labels[share > 0.5] = number  # noqa: PLR2004 - a half
        return labels


def plan_lesions(streams: Streams, head: Head) -> list[Lesion]:
    """Decide how many tumours a head has, where they are and how large."""
    random = streams("tumour")
    if random.random() < HEALTHY:
        return []
    share = np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST)))
    parts = [0.75, 0.25] if random.random() < 0.2 and share > 0.04 else [1.0]  # noqa: PLR2004 - probabilities
    enhances = random.random() < 0.8  # noqa: PLR2004 - probability
    lesions: list[Lesion] = []
    for part in parts:
        voxels = int(part * share * head.depth.size)
        radius = float(np.cbrt(voxels * 3 / (4 * np.pi)) * head.voxel)
        swelling = Swelling(_place(random, head, radius, lesions), radius)
        rim = random.uniform(3.5, 6.0) if enhances else 0.0
        lesions.append(Lesion(swelling, voxels, random.uniform(0.2, 0.5), rim))
    return lesions


def _place(random: np.random.Generator, head: Head, radius: float, others: list[Lesion]) -> Field:
    """Choose a centre in the depth of the cerebrum, off the middle and away from other lesions."""
    x, _, z = head.points
    off_ventricles = -ventricles(head.points, 1.0) - 0.35 * radius
    room = smaller(head.depth - min(0.75 * radius, 24), np.abs(x) - 14, z + 14, off_ventricles)
    for other in others:
        apart = np.linalg.norm(head.points - other.swelling.centre[:, None], axis=0)
        room = smaller(room, apart - 1.2 * (radius + other.swelling.radius))
    places = np.flatnonzero(room > 0)
    chosen = random.choice(places) if places.size else room.argmax()
    return head.points[:, chosen]


def draw_tumour(streams: Streams, head: Head, brain: Brain, lesions: list[Lesion]) -> Tumour:
    """Return the union of `lesions`."""
    nothing = np.zeros_like(head.depth)
    tumour = Tumour(nothing, nothing, nothing)
    for number, lesion in enumerate(lesions):
        drawn = _draw(streams, head, brain, lesion, number)
        tumour = Tumour(*(larger(old, new) for old, new in zip(tumour, drawn, strict=True)))
    return tumour


def _draw(streams: Streams, head: Head, brain: Brain, lesion: Lesion, number: int) -> Tumour:
    random = streams(f"lesion {number}")
    radius, points = lesion.swelling.radius, head.points
    away = rotation(random.uniform(-np.pi, np.pi, 3)) @ (points - lesion.swelling.centre[:, None])
    away /= random.uniform(0.78, 1.28, (3, 1)).astype(np.float32)
    distance = np.sqrt(np.einsum("in,in->n", away, away))
    lumps = noise(random, points, 0.9 * radius)
    lumps += 0.25 * noise(random, points, 0.45 * radius)

    spread = distance + 0.3 * radius * lumps
    spread += 5 * (1 - ramp(brain.white, 6.0))  # edema follows white matter and spares the cortex
    side = np.sign(lesion.swelling.centre[0])
    spread += 0.8 * np.clip(-side * points[0], 0, None)  # and hardly crosses to the other hemisphere
    tissue = smaller(brain.pia, -brain.ventricle)
    edge = _threshold(spread, tissue > 0, lesion.voxels) - spread
    whole = _connected(head, smaller(ramp(edge, 1.0 + 0.5 * head.voxel), ramp(tissue, head.voxel)))

    bulk = distance + 0.25 * radius * noise(random, points, 0.8 * radius)
    bulk += 0.08 * radius * noise(random, points, 0.35 * radius)
    limit = smaller(edge - 0.8 * head.voxel - 1.5, head.depth - 3)
    wanted = int(lesion.core * lesion.voxels)
    surface = smaller(_threshold(bulk, limit > 0, wanted) - bulk, limit)
    mass = smaller(ramp(surface, head.voxel), whole)
    rim = lesion.rim * (1 + 0.35 * noise(random, points, 0.45 * radius)) if lesion.rim else np.zeros_like(bulk)
    return Tumour(whole, mass, smaller(ramp(surface - rim, head.voxel), mass))


def _threshold(values: Field, allowed: npt.NDArray[np.bool_], count: int) -> np.float32:
    """Return the value below which `count` of the allowed places lie: below everything, where none is allowed."""
    candidates = values[allowed]
    if not candidates.size:
        return np.float32(-np.inf)
    last = min(max(count, 1), candidates.size) - 1
    found: np.float32 = np.partition(candidates, last)[last]
    return found


def _connected(head: Head, share: Field) -> Field:
    """Keep the largest piece: crumbs that noise broke off are nothing a radiologist would draw."""
    volume = np.zeros(head.inside.size, np.bool_)
    volume[head.inside] = share > 0.25  # noqa: PLR2004 - a lower share than the mask's, so that crumbs fade out whole
    pieces = np.empty(head.shape, np.int32)
    ndimage.label(volume.reshape(head.shape), output=pieces)
    numbers = pieces.ravel()[head.inside]
    sizes = np.bincount(numbers)
    sizes[0] = 0
    kept: Field = share * (numbers == sizes.argmax())
    return kept
