"""Batches as a function of seed, step and index."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import Batch, DataError, Patch, Window
from ddmkit.randomness import normal
from ddmkit.run import batches as module
from ddmkit.run.batches import Batches
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ddmkit import Example, Shape
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

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
    return lambda *options: Batches(configured(*options), cases)


def whole(batches: list[Batch]) -> Batch:
    inputs, times, targets = zip(*batches, strict=True)
    return Batch(torch.cat(inputs), torch.cat(times), torch.cat(targets))


def first_window(configuration: Configuration, case: StoredCase) -> Window:
    """Return where a corner, which draws nothing, lies in a case's frame."""
    return configuration.patch.window(case.region.size, None).within(case.region)  # type: ignore[arg-type]  # as said


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 5, 9])
def test_micro_batches_hold_the_same_examples_in_the_same_order(make: Make, micro_batch: int) -> None:
    at_once, in_parts = (
        make("training.batch_size=5"),
        make("training.batch_size=5", f"engine.micro_batch={micro_batch}"),
    )
    for step in (1, 2, 7):
        parts = in_parts.step(step)
        assert max(len(part.inputs) for part in parts) == min(micro_batch, 5)
        assert len(parts) == -(-5 // micro_batch)
        assert same(whole(parts), whole(at_once.step(step)))


@pytest.mark.parametrize("micro_batch", ["null", "3"])
def test_windows_of_one_shape_share_a_batch_and_none_is_lost(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, micro_batch: str
) -> None:
    options = ("patch.name=coarse", "training.batch_size=6", f"engine.micro_batch={micro_batch}")
    configuration = configured(*options)
    folders = [write_cases(tmp_path / "even", count=2), write_cases(tmp_path / "odd", count=2, shape=(8, 6, 12))]
    store = Store(configuration)
    cases = [store.open(case) for folder in folders for case in configuration.dataset.cases(folder)]
    batches = Batches(configuration, cases)
    most = 6 if micro_batch == "null" else 3
    for step in (1, 2, 3):
        examples = [batches.example(step, index) for index in range(6)]
        shapes = {example.inputs.shape[2:] for example in examples}
        assert len(shapes) == 2
        parts = batches.step(step)
        assert len(parts) <= 2 * (6 // most)
        for shape in shapes:
            expected = [example for example in examples if example.inputs.shape[2:] == shape]
            assert same(whole([part for part in parts if part.inputs.shape[2:] == shape]), whole(expected))
    ((_, ahead),) = batches.ahead(3, 3)
    assert all(same(one, other) for one, other in zip(ahead, parts, strict=True))


def test_an_example_does_not_depend_on_what_was_drawn_before(make: Make) -> None:
    forwards = make("training.batch_size=2")
    first = [forwards.example(step, index) for step in (1, 2, 3) for index in (0, 1)]
    backwards = make("training.batch_size=2")
    second = [backwards.example(step, index) for step in (3, 2, 1) for index in (1, 0)][::-1]
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    assert not any(same(first[0], other) for other in first[1:])


def test_another_seed_draws_other_examples(make: Make, configured: Configured, cases: list[StoredCase]) -> None:
    other = Batches(configured().model_copy(update={"seed": 1}), cases)
    assert not same(make().example(1, 0), other.example(1, 0))


def shown(batch: Batch, cases: list[StoredCase], configuration: Configuration) -> set[str]:
    """Return the names of the cases whose first window a batch shows."""
    found = set()
    for case in cases:
        images = case.read(first_window(configuration, case)).images
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
    references = [case.read(first_window(configuration, case)) for case in cases]
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


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (1, 7), (2, 4), (5, 1), (4, 40)])
@pytest.mark.parametrize(("first", "last"), [(1, 9), (4, 4), (6, 13), (3, 2)])
def test_threads_and_prefetch_change_nothing_about_content_and_order(
    make: Make, threads: int, prefetch: int, first: int, last: int
) -> None:
    options = ("training.batch_size=3", "engine.micro_batch=2")
    ahead = list(make(*options, f"loading.threads={threads}", f"loading.prefetch={prefetch}").ahead(first, last))
    assert [step for step, _ in ahead] == list(range(first, last + 1))
    alone = make(*options)
    for step, parts in ahead:
        expected = alone.step(step)
        assert len(parts) == len(expected) == 2
        assert all(same(one, other) for one, other in zip(parts, expected, strict=True))


class Counted(ThreadPoolExecutor):
    """Counts what it is given to do."""

    given = 0

    @override
    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        Counted.given += 1
        return super().submit(*arguments, **named)


@pytest.mark.parametrize(("threads", "prefetch"), [(1, 1), (8, 1), (2, 3), (1, 40)])
def test_no_more_steps_are_prepared_ahead_than_asked_for(
    make: Make, monkeypatch: pytest.MonkeyPatch, threads: int, prefetch: int
) -> None:
    monkeypatch.setattr(module, "ThreadPoolExecutor", Counted)
    monkeypatch.setattr(Counted, "given", 0)
    options = ("training.batch_size=2", "engine.micro_batch=1")
    batches = make(*options, f"loading.threads={threads}", f"loading.prefetch={prefetch}")
    for step, _ in batches.ahead(5, 12):
        # Beside the step that is used now, `prefetch` others; two micro-batches each.
        assert Counted.given == 2 * (min(step + prefetch, 12) - 4)


