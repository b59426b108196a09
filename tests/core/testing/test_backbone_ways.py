"""That a network's ways are the function of its plain forward is checked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.core.testing.networks import Ways, WaysNetwork, steeper
from torch import Tensor, nn
from typing_extensions import override

from ddmkit.footprint import Work
from ddmkit.testing import check


def test_a_network_whose_ways_are_one_function_passes() -> None:
    check(Ways)


def test_a_way_that_is_only_for_evaluations_need_not_learn() -> None:
    class Evaluating(WaysNetwork):
        @override
        def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
            return ("plain",) if work.training else ("doubled", "plain")

        @override
        def other(self, answer: Tensor) -> Tensor:
            return answer.detach()

    class OneLearns(Ways):
        """Its network learns in one way only."""

        @override
        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            return Evaluating(in_channels, out_channels)

    check(OneLearns)


SAID = r"way 'doubled' answers inputs of shape \(2, 3, 1, 2, 3\) otherwise than its plain forward"


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            lambda answer: answer[:, :, :, :1],
            r"way 'doubled' maps inputs of shape \(2, 3, 1, 2, 3\) to shape \(2, 2, 1, 1, 3\)",
        ),
        (lambda answer: answer.bfloat16(), r"way 'doubled' answers float32 with torch\.bfloat16"),
        (lambda answer: answer * 1.001, SAID),
        (lambda answer: answer if torch.is_grad_enabled() else answer + 0.001, SAID),
        (lambda answer: answer + 0.001 if torch.is_grad_enabled() else answer, SAID),
        (lambda answer: answer.detach(), f"{SAID}: without gradients"),
        (steeper, r"way 'doubled' has another gradient in \S+ than its plain forward"),
    ],
)
def test_a_way_that_is_another_function_is_caught(
    other: Callable[[Tensor], Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    class BrokenNetwork(WaysNetwork):
        @override
        def other(self, answer: Tensor) -> Tensor:
            return other(answer)

    refuses(Ways, sentence, build=lambda _self, one, two: BrokenNetwork(one, two))


def test_a_network_that_names_no_way_is_caught(refuses: Callable[..., None]) -> None:
    class Lost(WaysNetwork):
        @override
        def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
            return ()

    refuses(Ways, "names no way for inputs", build=lambda _self, one, two: Lost(one, two))
