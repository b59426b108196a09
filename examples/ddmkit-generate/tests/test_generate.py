"""The task keeps ddmkit's promises, and its figures are what they are said to be."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from ddmkit.testing import check
from ddmkit_generate.judge import DistributionJudge, Scales, mean_discrepancy, scales_for, similarity
from ddmkit_generate.task import Generate


@pytest.mark.parametrize("task", [Generate(), Generate(images=("t1", "t2"), compared=8, pairs=2)])
def test_the_task_keeps_its_promises(task: Generate) -> None:
    check(task)


def test_the_discrepancy_of_shifted_sets_is_the_square_of_the_shift() -> None:
    random = torch.Generator().manual_seed(0)
    one, other = (torch.randn(200, 1, 6, 6, 6, generator=random) for _ in range(2))
    found = mean_discrepancy(list(one), list(other + 0.5))
    assert found == pytest.approx(0.25, abs=0.02)
    assert mean_discrepancy(list(one), list(other)) == pytest.approx(0, abs=4e-3)


def test_a_volume_is_alike_itself_and_less_alike_a_noisy_one() -> None:
    volume = torch.rand(1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    noisy = (volume + 0.3 * torch.randn(volume.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    scales = Scales(2, 11)
    assert scales_for(24) == scales
    assert similarity(volume, volume, scales) == pytest.approx(1)
    assert similarity(volume, noisy, scales) < 0.9


@pytest.mark.parametrize("side", [3, 4, 8, 11, 16, 21, 22, 40, 44, 64])
def test_the_scales_for_each_size_work(side: int) -> None:
    scales = scales_for(side)
    assert scales is not None
    volume = torch.rand(1, side, side, side)
    assert 0 <= similarity(volume, volume.flip(1), scales) <= 1


def test_every_volume_of_the_larger_set_counts() -> None:
    real = [torch.full((1, 2, 2, 2), 0.5)] * 4
    generated = [*real, *[torch.zeros(1, 2, 2, 2)] * 3]
    # The blocks are volumes 1 to 4, all as the real ones, and 4 to 7, of which one is.
    by_hand = [unbiased([0.5] * 4, [0.5] * 4), unbiased([0.5] * 4, [0.5, 0, 0, 0])]
    assert mean_discrepancy(real, generated) == pytest.approx(sum(by_hand) / 2)
    assert mean_discrepancy(generated, real) == pytest.approx(sum(by_hand) / 2)


def unbiased(one: list[float], other: list[float]) -> float:
    """Return the squared MMD of numbers with the linear kernel (Gretton et al. 2012, eq. 3)."""
    within = [sum(a * b for a, b in permutations(numbers, 2)) / 12 for numbers in (one, other)]
    return sum(within) - 2 * sum(a * b for a in one for b in other) / 16


def test_volumes_too_small_for_any_kernel_have_no_similarity() -> None:
    assert scales_for(2) is None
    judge = DistributionJudge(64, 10)
    for number in range(2):
        judge.generated(str(number), np.zeros((1, 2, 9, 9), dtype=np.float32))
        judge.real(str(number), np.zeros((1, 2, 9, 9), dtype=np.float32))
    row = judge.summary()["all"]
    assert (row["mmd"], row["ms_ssim"], row["ms_ssim_real"]) == (0, None, None)


def test_volumes_of_several_sizes_are_compared_at_the_smallest() -> None:
    judge = DistributionJudge(16, 10)
    for number, side in enumerate((12, 20, 30)):
        judge.real(str(number), np.full((1, side, side, side), 0.5, dtype=np.float32))
        judge.generated(str(number), np.full((1, side, 14, side), 0.25, dtype=np.float32))
    row = judge.summary()["all"]
    assert (row["n"], row["n_real"]) == (3, 3)
    assert row["mmd"] == pytest.approx(0.0625)
