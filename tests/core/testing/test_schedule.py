"""What a schedule owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from ddmkit import Schedule
from ddmkit.testing import check


class Geometric(Schedule):
    """Every step keeps the same share of the signal."""

    name: ClassVar[str] = "geometric"
    keep: float = Field(default=0.99, gt=0, lt=1, description="Share of the signal's power that a step keeps.")

    @override
    def alphas_bar(self) -> Tensor:
        return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)


@pytest.mark.parametrize("schedule", [Geometric, Geometric(keep=0.9)])
def test_a_schedule_that_keeps_its_promises_passes(schedule: Schedule | type[Schedule]) -> None:
    check(schedule)


CACHED = Geometric().alphas_bar()


def hill(timesteps: int) -> Tensor:
    """Return levels that fall but for the step from 1 to 2."""
    alphas_bar = torch.tensor([1, 0.9, 0.95, *(0.5 / step for step in range(1, timesteps))], dtype=torch.float64)
    return alphas_bar[: timesteps + 1]


@pytest.mark.parametrize(
    ("alphas_bar", "sentence"),
    [
        (lambda self: Geometric.alphas_bar(self)[1:], r"has shape \(1000,\), not \(1001,\)"),
        (lambda self: Geometric.alphas_bar(self).float(), r"computes in torch\.float32"),
        (lambda self: Geometric.alphas_bar(self) * 0.99, r"starts at alpha-bar 0\.99"),
        (lambda self: torch.ones(self.timesteps + 1, dtype=torch.float64), "does not fall strictly"),
        (lambda self: hill(self.timesteps), r"does not fall strictly: 0\.9 at t = 1, 0\.95 at t = 2\.$"),
        (lambda self: 1 - torch.linspace(0, 1, self.timesteps + 1, dtype=torch.float64), r"ends at 0\.0"),
        (lambda self: Geometric.alphas_bar(self) * float("nan"), "with T = 1000 holds numbers that are not finite"),
        (lambda self: Geometric.alphas_bar(self).to("meta"), "computes on meta, not on the CPU"),
        (lambda self: CACHED[: self.timesteps + 1], "hands out one tensor twice"),
    ],
)
def test_a_broken_schedule_is_caught(
    alphas_bar: Callable[[Schedule], Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Geometric, sentence, alphas_bar=alphas_bar)
