"""One device: a CPU or a GPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import ConfigurationError
from ddmkit_plugins.engines.device import DeviceSettings

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ddmkit import Session, Training


class Single(DeviceSettings):
    """Everything on one device."""

    name: ClassVar[str] = "single"

    @override
    def serve(self) -> None:
        # Each of a launcher's processes would train all by itself, in the same folder. SLURM's may well be meant so.
        size, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
        if rank and size not in {"", "1"}:
            msg = (
                f"A launcher began {size} processes (WORLD_SIZE={size}), and the engine 'single' works in one: add "
                "--engine deepspeed, begin ddmkit without the launcher, or unset WORLD_SIZE if there is none."
            )
            raise ConfigurationError(msg)

    @override
    def open(self, network: nn.Module, training: Training | None = None, logs: Path | None = None) -> Session:
        import torch

        from ddmkit_plugins.engines.single_session import SingleSession

        device = torch.device(self.chosen())
        settings = self.in_precision(network, device, training=training is not None)
        return SingleSession(network, settings, device, training)
