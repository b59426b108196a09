"""What an encoding owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property
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


TABLE = torch.linspace(0, 1, 64)


def from_a_table(_self: Height, window: Window) -> Tensor:
    z = torch.arange(window.shape[2]) * window.factor + window.start[2]
    return TABLE[z].expand(1, *window.shape)


@cache
def cached(window: Window) -> Tensor:
    return Height().encode(window).clone()


def test_an_encoding_that_remembers_itself_is_caught(refuses: Callable[..., None]) -> None:
    class Remembering(Height):
        """Height, which keeps what it worked out."""

        name: ClassVar[str] = "remembering"

        @cached_property
        def half(self) -> float:
            return 0.5

        @override
        def encode(self, window: Window) -> Tensor:
            return super().encode(window) * self.half

    refuses(Remembering, "changes while it is used; state goes into methods and comes out")


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
        (from_a_table, r"check ends with IndexError: .*test_encoding\.py"),
        (lambda _, window: cached(window), "hands out one tensor twice; make a fresh one"),
    ],
)
def test_a_broken_encoding_is_caught(
    encode: Callable[..., Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Height, sentence, encode=encode)
