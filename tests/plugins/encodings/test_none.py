"""No encoding."""

from __future__ import annotations

import torch

from ddmkit import Window
from ddmkit_plugins.encodings.none import NoEncoding


def test_it_adds_nothing_to_a_concatenation() -> None:
    window = Window((1, 2, 3), (4, 5, 6), (9, 9, 9))
    channels = NoEncoding().encode(window)
    images = torch.ones(4, *window.shape)
    assert channels.dtype == torch.float32
    assert torch.equal(torch.cat([images, channels]), images)
