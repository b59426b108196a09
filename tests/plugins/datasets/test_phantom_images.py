"""The phantom's pictures: nested tumours, four contrasts that differ as real ones do, nothing for a threshold."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from ddmkit import Shape
from ddmkit.randomness import generator
from ddmkit_plugins.datasets.phantom_fields import ellipsoid, noise, ramp, rotation, tube
from ddmkit_plugins.datasets.phantom_images import CONTRASTS, Phantom, draw_case

Array = npt.NDArray[np.float32]
SHAPE = (32, 32, 24)


def draw(number: int, shape: Shape = SHAPE, seed: int = 0) -> Phantom:
    return draw_case(partial(generator, seed, "phantom", *shape, number), shape)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [draw(number) for number in range(1, 13)]


def normalised(image: npt.NDArray[np.int16]) -> Array:
    head = image[image > 0]
    low, high = np.percentile(head, (1, 99))
    return np.where(image > 0, np.clip((image - low) / (high - low), 0, 1), 0).astype(np.float32)


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    total = int(first.sum() + second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def count_pieces(mask: npt.NDArray[np.bool_]) -> int:
    numbers = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3, 3)), output=numbers)
    return int(numbers.max())


def mean_of(phantoms: list[Phantom], contrast: str, label: int) -> float:
    return float(
        np.mean([normalised(p.images[contrast])[p.labels == label].mean() for p in phantoms if label in p.labels])
    )


def test_a_head_fills_its_volume_without_touching_most_of_its_border(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        head = phantom.images["t1"] > 0
        longest = max(np.ptp(line) + 1 for line in np.nonzero(head))
        assert longest > 0.8 * min(SHAPE)
        assert 0.15 < head.mean() < 0.6
        inner = np.zeros_like(head)
        inner[1:-1, 1:-1, 1:-1] = True
        assert (head & ~inner).sum() < 0.02 * head.sum()


def test_background_is_zero_in_every_contrast_alike(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        heads = [phantom.images[contrast] > 0 for contrast in CONTRASTS]
        assert all((head == heads[0]).all() for head in heads)
        assert all(image.min() == 0 and image.dtype == np.int16 for image in phantom.images.values())
        assert not phantom.labels[~heads[0]].any()
        assert count_pieces(heads[0]) == 1


def test_tumours_fill_two_to_ten_percent_of_the_head(phantoms: list[Phantom]) -> None:
    shares = [np.count_nonzero(p.labels) / np.count_nonzero(p.images["t1"]) for p in phantoms if p.labels.any()]
    assert min(shares) > 0.02
    assert max(shares) < 0.105
    assert max(shares) > 1.5 * min(shares)


def test_edema_surrounds_what_enhances_and_that_surrounds_the_core(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        labels, head = phantom.labels, phantom.images["t1"] > 0
        assert set(np.unique(labels)) <= {0, 1, 2, 4}
        mass = np.isin(labels, (1, 4))
        border = ndimage.binary_dilation(mass) & ~mass & head
        assert np.count_nonzero(labels[border] == 2) >= 0.7 * np.count_nonzero(border)
        core = labels == 1
        around = ndimage.binary_dilation(core) & ~core & head
        enclosed = np.count_nonzero(np.isin(labels[around], (2, 4)))
        assert 4 not in labels or enclosed >= 0.9 * np.count_nonzero(around)


def test_contrasts_show_the_tumour_as_real_ones_do(phantoms: list[Phantom]) -> None:
    background = {
        c: float(np.mean([np.median(normalised(p.images[c])[p.images[c] > 0]) for p in phantoms])) for c in CONTRASTS
    }
    assert mean_of(phantoms, "flair", 2) > background["flair"] + 0.2
    assert mean_of(phantoms, "t2", 2) > background["t2"] + 0.2
    assert mean_of(phantoms, "t1", 2) < background["t1"] - 0.1
    assert mean_of(phantoms, "t1ce", 4) > mean_of(phantoms, "t1ce", 2) + 0.3
    assert mean_of(phantoms, "t1ce", 4) > mean_of(phantoms, "t1", 4) + 0.3
    assert mean_of(phantoms, "t1", 1) < mean_of(phantoms, "t1", 2)


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize(("blur", "bound"), [(0.0, 0.6), (1.0, 0.7)])
def test_no_threshold_on_one_contrast_finds_the_tumours(
    phantoms: list[Phantom], contrast: str, blur: float, bound: float
) -> None:
    images = [ndimage.gaussian_filter(normalised(p.images[contrast]), blur) for p in phantoms]
    heads = [p.images[contrast] > 0 for p in phantoms]
    best = max(
        float(
            np.mean(
                [dice((sign * i > sign * t) & h, p.labels > 0) for i, h, p in zip(images, heads, phantoms, strict=True)]
            )
        )
        for t in np.arange(0.1, 1, 0.05)
        for sign in (1, -1)
    )
    assert best < bound


def test_four_contrasts_together_tell_the_tumour(phantoms: list[Phantom]) -> None:
    """Linear discriminant analysis of each voxel and its neighbourhood, trained on half of the cases."""
    rows = [features(p) for p in phantoms]
    truth = [(p.labels > 0)[p.images["t1"] > 0] for p in phantoms]
    inside = [row[t] for row, t in zip(rows[:6], truth[:6], strict=True)]
    outside = [row[~t] for row, t in zip(rows[:6], truth[:6], strict=True)]
    ill, well = np.concatenate(inside), np.concatenate(outside)
    spread = np.cov(ill.T) + np.cov(well.T)
    weights = np.linalg.solve(spread, ill.mean(axis=0) - well.mean(axis=0))
    low, high = np.percentile(ill @ weights, (1, 60)).tolist()
    levels = np.linspace(low, high, 30)
    train = [
        float(np.mean([dice(r @ weights > level, t) for r, t in zip(rows[:6], truth[:6], strict=True)]))
        for level in levels
    ]
    level = levels[int(np.argmax(train))]
    test = [dice(r @ weights > level, t) for r, t in zip(rows[6:], truth[6:], strict=True) if t.any()]
    assert np.mean(test) > 0.8


def features(phantom: Phantom) -> npt.NDArray[np.float64]:
    head = phantom.images["t1"] > 0
    images = [normalised(phantom.images[contrast]) for contrast in CONTRASTS]
    images += [ndimage.gaussian_filter(image, 1.0) for image in images]
    values = np.stack([image[head] for image in images], axis=1).astype(np.float64)
    products = [values[:, i] * values[:, j] for i in range(8) for j in range(i, 8)]
    return np.concatenate([values, np.stack(products, axis=1)], axis=1)


def test_some_heads_are_healthy_but_few() -> None:
    healthy = sum(not draw(number, (16, 16, 16)).labels.any() for number in range(1, 51))
    assert 1 <= healthy <= 12


def test_some_tumours_do_not_enhance_and_some_heads_have_two() -> None:
    drawn = [draw(number, (24, 24, 16)).labels for number in range(1, 41)]
    assert any(labels.any() and 4 not in labels for labels in drawn)
    assert any(4 in labels for labels in drawn)
    assert any(count_pieces(labels > 0) > 1 for labels in drawn)


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 64, 20), (48, 16, 16), (20, 24, 48)])
def test_any_shape_gets_a_head_and_its_tumour(shape: Shape) -> None:
    phantom = draw(2, shape)
    assert phantom.labels.shape == shape
    assert phantom.labels.any()
    assert (phantom.images["flair"] > 0).mean() > 0.1


def test_a_case_is_a_function_of_seed_shape_and_number() -> None:
    case = draw(3)
    again = draw(3)
    assert all((case.images[contrast] == again.images[contrast]).all() for contrast in CONTRASTS)
    assert (case.labels == again.labels).all()
    for other in (draw(4), draw(3, seed=1)):
        assert (case.labels != other.labels).any()
        assert (case.images["t1"] != other.images["t1"]).any()


def test_contrasts_have_units_of_their_own(phantoms: list[Phantom]) -> None:
    brightest = [float(np.percentile(image, 99)) for p in phantoms for image in p.images.values()]
    assert min(brightest) > 100
    assert max(brightest) > 3 * min(brightest)


def test_an_ellipsoid_with_equal_axes_is_a_ball() -> None:
    points = np.random.default_rng(0).uniform(-30, 30, (3, 500)).astype(np.float32)
    centre = np.array((3.0, -2.0, 5.0))
    truth = 20 - np.linalg.norm(points - centre[:, None], axis=0)
    assert np.allclose(ellipsoid(points, centre, (20, 20, 20)), truth, atol=1e-3)


def test_a_tube_of_no_length_is_a_ball_and_tapers_along_its_axis() -> None:
    points = np.array([[0, 5, 10], [3, 3, 3], [0, 0, 0]], np.float32)
    assert tube(points, (0, 0, 0), (10, 0, 0), (4, 2)) == pytest.approx([1, 0, -1])


def test_a_ramp_is_half_at_the_surface() -> None:
    assert ramp(np.array([-2, -1, 0, 0.5, 1, 2], np.float32), 2.0) == pytest.approx([0, 0, 0.5, 0.75, 1, 1])


def test_a_rotation_turns_about_x_then_y_then_z() -> None:
    quarter = np.pi / 2
    assert rotation((0, 0, quarter)) @ (1, 0, 0) == pytest.approx((0, 1, 0), abs=1e-6)
    assert rotation((quarter, 0, quarter)) @ (0, 1, 0) == pytest.approx((0, 0, 1), abs=1e-6)
    assert rotation((0, quarter, 0)) @ (0, 0, 1) == pytest.approx((1, 0, 0), abs=1e-6)


def test_noise_is_centred_has_unit_deviation_and_is_smooth() -> None:
    points = np.random.default_rng(0).uniform(-60, 60, (3, 20000)).astype(np.float32)
    field = noise(np.random.default_rng(1), points, 5.0)
    assert abs(field.mean()) < 0.05
    assert field.std() == pytest.approx(1, abs=0.05)
    moved = noise(np.random.default_rng(1), points + np.float32(0.05), 5.0)
    assert np.abs(moved - field).max() < 0.15
