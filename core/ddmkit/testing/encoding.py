"""What an encoding owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddmkit.testing.promises import in_a_sentence, require
from ddmkit.window import Window

if TYPE_CHECKING:
    from ddmkit.encoding import Encoding
    from ddmkit.window import Shape


_WINDOWS: tuple[tuple[Shape, int, Shape, Shape], ...] = (
    ((9, 10, 7), 1, (2, 0, 6), (5, 10, 1)),
    ((9, 10, 7), 2, (2, 4, 0), (4, 6, 7)),
    ((1, 1, 1), 1, (0, 0, 0), (1, 1, 1)),
    ((5, 1, 3), 2, (2, 0, 0), (3, 1, 3)),
    ((70, 66, 90), 1, (30, 20, 50), (40, 3, 30)),
)
"""Frame, factor, start and size."""


@in_a_sentence
def check_encoding(encoding: Encoding) -> None:
    """Check that a window's encoding is the whole frame's, cut, at full and at half resolution, whatever the size.

    Each answer is a tensor of its own.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(encoding).__qualname__
    for frame, factor, start, size in _WINDOWS:
        whole, window = Window.whole(frame, factor), Window(start, size, frame, factor)
        for where in (whole, window):
            channels = encoding.encode(where)
            shape, promised = tuple(channels.shape), (encoding.channels, *where.shape)
            require(shape == promised, f"{title} encodes {where} with shape {shape}, not {promised}.")
            require(channels.device.type == "cpu", f"{title} encodes on {channels.device}, not on the CPU.")
            require(channels.dtype == torch.float32, f"{title} encodes in {channels.dtype}, not in float32.")
            require(channels.isfinite().all(), f"{title} encodes {where} with numbers that are not finite.")
            again = encoding.encode(where)
            require(torch.equal(again, channels), f"{title} encodes {where} in two ways.")
            shared = channels.numel() and again.untyped_storage().data_ptr() == channels.untyped_storage().data_ptr()
            require(not shared, f"{title} hands out one tensor twice; make a fresh one, which callers may change.")
        x, y, z = (slice(first // factor, first // factor + n) for first, n in zip(start, window.shape, strict=True))
        cut = encoding.encode(whole)[:, x, y, z]
        same = torch.allclose(encoding.encode(window), cut, atol=1e-6)
        require(same, f"{title} encodes {window} otherwise than the whole frame, cut.")
