"""Training batches as a function of (seed, step): no order of events, no number of processes changes them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from ddmkit.checked import checked_alphas_bar, checked_window, checked_x0
from ddmkit.engine import Batch
from ddmkit.randomness import generator, normal
from ddmkit.sampling import condition
from ddmkit.task import given

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase


class Batches:
    """The batches of a run.

    Args:
        configuration: what is drawn and how.
        cases: the training cases, in an order that belongs to the run (sorted by name).
        pinned: whether batches lie in memory that a GPU copies from while it works.
    """

    def __init__(self, configuration: Configuration, cases: Sequence[StoredCase], *, pinned: bool = False) -> None:
        self._configuration = configuration
        self._cases = cases
        self._micro_batch = configuration.engine.micro_batch or configuration.training.batch_size
        self._pinned = pinned
        self._alphas_bar = checked_alphas_bar(configuration.schedule)

    def example(self, step: int, index: int) -> Batch:
        """Return example `index` of the global batch of step 1, 2, …, as a batch of one.

        Case, window, time and noise each have a key of their own: a patch strategy that draws more numbers changes
        no noise.
        """
        configuration, key = self._configuration, (step, index)
        case = self._case((step - 1) * configuration.training.batch_size + index)
        region = case.region
        drawn = generator(configuration.seed, "window", *key)
        # A task that needs no references is given none, whatever the store's file of another run may hold.
        locations = case.locations if configuration.task.needs_references else nowhere
        window = checked_window(configuration.patch, region.size, drawn, locations)
        example = case.read(window.within(region))
        x0 = checked_x0(configuration.task, example)[None]
        noise = normal(tuple(x0.shape), configuration.seed, "noise", *key)
        t = configuration.diffusion.draw_time(self._alphas_bar, generator(configuration.seed, "time", *key))
        alpha_bar = self._alphas_bar[t].reshape(1)
        noisy = configuration.diffusion.noisy(x0, noise, alpha_bar)
        seen = given(configuration.task, example)
        inputs = torch.cat([condition(configuration, seen)[None], noisy], dim=1)
        return Batch(inputs, torch.tensor([float(t)]), configuration.diffusion.target(x0, noise, alpha_bar))

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of one optimizer step; windows of different shapes are in different ones."""
        return [batch for indices in self._groups() for batch in self._joined(step, indices)]

    def ahead(self, first: int, last: int) -> Generator[tuple[int, list[Batch]]]:
        """Yield (step, batches) from `first` to `last`, preparing the next ones in threads while these are used.

        Decompressing, drawing noise and torch's work all let go of Python's lock, so that threads do what processes
        would, without a copy between them.
        """
        loading = self._configuration.loading
        with ThreadPoolExecutor(loading.threads, thread_name_prefix="ddmkit-loading") as pool:
            coming: deque[list[Future[list[Batch]]]] = deque()
            try:
                for step in range(first, last + 1):
                    while len(coming) <= loading.prefetch and step + len(coming) <= last:
                        ahead = step + len(coming)
                        coming.append([pool.submit(self._joined, ahead, indices) for indices in self._groups()])
                    yield step, [batch for future in coming.popleft() for batch in future.result()]
            finally:
                pool.shutdown(cancel_futures=True)

    def _groups(self) -> list[range]:
        """Return which examples of a step make which micro-batch."""
        size = self._configuration.training.batch_size
        return [range(first, min(first + self._micro_batch, size)) for first in range(0, size, self._micro_batch)]

    def _joined(self, step: int, indices: range) -> list[Batch]:
        """Return examples in as few batches as the shapes of their windows allow."""
        alike: dict[torch.Size, list[Batch]] = {}
        for index in indices:
            example = self.example(step, index)
            alike.setdefault(example.inputs.shape, []).append(example)
        batches = [Batch(*map(torch.cat, zip(*examples, strict=True))) for examples in alike.values()]
        return [Batch(*(part.pin_memory() for part in batch)) for batch in batches] if self._pinned else batches

    def _case(self, number: int) -> StoredCase:
        epoch, position = divmod(number, len(self._cases))
        return self._cases[_order(self._configuration.seed, epoch, len(self._cases))[position]]


def nowhere() -> NDArray[np.int64]:
    """Return no voxels: shape (0, 3)."""
    return np.empty((0, 3), np.int64)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    return tuple(generator(seed, "order", epoch).permutation(count).tolist())
