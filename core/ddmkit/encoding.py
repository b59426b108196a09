"""Encodings: extra input channels that tell a window where it lies.

A complete encoding::

    class Height(Encoding):
        '''One channel that rises along Z.'''

        name: ClassVar[str] = "height"
        channels: ClassVar[int] = 1

        def encode(self, window: Window) -> Tensor:
            z = torch.arange(window.shape[2]) * window.factor + window.start[2]
            return (z / window.frame[2]).expand(1, *window.shape)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ddmkit.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit.window import Window


class Encoding(Component):
    """A function of position, given to the network beside the image."""

    kind: ClassVar[str] = "encoding"
    channels: ClassVar[int]
    """Number of channels it adds."""

    @abstractmethod
    def encode(self, window: Window) -> Tensor:
        """Return the channels over a window: the whole frame's encoding, cut, without building the whole.

        Returns:
            Shape (channels, *window.shape), float32, on the CPU.
        """
