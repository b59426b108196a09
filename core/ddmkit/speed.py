"""How fast a device is, at a glance."""

from __future__ import annotations

import math
import time

import torch
from torch.nn import functional

_CHANNELS = 32
_SIDES = {"cpu": 64, "cuda": 128}
_SECONDS = 0.4
"""That are spent on looking."""
_REACHED = 0.5
"""Share of one convolution's speed that a network reaches, there and back; measured on a CPU."""


def operations_per_second(device: torch.device, precision: torch.dtype) -> float:
    """Return the floating-point operations a second that a network of convolutions may reach, within a factor of two.

    One normalized and activated 3x3x3 convolution is measured, in less than a second on most devices.
    """
    side = _SIDES.get(device.type, _SIDES["cpu"])
    x = torch.ones(1, _CHANNELS, side, side, side, dtype=precision, device=device)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    weight = torch.ones(_CHANNELS, _CHANNELS, 3, 3, 3, dtype=precision, device=device)
    best, until = math.inf, math.inf
    with torch.no_grad():
        while time.perf_counter() < until:
            started = time.perf_counter()
            y = functional.conv3d(functional.silu(functional.group_norm(x, _CHANNELS)), weight, padding=1)
            y[0, 0, 0, 0, 0].item()  # waits until it is there
            ended = time.perf_counter()
            if math.isinf(until):  # the first one warms up
                until = ended + _SECONDS
            else:
                best = min(best, ended - started)
    return _REACHED * 2 * 27 * _CHANNELS**2 * side**3 / best
