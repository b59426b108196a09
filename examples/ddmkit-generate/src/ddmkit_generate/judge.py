"""How alike two sets of volumes are, and how alike the volumes of each set are among themselves."""

from __future__ import annotations

import math
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import torch
from monai.metrics.mmd import MMDMetric
from monai.metrics.regression import MultiScaleSSIMMetric
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ddmkit import Figure, SetJudge

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit import Summary

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, the finest first (Wang et al. 2003, section 3.2)."""
_KERNEL, _LEAST_KERNEL = 11, 3
_TWO = 2


class Scales(NamedTuple):
    """What of MS-SSIM fits into volumes of one size."""

    levels: int
    """The volume itself, and how often it is halved, together."""
    kernel: int
    """Voxels along each axis of the Gaussian window."""


class DistributionJudge(SetJudge):
    """Judges by MMD between both sets, and by MS-SSIM between the volumes of each.

    Args:
        compared: voxels along each axis that are kept of a volume, at most.
        pairs: of volumes of a set that are compared, at most.
    """

    def __init__(self, compared: int, pairs: int) -> None:
        self._compared = compared
        self._pairs = pairs
        self._real: dict[str, Tensor] = {}
        self._generated: list[Tensor] = []

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("mmd", "MMD", higher_is_better=False, decimals=5),
            Figure("ms_ssim", "MS-SSIM", higher_is_better=False),
            Figure("ms_ssim_real", "MS-SSIM of real", higher_is_better=False),
        )

    @override
    def definition(self) -> dict[str, str]:
        return {
            "mmd": "squared maximum mean discrepancy (Gretton et al. 2012, eq. 3, unbiased; MONAI's MMDMetric) between "
            "equally many generated and real volumes: the larger set is cut by name into blocks of the smaller one's "
            "size, the last of which may overlap, and the mean over blocks is told; with the linear kernel, per voxel: "
            "the squared difference of the sets' mean volumes; it may fall below 0 where they are alike; null for "
            "fewer than two of either",
            "ms_ssim": f"mean structural similarity at several scales (Wang et al. 2003; MONAI's "
            f"MultiScaleSSIMMetric, Gaussian kernel) over at most {self._pairs} pairs of generated volumes, drawn by "
            "seed 0: the lower, the more they differ among themselves, as they should no less than real ones do; null "
            "for fewer than two",
            "ms_ssim_real": "the same between real volumes",
            "compared": f"volumes are averaged down to at most {self._compared} voxels an axis, and to the smallest "
            "among them",
            "scales": "those of the five scales that a kernel of 11 voxels fits into; in volumes too small for one, a "
            "smaller kernel; null where one of 3 does not fit",
            "n": "number of generated volumes",
            "n_real": "number of real volumes",
        }

    @override
    def real(self, case: str, volume: NDArray[np.float32]) -> None:
        self._real[case] = self._small(volume)

    @override
    def generated(self, case: str, volume: NDArray[np.float32]) -> None:
        self._generated.append(self._small(volume))

    @override
    def summary(self) -> Summary:
        real, generated = list(self._real.values()), list(self._generated)
        sizes = [volume.shape[1:] for volume in (*real, *generated)]
        size = [min(sides) for sides in zip(*sizes, strict=True)]
        real, generated = ([_shrunk(volume, size) for volume in volumes] for volumes in (real, generated))
        row = {
            "n": len(generated),
            "n_real": len(real),
            "mmd": mean_discrepancy(real, generated),
            "ms_ssim": self._similarity(generated),
            "ms_ssim_real": self._similarity(real),
        }
        return {"all": row}

    def _small(self, volume: NDArray[np.float32]) -> Tensor:
        return _shrunk(torch.from_numpy(volume), [min(side, self._compared) for side in volume.shape[1:]])

    def _similarity(self, volumes: Sequence[Tensor]) -> float | None:
        """Return the mean MS-SSIM over pairs."""
        if len(volumes) < _TWO or (scales := scales_for(min(volumes[0].shape[1:]))) is None:
            return None
        chosen = list(combinations(range(len(volumes)), 2))
        if len(chosen) > self._pairs:
            chosen = sorted(Random(0).sample(chosen, self._pairs))  # noqa: S311 - no secret
        found = [similarity(volumes[one], volumes[other], scales) for one, other in chosen]
        return math.fsum(found) / len(found)


def mean_discrepancy(real: Sequence[Tensor], generated: Sequence[Tensor]) -> float | None:
    """Return the squared MMD per voxel of two sets of volumes, each (C, X, Y, Z); None for too few.

    MONAI compares sets of one size, so the larger is taken in blocks and the mean over these is returned: every volume
    counts.
    """
    fewer, more = sorted((real, generated), key=len)
    count = len(fewer)
    if count < _TWO:
        return None
    starts = [*range(0, len(more) - count, count), len(more) - count]
    found = [_mmd(fewer, more[start : start + count]) for start in starts]
    return math.fsum(found) / len(found)


def _mmd(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    root = math.sqrt(one[0].numel())
    return float(MMDMetric()(*(torch.stack(list(volumes)).double() / root for volumes in (one, other))))


def similarity(one: Tensor, other: Tensor, scales: Scales) -> float:
    """Return the MS-SSIM of two volumes, (C, X, Y, Z) in [0, 1]."""
    weights = [weight / sum(_WEIGHTS[: scales.levels]) for weight in _WEIGHTS[: scales.levels]]
    metric = MultiScaleSSIMMetric(spatial_dims=3, kernel_size=scales.kernel, weights=weights)
    return float(torch.as_tensor(metric(y_pred=other[None], y=one[None])).mean())


def scales_for(side: int) -> Scales | None:
    """Return how many scales fit into volumes whose smallest side is this, and the kernel; None where none does."""
    for levels in range(len(_WEIGHTS), 0, -1):
        # MONAI asks for a side by the square of the halvings, which for three is more than their power of two.
        smallest = min(side // 2 ** (levels - 1), side // max(1, (levels - 1) ** 2))
        if smallest >= _KERNEL:
            return Scales(levels, _KERNEL)
    kernel = side if side % 2 else side - 1
    return Scales(1, kernel) if kernel >= _LEAST_KERNEL else None


def _shrunk(volume: Tensor, size: Sequence[int]) -> Tensor:
    """Average (C, X, Y, Z) down to a size."""
    x, y, z = size
    return functional.adaptive_avg_pool3d(volume, (x, y, z))
