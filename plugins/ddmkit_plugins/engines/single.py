"""One device: a CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit_plugins.engines.device import DeviceSettings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ddmkit import Session
    from ddmkit.configuration import Training


class Single(DeviceSettings):
    """Everything on one device."""

    name: ClassVar[str] = "single"

    @override
    def open(self, network: nn.Module, training: Training | None = None, logs: Path | None = None) -> Session:
        import torch

        from ddmkit_plugins.engines.single_session import SingleSession

        device = torch.device(self.chosen())
        settings = self.in_precision(network, device, training=training is not None)
        return SingleSession(network, settings, device, training)
