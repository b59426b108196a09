"""Backbones: the networks that denoise.

A complete backbone::

    class Linear(Backbone):
        '''One 1x1x1 convolution; blind to time.'''

        name: ClassVar[str] = "linear"

        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            return Blind(nn.Conv3d(in_channels, out_channels, 1))

    class Blind(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.layer(x)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from ddmkit.component import Component
from ddmkit.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

Prediction: TypeAlias = Literal["eps", "x0", "v"]
"""What the network predicts: the noise, the clean x_0, or v."""


@runtime_checkable
class DiffusionAware(Protocol):
    """A network that has to know how noisy its input is, and what its answer is taken for, not the time alone."""

    def set_diffusion(self, alphas_bar: Tensor, prediction: Prediction) -> None:
        """Take in what a configuration says, once, before the network is used.

        Args:
            alphas_bar: of the schedule, shape (T + 1,), float64, on the CPU; alphas_bar[t] is that of the time t.
            prediction: `diffusion.prediction`.

        Raises:
            ConfigurationError: the network does not go with it.
        """
        ...


class Backbone(Component):
    """A denoising network, before its weights exist."""

    kind: ClassVar[str] = "backbone"
    divisible: ClassVar[bool] = False
    """Whether the network can be cut into stages, each on a device of its own, see `ddmkit.stages`."""

    @abstractmethod
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the network with fresh weights, drawn from torch's global generator.

        Its `forward(x, t)` maps x of shape (N, in_channels, X, Y, Z), any X, Y, Z >= 1, and the times t of
        shape (N,), float, from 1 to T, to shape (N, out_channels, X, Y, Z): each example by itself, in training too.
        x and t stay as they are. It may be called under `torch.device("meta")`, to count weights without making them.
        """

    def import_state(self, foreign: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Translate another program's state dict into this network's names.

        Raises:
            CheckpointError: this backbone knows no other program's names.
        """
        msg = f"The backbone {self.name!r} reads no foreign checkpoint (given: {len(foreign)} tensors)."
        raise CheckpointError(msg)
