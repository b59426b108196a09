"""What engines have in common that work on devices: which, and how."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator

from ddmkit import DeviceError, Engine
from ddmkit.sizes import bytes_of

if TYPE_CHECKING:
    import torch
    from torch import nn

_log = logging.getLogger(__name__)


def named(device: torch.device) -> str:
    """Return a device as people know it, such as "cuda:0 (NVIDIA A100)"."""
    import torch

    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


class DeviceSettings(Engine):
    """The options that engines on devices share; torch is only imported once one is opened."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="Where the network lives: cpu, cuda, cuda:N, or auto for a GPU if there is one.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Arithmetic of the network. What learns stays float32 either way, as do optimizer and sampler; a "
        "network that is only evaluated keeps the weights of its convolutions in it. On a GPU, float32 convolutions "
        "are torch's own: in TF32 where the device has it.",
    )
    memory: str | None = Field(
        default=None,
        description="How much memory the process may use of the device's (of the machine's, for a CPU), such as 16GB. "
        "A network that knows leaner ways goes the fastest that keeps to it. null: what is free.",
    )
    channels_last: bool = Field(
        default=False, description="Keep the channels of a voxel side by side in memory; often faster with bfloat16."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _is_a_size(cls, memory: object) -> object:
        if memory is not None:
            bytes_of(str(memory))  # a bare number, which is typed soonest, comes as one
        return memory

    def chosen(self) -> str:
        """Return the device by its name, of which there may be several.

        Raises:
            DeviceError: it is not there.
        """
        import torch

        chosen = self.device
        if chosen == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
        device = torch.device(chosen)
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            msg = (
                f"The device {chosen} is not there: this machine shows {torch.cuda.device_count()} CUDA devices. "
                "Type -o engine.device=cpu, or auto."
            )
            raise DeviceError(msg)
        return chosen

    def in_precision(self, network: nn.Module, device: torch.device, *, training: bool) -> Self:
        """Return the settings with a precision that the device has for the network."""
        from ddmkit.thrift import bfloat16_fault

        if self.precision == "bfloat16" and (fault := bfloat16_fault(network, device, training=training)):
            _log.warning("%s: float32 is used instead.", fault)
            return self.model_copy(update={"precision": "float32"})
        return self
