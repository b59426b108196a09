"""Training batches as a function of (seed, step): no order of events, no number of processes changes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from ddmkit.engine import Batch
from ddmkit.randomness import generator, normal
from ddmkit.sampling import condition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddmkit.configuration import Configuration
    from ddmkit.store import StoredCase


class Batches:
    """The batches of a run.

    Args:
        configuration: what is drawn and how.
        cases: the training cases, in an order that belongs to the run (sorted by name).
        micro_batch: examples per batch; the global batch comes in as many as that takes.
    """

    def __init__(self, configuration: Configuration, cases: Sequence[StoredCase], micro_batch: int | None) -> None:
        self._configuration = configuration
        self._cases = cases
        self._micro_batch = micro_batch or configuration.training.batch_size
        self._alphas_bar = configuration.schedule.alphas_bar()

    def example(self, step: int, index: int) -> Batch:
        """Return example `index` of the global batch of step 1, 2, …, as a batch of one.

        Case, window, time and noise each have a key of their own: a patch strategy that draws more numbers changes
        no noise.
        """
        configuration, key = self._configuration, (step, index)
        case = self._case((step - 1) * configuration.training.batch_size + index)
        window = configuration.patch.window(case.frame, generator(configuration.seed, "window", *key))
        example = case.read(window)
        x0 = configuration.task.x0(example)[None]
        noise = normal(tuple(x0.shape), configuration.seed, "noise", *key)
        t = int(generator(configuration.seed, "time", *key).integers(1, len(self._alphas_bar)))
        alpha_bar = self._alphas_bar[t].reshape(1)
        noisy = configuration.diffusion.noisy(x0, noise, alpha_bar)
        inputs = torch.cat([condition(configuration, example)[None], noisy], dim=1)
        return Batch(inputs, torch.tensor([float(t)]), configuration.diffusion.target(x0, noise, alpha_bar))

    def step(self, step: int) -> list[Batch]:
        """Return the micro-batches of one optimizer step."""
        size = self._configuration.training.batch_size
        examples = [self.example(step, index) for index in range(size)]
        groups = [examples[first : first + self._micro_batch] for first in range(0, size, self._micro_batch)]
        return [_joined(group) for group in groups]

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, list[Batch]]]:
        """Yield (step, batches) from `first` to `last`, reading the next while the current one is used."""
        if first > last:
            return
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ddmkit-batches") as pool:
            coming = pool.submit(self.step, first)
            for step in range(first, last + 1):
                batches = coming.result()
                if step < last:
                    coming = pool.submit(self.step, step + 1)
                yield step, batches

    def _case(self, number: int) -> StoredCase:
        epoch, position = divmod(number, len(self._cases))
        return self._cases[_order(self._configuration.seed, epoch, len(self._cases))[position]]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> tuple[int, ...]:
    return tuple(generator(seed, "order", epoch).permutation(count).tolist())


def _joined(batches: list[Batch]) -> Batch:
    inputs, times, targets = zip(*batches, strict=True)
    return Batch(torch.cat(inputs), torch.cat(times), torch.cat(targets))
