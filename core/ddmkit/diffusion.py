"""The diffusion itself: forward process, what the network is asked for, and the loss.

Everything about eps, x_0 and v (Ho et al. 2020, Salimans & Ho 2022) stands here and nowhere else: samplers only
see estimates of x_0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddmkit.backbone import Prediction
from ddmkit.component import Settings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_LARGEST_RATIO = 5.0
"""Of signal to noise: beyond, an error counts no more (gamma of Hang et al. 2023)."""


class Diffusion(Settings):
    """What the network predicts, and at which times it learns to."""

    prediction: Prediction = Field(
        default="eps", description="What the network predicts: the noise (the paper), the clean x_0, or v."
    )

    weighting: Literal["uniform", "min-snr"] = Field(
        default="uniform",
        description="Which times are learned how often. uniform: all alike (the paper); min-snr: as the squared error "
        "of x_0 counts that is weighted by the signal-to-noise ratio, 5 at most (Hang et al. 2023).",
    )

    def draw_time(self, alphas_bar: Tensor, random: np.random.Generator) -> int:
        """Draw the time t, 1 ... T, that an example is learned at.

        A weight is a share of the draws: but for a factor, the expected gradient is that of a weighted loss.

        Args:
            alphas_bar: shape (T + 1,), float64, from the schedule.
            random: where the draw comes from.
        """
        if self.weighting == "uniform":
            return int(random.integers(1, len(alphas_bar)))
        weights = self._weights(alphas_bar[1:])
        return 1 + int(random.choice(len(weights), p=(weights / weights.sum()).numpy()))

    def _weights(self, alphas_bar: Tensor) -> Tensor:
        """Return min(SNR, 5), the weight of x_0's squared error, as one of the prediction's (Hang et al. 2023)."""
        import torch

        ratio = alphas_bar / (1 - alphas_bar)
        shares = {"x0": torch.ones_like(ratio), "eps": ratio, "v": ratio + 1}
        return ratio.clamp(max=_LARGEST_RATIO) / shares[self.prediction]

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
