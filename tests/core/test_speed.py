"""How fast a device is, at a glance."""

from __future__ import annotations

import math

import torch

from ddmkit.speed import operations_per_second


def test_the_speed_of_this_machine_is_a_number_of_operations() -> None:
    speed = operations_per_second(torch.device("cpu"), torch.float32)
    assert math.isfinite(speed)
    assert speed > 1e6
