"""The small problem that engines are checked on, and what plain PyTorch makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from typing_extensions import override

from ddmkit.engine import Batch, StepResult
from ddmkit.randomness import normal
from ddmkit.rate import learning_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddmkit.configuration import Training

EXAMPLES = 4
"""Examples in the batch of every step."""


class Probe(nn.Module):
    """Linear in the input and in time, with one weight that is not learned; two layers, between which it can be cut.

    Args:
        in_channels: channels of the input; the problem has 2.
        dropout: share of the output that training drops, to tell training from evaluation.
    """

    def __init__(self, in_channels: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.mix = nn.Conv3d(in_channels, 1, 1)
        self.drift = nn.Parameter(torch.zeros(1))
        self.timesteps = nn.Parameter(torch.full((1,), 1000.0), requires_grad=False)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        answer: Tensor = self.part(range(self.depth()))((x, t))[0]
        return answer

    def depth(self) -> int:
        """Return how many layers there are."""
        return 2

    def part(self, layers: range) -> nn.Module:
        """Return some of the layers; between both, the state is what the first one answers, and the time."""
        return _Part(self, layers)


class _Part(nn.Module):
    def __init__(self, whole: Probe, layers: range) -> None:
        super().__init__()
        mixes, drifts = 0 in layers, 1 in layers
        self.mix = whole.mix if mixes else None
        self.dropout = whole.dropout if mixes else None
        self.drift = whole.drift if drifts else None
        self.timesteps = whole.timesteps if drifts else None

    @override
    def forward(self, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, t = state
        if self.mix is not None and self.dropout is not None:
            h = self.dropout(self.mix(h))
        if self.drift is None or self.timesteps is None:
            return h, t
        return (h + self.drift * (t / self.timesteps).reshape(-1, 1, 1, 1, 1),)


def probe(seed: int = 0, in_channels: int = 2, dropout: float = 0.0) -> Probe:
    """Return a probe whose weights the seed decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Probe(in_channels, dropout)


def problem() -> Batch:
    """Return a batch that a probe can learn perfectly."""
    inputs, times = normal((EXAMPLES, 2, 3, 4, 5), 0, "inputs"), torch.tensor([1.0, 200.0, 600.0, 1000.0])
    target = 2 * inputs[:, :1] - inputs[:, 1:] + (times / 1000).reshape(-1, 1, 1, 1, 1)
    return Batch(inputs, times, target)


def cut(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    """Return a batch in pieces of the given numbers of examples."""
    pieces = zip(*(torch.split(part, list(sizes)) for part in batch), strict=True)
    return [Batch(*piece) for piece in pieces]


def mean_squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error, as diffusion's loss does."""
    return (output.float() - target).square().mean()


def plainly_trained(training: Training) -> tuple[list[StepResult], dict[str, Tensor]]:
    """Return what each step reports and the weights after the last, by PyTorch's AdamW on the CPU."""
    network, batch, results = probe(), problem(), []
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=training.betas, weight_decay=training.weight_decay)
    for number in range(1, training.steps + 1):
        optimizer.param_groups[0]["lr"] = learning_rate(training, number)
        loss = mean_squared(network(batch.inputs, batch.times), batch.target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = nn.utils.clip_grad_norm_(weights, training.gradient_clip or float("inf"))
        results.append(StepResult(float(loss.detach()), float(norm)))
        optimizer.step()
    return results, network.state_dict()
