"""Batches as a function of seed, step and index."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch

from ddmkit import Batch, DataError
from ddmkit.randomness import normal
from ddmkit.run.batches import Batches
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration
    from ddmkit.store import StoredCase

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]
    Make = Callable[..., Batches]

COUNT = 3
ENCODING = 2
"""Channel of the encoding, which tells where a window lies; the condition comes before it, x_t behind."""


@pytest.fixture
def cases(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> list[StoredCase]:
    configuration = configured()
    store = Store(configuration)
    return [store.open(case) for case in configuration.dataset.cases(write_cases(tmp_path, count=COUNT))]


@pytest.fixture
def make(configured: Configured, cases: list[StoredCase]) -> Make:
    def batches(*options: str, micro_batch: int | None = None) -> Batches:
        return Batches(configured(*options), cases, micro_batch)

    return batches


def whole(batches: list[Batch]) -> Batch:
    inputs, times, targets = zip(*batches, strict=True)
    return Batch(torch.cat(inputs), torch.cat(times), torch.cat(targets))


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 5, 9])
def test_micro_batches_hold_the_same_examples_in_the_same_order(make: Make, micro_batch: int) -> None:
    at_once, in_parts = make("training.batch_size=5"), make("training.batch_size=5", micro_batch=micro_batch)
    for step in (1, 2, 7):
        parts = in_parts.step(step)
        assert max(len(part.inputs) for part in parts) == min(micro_batch, 5)
        assert len(parts) == -(-5 // micro_batch)
        assert same(whole(parts), whole(at_once.step(step)))


def test_an_example_does_not_depend_on_what_was_drawn_before(make: Make) -> None:
    forwards = make("training.batch_size=2")
    first = [forwards.example(step, index) for step in (1, 2, 3) for index in (0, 1)]
    backwards = make("training.batch_size=2")
    second = [backwards.example(step, index) for step in (3, 2, 1) for index in (1, 0)][::-1]
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    assert not any(same(first[0], other) for other in first[1:])


def test_another_seed_draws_other_examples(make: Make, configured: Configured, cases: list[StoredCase]) -> None:
    other = Batches(configured().model_copy(update={"seed": 1}), cases, None)
    assert not same(make().example(1, 0), other.example(1, 0))


def shown(batch: Batch, cases: list[StoredCase], configuration: Configuration) -> set[str]:
    """Return the names of the cases whose first window a batch shows."""
    found = set()
    for case in cases:
        window = configuration.patch.window(case.frame, None)  # type: ignore[arg-type]  # a corner draws nothing
        images = case.read(window).images
        if any(torch.equal(example[:ENCODING], images) for example in batch.inputs):
            found.add(case.name)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_case_comes_once_an_epoch(make: Make, configured: Configured, cases: list[StoredCase], size: int) -> None:
    options = ("patch.name=corner", "patch.sides=10,12,9", f"training.batch_size={size}")
    batches, configuration = make(*options), configured(*options)
    seen: list[str] = []
    for step in range(1, 13):
        for index in range(size):
            (name,) = shown(batches.example(step, index), cases, configuration)
            seen.append(name)
    epochs = [seen[first : first + COUNT] for first in range(0, 12 * size, COUNT)]
    assert all(len(set(epoch)) == COUNT for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_of_cases_does_not_depend_on_the_batch_size(
    make: Make, configured: Configured, cases: list[StoredCase]
) -> None:
    corner = ("patch.name=corner", "patch.sides=10,12,9")
    configuration = configured(*corner)
    one, two = make(*corner), make(*corner, "training.batch_size=2")
    for number in range(6):
        first = shown(one.example(number + 1, 0), cases, configuration)
        assert first == shown(two.example(number // 2 + 1, number % 2), cases, configuration)


def test_x_t_is_the_forward_process_of_the_window_and_the_noise(
    make: Make, configured: Configured, cases: list[StoredCase]
) -> None:
    options = ("patch.name=corner", "training.batch_size=4")
    configuration = configured(*options)
    alphas_bar = 0.93 ** torch.arange(51, dtype=torch.float64)
    references = [case.read(configuration.patch.window(case.frame, None)) for case in cases]  # type: ignore[arg-type]  # as above
    (batch,) = make(*options).step(5)
    for index in range(4):
        inputs, time, target = (tensor[index] for tensor in batch)
        noise = normal((1, 1, 6, 5, 4), 0, "noise", 5, index)[0]
        (example,) = [example for example in references if torch.equal(example.images, inputs[:2])]
        assert example.labels is not None
        x0 = (example.labels > 0).float()
        level = alphas_bar[int(time)]
        expected = (level.sqrt() * x0 + (1 - level).sqrt() * noise).float()
        assert torch.allclose(inputs[3:], expected, rtol=0, atol=1e-6)
        assert torch.equal(target, noise)
        assert torch.equal(inputs[2:3], configuration.encoding.encode(example.window))


def test_a_batch_has_the_shapes_and_types_that_engines_are_promised(make: Make) -> None:
    (batch,) = make("training.batch_size=2").step(1)
    assert (batch.inputs.shape, batch.times.shape, batch.target.shape) == ((2, 4, 6, 5, 4), (2,), (2, 1, 6, 5, 4))
    assert {tensor.dtype for tensor in batch} == {torch.float32}


def test_times_are_whole_and_cover_1_to_t_evenly(make: Make) -> None:
    batches = make("schedule.timesteps=4", "sampler.steps=2")
    counts = Counter(batches.example(step, 0).times.item() for step in range(1, 401))
    assert sorted(counts) == [1, 2, 3, 4]
    # 100 of each are expected, with a standard deviation of sqrt(400 · 1/4 · 3/4) = 8.7; five of them:
    assert max(abs(count - 100) for count in counts.values()) < 44


def test_examples_of_a_batch_have_times_and_noise_of_their_own(make: Make) -> None:
    steps = [make("training.batch_size=2").step(step)[0] for step in range(1, 6)]
    assert any(len(set(batch.times.tolist())) == 2 for batch in steps)
    assert not any(torch.equal(*batch.target) for batch in steps)


def test_another_patch_strategy_draws_the_same_noise_and_times(make: Make) -> None:
    roaming, standing = make("patch.name=box"), make("patch.name=corner")
    moved = 0
    for step in range(1, 9):
        one, other = roaming.example(step, 0), standing.example(step, 0)
        assert torch.equal(one.target, other.target)
        assert torch.equal(one.times, other.times)
        moved += not torch.equal(one.inputs[:, ENCODING], other.inputs[:, ENCODING])
    assert moved > 0


def test_windows_differ_from_step_to_step_and_follow_from_the_seed(make: Make) -> None:
    places = [make().example(step, 0).inputs[0, ENCODING, 0, 0, 0].item() for step in range(1, 21)]
    assert len(set(places)) > 2
    assert places == [make().example(step, 0).inputs[0, ENCODING, 0, 0, 0].item() for step in range(1, 21)]


@pytest.mark.parametrize(("first", "last"), [(1, 5), (4, 4), (3, 2)])
def test_reading_ahead_gives_the_same_batches(make: Make, first: int, last: int) -> None:
    batches = make("training.batch_size=2", micro_batch=1)
    ahead = list(batches.ahead(first, last))
    assert [step for step, _ in ahead] == list(range(first, last + 1))
    for step, parts in ahead:
        assert same(whole(parts), whole(batches.step(step)))


def test_reading_ahead_ends_its_thread_when_it_is_left_early(make: Make) -> None:
    before = set(threading.enumerate())
    ahead = make().ahead(1, 100)
    next(ahead)
    assert set(threading.enumerate()) != before
    ahead.close()  # type: ignore[attr-defined]  # it is a generator
    assert set(threading.enumerate()) == before


def test_what_goes_wrong_while_reading_ahead_comes_up_at_its_step(make: Make, cases: list[StoredCase]) -> None:
    ahead = make().ahead(1, 50)
    next(ahead)
    for case in cases:
        case.path.unlink()
    with pytest.raises(DataError, match="Cannot read"):
        for _ in ahead:
            pass