def test_threads_end_when_reading_ahead_is_left_early(make: Make) -> None:
    before = set(threading.enumerate())
    ahead = make("loading.threads=3", "loading.prefetch=20").ahead(1, 100)
    next(ahead)
    assert set(threading.enumerate()) != before
    ahead.close()
    assert set(threading.enumerate()) == before


class Failing(Batches):
    """Cannot make the examples of the fourth step."""

    @override
    def example(self, step: int, index: int) -> Batch:
        if step == 4:
            msg = "no such window"
            raise DataError(msg)
        return super().example(step, index)


@pytest.mark.parametrize("threads", [1, 4])
def test_what_goes_wrong_in_a_thread_comes_up_at_its_step(
    configured: Configured, cases: list[StoredCase], threads: int
) -> None:
    before = set(threading.enumerate())
    ahead = Failing(configured(f"loading.threads={threads}", "loading.prefetch=6"), cases).ahead(1, 50)
    assert [next(ahead)[0] for _ in range(3)] == [1, 2, 3]
    with pytest.raises(DataError, match=r"^no such window$"):
        next(ahead)
    assert set(threading.enumerate()) == before


def test_a_case_that_is_gone_from_store_and_disk_is_one_sentence(
    make: Make, cases: list[StoredCase], tmp_path: Path
) -> None:
    ahead = make().ahead(1, 50)
    next(ahead)
    shutil.rmtree(tmp_path)
    for case in cases:
        case.path.unlink()
    with pytest.raises(DataError, match=r"BraTS20_Training_00\d_t1.nii.gz"):
        for _ in ahead:
            pass


class OneVoxel(Patch):
    """A single voxel, the last of those that are labelled."""

    name: ClassVar[str] = "one-voxel"

    @override
    def size(self, frame: Shape) -> Shape:
        return 1, 1, 1

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window((0, 0, 0), (1, 1, 1), frame)

    @override
    def window_of(
        self, frame: Shape, random: np.random.Generator, locations: Callable[[], NDArray[np.integer]]
    ) -> Window:
        x, y, z = locations()[-1].tolist()
        return Window((x, y, z), (1, 1, 1), frame)


def test_a_strategy_may_aim_at_what_is_labelled(configured: Configured, cases: list[StoredCase]) -> None:
    configuration = configured("diffusion.prediction=x0")
    anywhere, aimed = (
        Batches(configuration.model_copy(update={"patch": patch}), cases) for patch in (configuration.patch, OneVoxel())
    )
    outside, inside = sorted(set(anywhere.example(1, 0).target.flatten().tolist()))
    assert outside < inside
    assert [aimed.example(step, 0).target.item() for step in range(1, COUNT + 1)] == [inside] * COUNT


class Watched:
    """A case of which each reading is told."""

    def __init__(self, case: StoredCase, tell: Callable[[Window], None]) -> None:
        self.region = case.region
        self.locations = case.locations
        self._case = case
        self._tell = tell

    def read(self, window: Window) -> Example:
        self._tell(window)
        return self._case.read(window)


def watched(cases: list[StoredCase], tell: Callable[[Window], None]) -> list[StoredCase]:
    return [Watched(case, tell) for case in cases]  # type: ignore[misc]  # what a batch needs of a case, they have


def test_windows_are_drawn_from_the_box_around_the_brain_and_lie_in_the_papers_frame(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    data = write_cases(tmp_path / "large", count=1, shape=(30, 40, 24))
    brain, paper = configured("preprocessing.frame=brain"), configured("preprocessing.frame=paper")
    (case,) = brain.dataset.cases(data)
    seen: list[Window] = []
    batches = Batches(brain, watched([Store(brain).open(case)], seen.append))
    examples = [batches.example(step, 0) for step in range(1, 61)]
    # The head is a ball of 0.45 of each side about the middle, which lies at the middle of 256 voxels.
    reach = [0.45 * side for side in (30, 40, 24)]
    for axis in range(3):
        starts = [window.start[axis] for window in seen]
        stops = [window.start[axis] + window.size[axis] for window in seen]
        assert min(starts) >= 128 - reach[axis] - 1
        assert max(stops) <= 128 + reach[axis] + 1
        # With 60 windows, some come near to both ends.
        assert min(starts) <= 128 - reach[axis] + 4
        assert max(stops) >= 128 + reach[axis] - 4
    assert {(window.size, window.frame) for window in seen} == {((6, 5, 4), (256, 256, 256))}
    framed = Store(paper).open(case)
    for window, example in zip(seen, examples, strict=True):
        assert torch.equal(example.inputs[0, :ENCODING], framed.read(window).images)
        assert torch.equal(example.inputs[0, ENCODING], brain.encoding.encode(window)[0])


def test_batches_are_pinned_where_that_is_asked_for_only(
    configured: Configured, cases: list[StoredCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: list[Tensor] = []

    def pin(self: Tensor) -> Tensor:
        pinned.append(self.clone())
        return pinned[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    plain = Batches(configured(), cases)
    expected = [batches for _, batches in plain.ahead(1, 2)]
    assert pinned == []
    found = [batches for _, batches in Batches(configured(), cases, pinned=True).ahead(1, 2)]
    assert len(pinned) == 2 * 3
    for one, other in zip(found, expected, strict=True):
        assert all(any(part is known for known in pinned) for batch in one for part in batch)
        assert same(whole(one), whole(other))
