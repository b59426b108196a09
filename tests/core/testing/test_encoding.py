"""What an encoding owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import Encoding, Window
from ddmkit.testing import check


class Height(Encoding):
    """One channel that rises along Z."""

    name: ClassVar[str] = "height"
    channels: ClassVar[int] = 1

    @override
    def encode(self, window: Window) -> Tensor:
        z = torch.arange(window.shape[2]) * window.factor + window.start[2]
        return (z / window.frame[2]).expand(1, *window.shape)


def test_an_encoding_that_keeps_its_promises_passes() -> None:
    check(Height)


def divided_by_the_last(self: Height, window: Window) -> Tensor:
    return Height.encode(self, window) * window.frame[2] / (window.frame[2] - 1)


@pytest.mark.parametrize(
    ("encode", "sentence"),
    [
        (lambda self, window: Height.encode(self, window._replace(start=(0, 0, 0))), "otherwise than the whole frame"),
        (lambda self, window: Height.encode(self, window).double(), r"encodes in torch\.float64"),
        (lambda self, window: Height.encode(self, window).expand(2, *window.shape), r"with shape \(2, 9, 10, 7\)"),
        (lambda self, window: Height.encode(self, window).to("meta"), "encodes on meta, not on the CPU"),
        (lambda self, window: Height.encode(self, window) + torch.rand(1), r"encodes Window\(.*\) in two ways"),
        (divided_by_the_last, r"frame=\(1, 1, 1\).* that are not finite"),
        (lambda self, window: Height.encode(self, window).log(), "numbers that are not finite"),
        (lambda self, window: Height.encode(self, window._replace(factor=1)), r"not \(1, 5, 5, 4\)"),
    ],
)
def test_a_broken_encoding_is_caught(
    encode: Callable[..., Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Height, sentence, encode=encode)
