"""What a scanner makes of the phantom's head: four contrasts, bias fields, noise, arbitrary units."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from ddmkit_plugins.datasets.phantom_anatomy import draw_brain, draw_head
from ddmkit_plugins.datasets.phantom_fields import larger, noise, ramp, smaller
from ddmkit_plugins.datasets.phantom_tumour import draw_tumour, plan_lesions

if TYPE_CHECKING:
    import numpy.typing as npt

    from ddmkit import Shape
    from ddmkit_plugins.datasets.phantom_anatomy import Brain, Head, Streams
    from ddmkit_plugins.datasets.phantom_fields import Field
    from ddmkit_plugins.datasets.phantom_tumour import Tumour

Voxel = TypeVar("Voxel", bound=np.generic)

CONTRASTS = ("t1", "t1ce", "t2", "flair")
BRIGHTNESS: dict[str, tuple[float, float, float, float]] = {
    "fluid": (0.24, 0.25, 1.02, 0.14),
    "grey": (0.64, 0.66, 0.60, 0.62),
    "white": (0.92, 0.93, 0.42, 0.46),
    "deep grey": (0.75, 0.77, 0.52, 0.55),
    "putamen": (0.70, 0.72, 0.46, 0.52),
    "gliosis": (0.87, 0.88, 0.52, 0.98),
    "edema": (0.50, 0.52, 0.82, 0.88),
    "rim": (0.46, 1.35, 0.76, 0.72),
    "core": (0.33, 0.37, 0.95, 0.52),
    "solid": (0.42, 0.45, 0.96, 0.84),
    "vessel": (0.34, 1.25, 0.22, 0.24),
    "dura": (0.45, 1.05, 0.42, 0.45),
    "choroid": (0.48, 1.20, 0.80, 0.50),
    "fat": (1.25, 1.25, 0.70, 0.75),
}
"""What a tissue looks like in T1, T1ce, T2 and FLAIR, about 1 for the brightest normal tissue."""


class Phantom(NamedTuple):
    """One case."""

    images: dict[str, npt.NDArray[np.int16]]
    """Shape (X, Y, Z) for each contrast, 0 outside the head."""
    labels: npt.NDArray[np.uint8]
    """Shape (X, Y, Z): 0 background, 1 core, 2 edema, 4 enhancing."""


def draw_case(streams: Streams, shape: Shape) -> Phantom:
    """Return one case, which depends on `streams` and `shape` alone."""
    head = draw_head(streams, shape)
    lesions = plan_lesions(streams, head)
    brain = draw_brain(streams, head, [lesion.swelling for lesion in lesions])
    tumour = draw_tumour(streams, head, brain, lesions)
    enhances = any(lesion.rim for lesion in lesions)
    clean = _paint(streams, head, brain, tumour, enhances=enhances)
    images = {name: _volume(head, _scan(streams, head, clean[i], name)) for i, name in enumerate(CONTRASTS)}
    return Phantom(images, _volume(head, tumour.labels))


def _paint(streams: Streams, head: Head, brain: Brain, tumour: Tumour, *, enhances: bool) -> Field:
    """Lay the tissues over each other: shape (4, N), without noise."""
    side = head.voxel
    random = streams("tissues")
    image = np.empty((len(CONTRASTS), head.depth.size), np.float32)
    image[:] = _brightness(random, "fluid")
    tissue = ramp(brain.pia, side)
    healthy = 1 - tumour.whole
    for share, name in (
        (tissue, "grey"),
        (ramp(brain.white, side), "white"),
        (smaller(ramp(brain.deep_grey, side), tissue), "deep grey"),
        (ramp(brain.putamen, side), "putamen"),
        (_gliosis(streams, head, brain), "gliosis"),
        (ramp(brain.ventricle, side), "fluid"),
        (ramp(brain.choroid, side), "choroid"),
        (ramp(brain.dura, side) * healthy, "dura"),
        (ramp(brain.vessel, side) * healthy, "vessel"),
        (_fat(streams, head) * healthy, "fat"),
    ):
        image += share * (_brightness(random, name) - image)
    image[CONTRASTS.index("flair")] *= 1 + _cortical_flair(streams, head, brain)
    image *= healthy
    image += (tumour.whole - tumour.mass) * _brightness(random, "edema")
    image += (tumour.mass - tumour.core) * _brightness(random, "rim")
    image += tumour.core * _brightness(random, "core" if enhances else "solid")
    return image


def _brightness(random: np.random.Generator, tissue: str) -> Field:
    """Return what `tissue` looks like in this case, shape (4, 1)."""
    values = np.asarray(BRIGHTNESS[tissue], np.float32)[:, None]
    return values * random.uniform(0.96, 1.04, values.shape).astype(np.float32)


def _gliosis(streams: Streams, head: Head, brain: Brain) -> Field:
    """Bright FLAIR rims and caps about the ventricles and spots in deep white matter, as in ageing brains."""
    amount = float(streams("gliosis").uniform(0.2, 1))
    uneven = noise(streams("rims"), head.points, 16.0)
    rims = brain.ventricle + 2 + 8 * amount * np.clip(0.4 + uneven, 0, 1.4)
    spots = 4 * (noise(streams("spots"), head.points, 8.0) - 3.0 + 0.8 * amount)
    spots = smaller(spots, brain.white - 2)
    return 0.9 * smaller(ramp(larger(rims, spots), 2.0 + head.voxel), ramp(brain.white, head.voxel))


def _cortical_flair(streams: Streams, head: Head, brain: Brain) -> Field:
    """Stretches of cortex that are too bright in FLAIR."""
    cortex = ramp(brain.pia, head.voxel) - ramp(brain.white, head.voxel)
    stretches = noise(streams("cortical"), head.points, 23.0) - 0.1
    return 0.6 * cortex * smaller(larger(stretches, 0.0), 1.0)


def _fat(streams: Streams, head: Head) -> Field:
    """A few spots near the surface that are bright in T1."""
    spots = smaller(3 * (noise(streams("fat"), head.points, 10.0) - 2.6), 9 - head.depth)
    return ramp(spots, head.voxel)


def _scan(streams: Streams, head: Head, clean: Field, name: str) -> npt.NDArray[np.int16]:
    """Give a noiseless image its bias field, texture, Rician noise and arbitrary units."""
    random = streams(f"scan {name}")
    bias = random.uniform(0.02, 0.05) * noise(random, head.points, 75.0)
    texture = 0.025 * noise(random, head.points, 10.0)
    signal = clean * np.exp(bias + texture)
    deviation = np.float32(random.uniform(0.02, 0.035))
    real = signal + deviation * random.standard_normal(signal.shape, dtype=np.float32)
    imaginary = deviation * random.standard_normal(signal.shape, dtype=np.float32)
    units = np.exp(random.uniform(np.log(250), np.log(1800)))
    magnitude = np.hypot(real, imaginary) * np.float32(units)
    whole = smaller(larger(np.rint(magnitude), 1.0), float(np.iinfo(np.int16).max))  # 0 is the background's
    return whole.astype(np.int16)


def _volume(head: Head, values: npt.NDArray[Voxel]) -> npt.NDArray[Voxel]:
    volume = np.zeros(head.inside.size, values.dtype)
    volume[head.inside] = values
    return volume.reshape(head.shape)
