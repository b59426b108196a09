"""The diffusion itself: forward process, what the network is asked for, and the loss.

Everything about eps, x_0 and v (Ho et al. 2020, Salimans & Ho 2022) stands here and nowhere else: samplers only
see estimates of x_0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ddmkit.backbone import Prediction
from ddmkit.component import Settings

if TYPE_CHECKING:
    from torch import Tensor


class Diffusion(Settings):
    """What the network predicts."""

    prediction: Prediction = Field(
        default="eps", description="What the network predicts: the noise (the paper), the clean x_0, or v."
    )

    def noisy(self, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        """Draw x_t = sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps (Bieder et al. 2023, eq. 2).

        Args:
            x0: shape (N, C, X, Y, Z).
            noise: eps, standard normal, x0's shape.
            alpha_bar: shape (N,), float64, in (0, 1].
        """
        signal, spread = _levels(alpha_bar, x0)
        return signal * x0 + spread * noise

    def target(self, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        """Return what the network should answer: eps, x_0 or v = sqrt(alpha-bar) eps - sqrt(1 - alpha-bar) x_0."""
        if self.prediction == "eps":
            return noise
        if self.prediction == "x0":
            return x0
        signal, spread = _levels(alpha_bar, x0)
        return signal * noise - spread * x0

    def estimate(self, output: Tensor, noisy: Tensor, alpha_bar: Tensor) -> Tensor:
        """Return the estimate of x_0 that an answer of the network amounts to, in x_t's dtype.

        Args:
            output: what the network answered, shape (N, C, X, Y, Z).
            noisy: x_t, same shape.
            alpha_bar: shape (N,), float64, in (0, 1].
        """
        if self.prediction == "x0":
            return output.to(noisy.dtype)
        signal, spread = _levels(alpha_bar, noisy)
        if self.prediction == "eps":
            return (noisy - spread * output) / signal
        return signal * noisy - spread * output

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error (Bieder et al. 2023, eq. 4), a float32 scalar."""
        return (output.float() - target).square().mean()


def _levels(alpha_bar: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(alpha-bar) and sqrt(1 - alpha-bar), rounded once, ready to multiply `like`."""
    shaped = alpha_bar.double().reshape(-1, *[1] * (like.ndim - 1))
    return (
        shaped.sqrt().to(device=like.device, dtype=like.dtype),
        (1 - shaped).sqrt().to(device=like.device, dtype=like.dtype),
    )
