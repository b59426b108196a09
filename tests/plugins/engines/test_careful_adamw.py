"""AdamW that clips by itself, beside torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from ddmkit.configuration import Training
from ddmkit_plugins.engines.distributed.careful_adamw import CarefulAdamW
from ddmkit_plugins.engines.optimizing import adamw_settings

TRAINING = Training(learning_rate=0.1, gradient_clip=0.5, weight_decay=0.01)


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.linspace(-1, 1, 6)), nn.Parameter(torch.ones(2, 2))]


def set_gradients(parameters: list[nn.Parameter], *values: float) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.full_like(parameter, value)


def norm_of(optimizer: Any) -> float:  # noqa: ANN401 - DeepSpeed's optimizers have it by this name, and no type
    return float(optimizer._global_grad_norm)  # noqa: SLF001 - as above


@pytest.mark.parametrize("values", [(0.01, 0.02), (3.0, -4.0)], ids=["small", "clipped"])
def test_it_steps_as_torch_does_after_clipping(values: tuple[float, float]) -> None:
    ours, theirs = weights(), weights()
    careful, plain = CarefulAdamW(ours, TRAINING, None), torch.optim.AdamW(theirs, **adamw_settings(TRAINING))
    for _ in range(3):
        set_gradients(ours, *values)
        set_gradients(theirs, *values)
        norm = torch.nn.utils.clip_grad_norm_(theirs, 0.5)
        careful.step()
        plain.step()
        assert norm_of(careful) == pytest.approx(float(norm))
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_is(value: float) -> None:
    ours = weights()
    careful = CarefulAdamW(ours, TRAINING, None)
    set_gradients(ours, 1.0, 2.0)
    careful.step()
    before = [weight.detach().clone() for weight in ours]
    moments = [careful.state[weight]["exp_avg"].clone() for weight in ours]
    set_gradients(ours, 1.0, value)
    careful.step()
    assert not math.isfinite(norm_of(careful))
    assert all(torch.equal(weight, kept) for weight, kept in zip(ours, before, strict=True))
    assert all(torch.equal(careful.state[weight]["exp_avg"], kept) for weight, kept in zip(ours, moments, strict=True))
