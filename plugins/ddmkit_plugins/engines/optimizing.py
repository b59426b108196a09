"""How every engine learns: by AdamW, with a running average of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ddmkit_plugins.engines.checkpoint import MOMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from ddmkit import Training


def adamw_settings(training: Training) -> dict[str, Any]:
    """Return what `torch.optim.AdamW` is given beside the parameters."""
    return {
        "lr": training.learning_rate,
        "betas": training.betas,
        "weight_decay": training.weight_decay,
        "fused": True,  # without temporaries of all weights' size
    }


def moment_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """Return the bytes of what AdamW makes in its first step."""
    return len(MOMENTS) * sum(parameter.nbytes for parameter in parameters)


def decay(ema: float, number: int) -> float:
    """Return the share of a running average that step `number` leaves of it, at most `ema`."""
    # The first steps are forgotten sooner: early on, the average of few weights beats the memory of none.
    return min(ema, (1 + number) / (10 + number))


@torch.no_grad()
def average(averaged: nn.Module, network: nn.Module, ema: float, number: int) -> None:
    """Take a network's weights after step `number` into their running average; buffers are copied."""
    for mean, weight in zip(averaged.parameters(), network.parameters(), strict=True):
        mean.lerp_(weight, 1 - decay(ema, number))
    for kept, buffer in zip(averaged.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
