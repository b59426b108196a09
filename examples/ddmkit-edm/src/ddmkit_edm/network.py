"""The preconditioned network: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (Karras et al. 2022, eq. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import ConfigurationError

if TYPE_CHECKING:
    from ddmkit import Prediction
    from ddmkit_edm.backbone import EdmUNet3d


class Scales(NamedTuple):
    """The coefficients of table 1, column "Ours", each of sigma's shape."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor

    @classmethod
    def of(cls, sigma: Tensor, sigma_data: float) -> Scales:
        """Return them for noise over signal, sigma, and the root mean square of the data.

        The paper calls that the standard deviation: its data have mean 0.
        """
        total = sigma.square() + sigma_data**2
        return cls(sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4)


class Preconditioned(nn.Module):
    """Scales x_t, which are the last channels of the input, and the answer; what is given beside x_t stays as it is.

    x_t is that of ddmkit, sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps; the paper's x is x_t / sqrt(alpha-bar), with
    sigma = sqrt((1 - alpha-bar) / alpha-bar).
    """

    log_sigmas: Tensor
    """ln sigma_t for t = 1 ... T, float32; none before `set_diffusion`."""

    def __init__(self, settings: EdmUNet3d, inner: nn.Module, out_channels: int) -> None:
        super().__init__()
        self.inner = inner
        self._settings = settings
        self._channels = out_channels
        self.register_buffer("log_sigmas", torch.empty(0), persistent=False)

    def set_diffusion(self, alphas_bar: Tensor, prediction: Prediction) -> None:
        """Learn how noisy each time is.

        Raises:
            ConfigurationError: the answer would be taken for something else than x_0.
        """
        if prediction != "x0":
            msg = (
                f"The backbone {self._settings.name!r} answers with x_0, and diffusion.prediction={prediction} would "
                "take that for something else: type -o diffusion.prediction=x0."
            )
            raise ConfigurationError(msg)
        levels = alphas_bar[1:]
        self.log_sigmas = ((1 - levels) / levels).sqrt().log().float().to(self.log_sigmas.device)

    def sigma(self, t: Tensor) -> Tensor:
        """Return noise over signal at times (N,), from 1 to T; between whole ones its logarithm is linear.

        Raises:
            ConfigurationError: nobody said how noisy each time is.
        """
        if not len(self.log_sigmas):
            msg = (
                f"The network of {self._settings.name!r} does not know how noisy each time is: call its set_diffusion("
                "schedule.alphas_bar(), 'x0') before it is used, as ddmkit does."
            )
            raise ConfigurationError(msg)
        places = (t.float() - 1).clamp(0, len(self.log_sigmas) - 1)
        before = places.floor().long()
        after = (before + 1).clamp(max=len(self.log_sigmas) - 1)
        return torch.lerp(self.log_sigmas[before], self.log_sigmas[after], places - before).exp()

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Map (N, in_channels, X, Y, Z) and times (N,) to the estimate of x_0, (N, out_channels, X, Y, Z)."""
        sigma = self.sigma(t)
        scales = Scales.of(sigma, self._settings.sigma_data)
        given, noisy = x[:, : -self._channels], x[:, -self._channels :]
        papers = noisy * _wide((1 + sigma.square()).sqrt(), x)
        inputs = torch.cat([given, papers * _wide(scales.into, x)], dim=1)
        answer: Tensor = self.inner(inputs, scales.noise * self._settings.time_scale)
        return papers * _wide(scales.skip, x) + answer * _wide(scales.out, x)


def _wide(coefficients: Tensor, like: Tensor) -> Tensor:
    """Return (N,) ready to multiply (N, C, X, Y, Z), in its dtype."""
    return coefficients[:, None, None, None, None].to(like.dtype)
