"""The cosine schedule."""

from __future__ import annotations

from math import cos, pi

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from ddmkit.testing import check
from ddmkit_plugins.schedules.cosine import Cosine


def squared_cosine(t: int, timesteps: int = 1000, offset: float = 0.008) -> float:
    """Return f(t) of eq. 17."""
    return cos((t / timesteps + offset) / (1 + offset) * pi / 2) ** 2


def test_it_keeps_its_promises() -> None:
    check(Cosine)


def test_alpha_bar_is_the_papers_function_up_to_the_clipped_end() -> None:
    expected = [squared_cosine(t) / squared_cosine(0) for t in range(1000)]
    assert Cosine().alphas_bar()[:1000].tolist() == pytest.approx(expected, rel=1e-10)


def test_the_last_step_keeps_a_thousandth_instead_of_nothing() -> None:
    alphas_bar = Cosine().alphas_bar()
    assert float(alphas_bar[-1] / alphas_bar[-2]) == pytest.approx(0.001, rel=1e-12)


def test_it_agrees_with_diffusers() -> None:
    peer = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    assert torch.allclose(Cosine().alphas_bar()[1:].float(), peer.alphas_cumprod, rtol=2e-4, atol=0)


def test_half_of_the_signal_is_left_about_half_way() -> None:
    assert float(Cosine().alphas_bar()[500]) == pytest.approx(0.5, abs=0.01)


@given(offset=st.floats(0, 1), timesteps=st.integers(1, 2000))
def test_whatever_the_settings_alpha_bar_falls_strictly_and_stays_positive(offset: float, timesteps: int) -> None:
    alphas_bar = Cosine(offset=offset, timesteps=timesteps).alphas_bar()
    assert len(alphas_bar) == timesteps + 1
    assert alphas_bar[0] == 1
    assert alphas_bar[-1] > 0
    assert bool((alphas_bar.diff() < 0).all())
