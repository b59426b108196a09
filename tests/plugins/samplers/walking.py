"""What samplers are tried on: a network that is none, noise, and diffusers' names for what is predicted."""

from __future__ import annotations

from math import sin
from typing import Literal

from torch import Tensor

from ddmkit.randomness import normal
from ddmkit_plugins.schedules.linear import Linear

SHAPE = (2, 1, 4, 5, 6)
ALPHAS_BAR = Linear().alphas_bar()
PEER_NAMES: dict[str, Literal["epsilon", "sample", "v_prediction"]] = {
    "eps": "epsilon",
    "x0": "sample",
    "v": "v_prediction",
}


def network(x: Tensor, t: int) -> Tensor:
    return (0.8 * x).tanh() * 1.2 + 0.1 * sin(t / 100)


def draw(number: int) -> Tensor:
    return normal(SHAPE, 0, "fresh", number)


def no_draw(number: int) -> Tensor:
    msg = f"Step {number} asked for noise."
    raise AssertionError(msg)
