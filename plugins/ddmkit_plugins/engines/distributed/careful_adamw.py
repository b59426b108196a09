"""AdamW for DeepSpeed without ZeRO: never with numbers that are not finite, and clipped over all stages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from typing_extensions import override

from ddmkit_plugins.engines.optimizing import adamw_settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from ddmkit import Training

_CLOSE = 1e-6
"""As `torch.nn.utils.clip_grad_norm_` has it."""


class CarefulAdamW(torch.optim.AdamW):
    """AdamW that clips by itself and leaves everything as it is where a gradient is not finite.

    DeepSpeed does both for ZeRO 1 to 3, and neither without ZeRO in float32.

    Args:
        parameters: of one stage.
        training: how to learn.
        stages: the processes among whom the network is shared out; None if each has all of it.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], training: Training, stages: distributed.ProcessGroup | None
    ) -> None:
        super().__init__(parameters, **adamw_settings(training))
        self._clip = math.inf if training.gradient_clip is None else training.gradient_clip
        self._stages = stages
        self._global_grad_norm = 0.0  # as DeepSpeed's own optimizers call it

    @override
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # nobody calls it with one
        gradients = [
            weight.grad for group in self.param_groups for weight in group["params"] if weight.grad is not None
        ]
        squared = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one) for one in gradients])).square()
        if self._stages is not None:
            distributed.all_reduce(squared, group=self._stages)
        norm = squared.sqrt()
        self._global_grad_norm = float(norm)
        if not math.isfinite(self._global_grad_norm):
            return
        if self._clip < self._global_grad_norm + _CLOSE:
            for gradient in gradients:
                gradient.mul_((self._clip / (norm + _CLOSE)).clamp(max=1))
        super().step(closure)
