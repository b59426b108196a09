"""The linear schedule."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ddmkit import ConfigurationError
from ddmkit.testing import check
from ddmkit_plugins.schedules.linear import Linear


def exact(beta_start: str, beta_end: str, timesteps: int) -> list[float]:
    """Multiply the kept shares in decimal arithmetic of fifty digits."""
    with localcontext(prec=50):
        first, last = Decimal(beta_start), Decimal(beta_end)
        products = [Decimal(1)]
        for i in range(timesteps):
            products.append(products[-1] * (1 - first - (last - first) * i / max(1, timesteps - 1)))
        return [float(product) for product in products]


def test_it_keeps_its_promises() -> None:
    check(Linear)


def test_alpha_bar_is_the_product_of_what_each_step_keeps() -> None:
    expected = torch.tensor(exact("0.0001", "0.02", 1000), dtype=torch.float64)
    assert torch.allclose(Linear().alphas_bar(), expected, rtol=1e-12, atol=0)


def test_three_steps_are_as_computed_by_hand() -> None:
    alphas_bar = Linear(beta_start=0.1, beta_end=0.5, timesteps=3).alphas_bar()
    assert alphas_bar.tolist() == pytest.approx([1, 0.9, 0.63, 0.315], rel=1e-14)


def test_it_agrees_with_diffusers() -> None:
    peer = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert torch.allclose(Linear().alphas_bar()[1:].float(), peer.alphas_cumprod, rtol=1e-4, atol=0)


def test_the_first_step_is_the_gentlest() -> None:
    alphas_bar = Linear().alphas_bar()
    assert float(1 - alphas_bar[1]) == pytest.approx(1e-4)
    assert float(1 - alphas_bar[-1] / alphas_bar[-2]) == pytest.approx(0.02)


def test_betas_in_the_order_the_paper_prints_are_refused_with_the_right_order() -> None:
    with pytest.raises(ValidationError, match=r"type -o schedule\.beta_start=0\.0001 -o schedule\.beta_end=0\.02"):
        Linear(beta_start=0.02, beta_end=1e-4)


def test_a_schedule_that_leaves_no_signal_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"After 100000 steps with beta up to 0\.02 no signal is left"):
        Linear(timesteps=100_000).alphas_bar()


@given(ends=st.lists(st.floats(1e-8, 0.05), min_size=2, max_size=2), timesteps=st.integers(1, 1200))
def test_whatever_the_settings_alpha_bar_falls_strictly_and_stays_positive(ends: list[float], timesteps: int) -> None:
    alphas_bar = Linear(beta_start=min(ends), beta_end=max(ends), timesteps=timesteps).alphas_bar()
    assert len(alphas_bar) == timesteps + 1
    assert alphas_bar[0] == 1
    assert alphas_bar[-1] > 0
    assert bool((alphas_bar.diff() < 0).all())
