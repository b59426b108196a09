"""No encoding: the network is not told where a window lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Encoding

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit import Window


class NoEncoding(Encoding):
    """No extra channels; trained on windows this way, the paper's model did not converge."""

    name: ClassVar[str] = "none"
    channels: ClassVar[int] = 0

    @override
    def encode(self, window: Window) -> Tensor:
        import torch

        return torch.empty(self.channels, *window.shape)
