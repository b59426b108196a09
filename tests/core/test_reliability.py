"""Whether probabilities keep what they promise, against bins counted by hand and probabilities known to be right."""

from __future__ import annotations

import numpy as np
import pytest

from ddmkit.reliability import FLOOR, Counts, together


def counted(probability: list[float], truth: list[int], mean: list[float] | None = None) -> Counts:
    of_mean = None if mean is None else np.array(mean, np.float32)
    return Counts.of(np.array(probability, np.float32), np.array(truth, bool), of_mean)


def drawn(shape: tuple[int, ...], seed: int = 0, distortion: float = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw probabilities p and truths that are foreground with probability p; return p^distortion and the truths."""
    random = np.random.default_rng(seed)
    probability = random.uniform(0, 1, shape)
    return (probability**distortion).astype(np.float32), random.uniform(0, 1, shape) < probability


def brute_ece(probability: np.ndarray, truth: np.ndarray) -> float:
    """Compute the error bin by bin, voxel by voxel."""
    total = 0.0
    for number in range(15):
        low, high = np.float32(number / 15), np.float32((number + 1) / 15)
        inside = (probability > low) & (probability <= high)
        if inside.any():
            total += inside.sum() * abs(probability[inside].mean(dtype=float) - truth[inside].mean())
    return total / probability.size


def test_bins_are_as_counted_by_hand() -> None:
    row = counted([0.02, 0.04, 0.5, 0.5, 0.51, 0.9, 1.0, 0.0, 0.01], [0, 1, 1, 0, 1, 1, 1, 1, 0]).reliability()
    assert (row["cases"], row["voxels"], row["foreground"], row["unseen"]) == (1, 7, 5, 1)
    assert [(found["voxels"], round(found["low"] * 15)) for found in row["bins"]] == [(2, 0), (3, 7), (1, 13), (1, 14)]
    assert [found["confidence"] for found in row["bins"]] == pytest.approx([0.03, 1.51 / 3, 0.9, 1])
    assert [found["frequency"] for found in row["bins"]] == pytest.approx([1 / 2, 2 / 3, 1, 1])
    gaps = [0.47, (2 - 1.51) / 3, 0.1, 0]
    assert row["ece"] == pytest.approx((2 * gaps[0] + 3 * gaps[1] + gaps[2]) / 7)
    assert row["mce"] == pytest.approx(0.47)
    assert row["brier"] == pytest.approx((0.02**2 + 0.96**2 + 2 * 0.5**2 + 0.49**2 + 0.1**2) / 7)
    first = abs((0.02 + 0.04 + 0.01) / 4 - 2 / 4)
    assert row["ece_volume"] == pytest.approx((4 * first + 3 * gaps[1] + gaps[2]) / 9)


def test_an_edge_belongs_to_the_bin_below_it_though_float32_cannot_write_it() -> None:
    edges = [number / 15 for number in range(1, 16)]
    rows = counted(edges, [0] * 15).reliability()["bins"]
    assert [round(row["high"] * 15) for row in rows] == list(range(1, 16))


def test_what_is_beyond_0_to_1_counts_as_the_nearer_of_them() -> None:
    row = counted([-0.3, 1.2], [0, 1]).reliability()
    assert (row["voxels"], row["ece"], row["ece_volume"], row["brier"]) == (1, 0, 0, 0)


def test_the_mean_decides_which_voxels_of_another_map_count() -> None:
    row = counted([0.001, 0.2, 0.6], [0, 1, 1], mean=[0.5, FLOOR / 2, 0.5]).reliability()
    assert (row["voxels"], row["foreground"], row["unseen"]) == (2, 1, 1)
    assert row["ece"] == pytest.approx((0.001 + 0.4) / 2)


def test_a_map_in_which_nothing_counts_has_no_error_but_over_the_volume() -> None:
    row = counted([0, 0, 0, 0], [0, 0, 0, 1]).reliability()
    assert (row["ece"], row["mce"], row["brier"], row["bins"]) == (None, None, None, [])
    assert (row["ece_volume"], row["unseen"]) == (0.25, 1)


def test_probabilities_that_are_right_have_next_to_no_error() -> None:
    row = Counts.of(*drawn((400_000,))).reliability()
    assert row["ece"] is not None
    assert row["ece"] < 0.004  # a bin of 26,667 draws is off by 0.8 · 0.5 / √26667 = 0.0024 at most on average
    assert row["brier"] == pytest.approx(1 / 6, abs=0.002)  # the mean of p(1 - p)


def test_probabilities_that_are_cubed_are_off_by_what_the_integral_says() -> None:
    """Voxels say q = p^3 where p is right; the mean of p - p^3 over uniform p is 1/2 - 1/4."""
    row = Counts.of(*drawn((400_000,), distortion=3)).reliability()
    voxels = 1 - FLOOR ** (1 / 3)  # those with p^3 above the floor
    floor = FLOOR ** (1 / 3)
    expected = ((1 - floor**2) / 2 - (1 - floor**4) / 4) / voxels
    assert row["ece"] == pytest.approx(expected, abs=0.003)
    assert row["ece_volume"] == pytest.approx(1 / 4, abs=0.003)


def test_the_error_is_that_of_bins_gone_through_one_by_one() -> None:
    probability, truth = drawn((30_000,), seed=3, distortion=2)
    assert Counts.of(probability, truth).reliability()["ece_volume"] == pytest.approx(brute_ece(probability, truth))


def test_cases_counted_one_by_one_come_to_what_they_come_to_at_once() -> None:
    probability, truth = drawn((6, 10, 12, 9), distortion=2)
    streamed = together(Counts.of(*case) for case in zip(probability, truth, strict=True)).reliability()
    whole = Counts.of(probability, truth).reliability()
    assert (streamed["cases"], whole["cases"]) == (6, 1)
    for found, row in zip(streamed["bins"], whole["bins"], strict=True):
        assert found == pytest.approx(row)
    for field in ("voxels", "foreground", "ece", "mce", "brier", "ece_volume", "unseen"):
        assert streamed[field] == pytest.approx(whole[field])
