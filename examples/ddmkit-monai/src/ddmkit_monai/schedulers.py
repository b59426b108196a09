"""MONAI's schedulers over alpha-bars of ddmkit's choice.

A scheduler of MONAI's steps from time i to i - 1 of its own table, counted from 0, and beyond its end finds that
alpha-bar is 1. It is made anew for each sample, of a table that holds just the times that are visited: so its strides
are right however many steps there are, and it keeps nothing from one sample to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.networks.schedulers.ddim import DDIMScheduler
from monai.networks.schedulers.ddpm import DDPMScheduler
from monai.networks.schedulers.pndm import PNDMScheduler
from monai.networks.schedulers.scheduler import NoiseSchedules

if TYPE_CHECKING:
    from torch import Tensor

_OURS = "ddmkit"


def _given(num_train_timesteps: int, alphas_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return beta, alpha and alpha-bar, each of shape (num_train_timesteps,), as MONAI asks for them."""
    assert len(alphas_bar) == num_train_timesteps  # noqa: S101 - see _table
    alphas = alphas_bar / torch.cat([torch.ones_like(alphas_bar[:1]), alphas_bar[:-1]])
    return 1 - alphas, alphas, alphas_bar


NoiseSchedules.add(_OURS, "The alpha-bars that are given", _given)


def _table(alphas_bar: Tensor) -> dict[str, Any]:
    return {"schedule": _OURS, "num_train_timesteps": len(alphas_bar), "alphas_bar": alphas_bar}


def ddim(alphas_bar: Tensor) -> DDIMScheduler:
    """Return a scheduler that takes estimates of x_0, over alpha-bars that fall; shape (steps,), float64."""
    return DDIMScheduler(**_table(alphas_bar), clip_sample=False, prediction_type="sample")


def ddpm(alphas_bar: Tensor, variance: str) -> DDPMScheduler:
    """Return a scheduler that takes estimates of x_0, over alpha-bars that fall; shape (steps,), float64."""
    return DDPMScheduler(**_table(alphas_bar), variance_type=variance, clip_sample=False, prediction_type="sample")


def pndm(alphas_bar: Tensor) -> PNDMScheduler:
    """Return a scheduler that takes estimates of eps, over alpha-bars that fall; shape (steps,), float64."""
    return PNDMScheduler(**_table(alphas_bar), skip_prk_steps=True, set_alpha_to_one=True)


def posterior(scheduler: DDPMScheduler, index: int, x0: Tensor, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean, of x_t's shape, and standard deviation, a scalar, of what the scheduler's step draws from.

    Its `step` draws by itself, from a generator that gives other numbers on a GPU than on a CPU; ddmkit's noise is the
    same on both. What `step` is made of has no public name.
    """
    mean: Tensor = scheduler._get_mean(index, x0, x_t)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    variance: Tensor = scheduler._get_variance(index)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return mean, variance.sqrt()
