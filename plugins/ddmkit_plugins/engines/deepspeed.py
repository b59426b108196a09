"""Several devices, on one machine or on many, by DeepSpeed (Rasley et al. 2020)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from ddmkit import Backbone, ConfigurationError, Registry
from ddmkit_plugins.engines.device import DeviceSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ddmkit import Session, Training


class DeepSpeed(DeviceSettings):
    """Several devices: each with the whole network and its own examples, each with a stage of the network, or both."""

    name: ClassVar[str] = "deepspeed"
    devices: int | None = Field(
        default=None,
        ge=1,
        description="How many, with a process each. null: all GPUs of this machine, on a CPU two processes; under a "
        "launcher, as many as it started.",
    )
    stages: int = Field(
        default=1,
        ge=1,
        description="Cut the network into as many, each on its own device, for volumes too large for one. The devices "
        "are a multiple of it: each row of stages works on examples of its own.",
    )
    cuts: tuple[int, ...] | None = Field(
        default=None,
        description="The layers that the stages but the first begin with, such as 9, or 5,9 with three stages. null: "
        "where the largest stage takes least.",
    )
    zero: Literal[0, 1, 2, 3] = Field(
        default=0,
        description="Stage of ZeRO, which shares out among rows: 1 AdamW's moments, 2 gradients too, 3 weights too. "
        "With several stages 0 or 1.",
    )
    offload: bool = Field(
        default=False, description="Keep AdamW's moments in the host's memory and step there; needs zero=1, 2 or 3."
    )
    checkpointing: bool = Field(
        default=False,
        description="Keep nothing of a layer but what it is given, and do it again on the way back.",
    )
    config: Path | None = Field(
        default=None, description="DeepSpeed's own configuration file (JSON), for what is not set by ddmkit."
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="Of this machine, where processes meet; 0 for one that is free."
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Examples on a device at once, at most; gradients add up to the batch. null: the row's share of "
        "the batch, or one by one through several stages.",
    )

    @field_validator("cuts", mode="before")
    @classmethod
    def _is_listed(cls, cuts: object) -> object:
        return (cuts,) if isinstance(cuts, int) else cuts

    @field_validator("config")
    @classmethod
    def _is_found_from_anywhere(cls, config: Path | None) -> Path | None:
        return None if config is None else config.absolute()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if self.devices is not None and self.devices % self.stages:
            whole = -(-self.devices // self.stages) * self.stages
            msg = (
                f"devices={self.devices} is no multiple of stages={self.stages}; type -o engine.devices={whole}, "
                "or other engine.stages"
            )
            raise ValueError(msg)
        if self.zero > 1 and self.stages > 1:
            msg = (
                f"zero={self.zero} does not go with stages={self.stages}; type -o engine.zero=1 or 0, or "
                "-o engine.stages=1"
            )
            raise ValueError(msg)
        if self.offload and not self.zero:
            msg = "offload keeps what ZeRO shares out in the host's memory; type -o engine.zero=1, 2 or 3 with it"
            raise ValueError(msg)
        if self.cuts is not None:
            self._check_cuts(self.cuts)
        return self

    def _check_cuts(self, cuts: tuple[int, ...]) -> None:
        said, wanted = ",".join(map(str, cuts)), self.stages - 1
        if len(cuts) != wanted:
            msg = (
                f"cuts={said} makes {len(cuts) + 1} stages, and stages={self.stages}; type "
                f"-o engine.stages={len(cuts) + 1}, or -o engine.cuts=null to have the cuts chosen"
            )
            raise ValueError(msg)
        if list(cuts) != sorted(set(cuts)) or min(cuts, default=1) < 1:
            msg = (
                f"cuts={said} should be rising numbers of layers from 1 on, such as "
                f"{','.join(map(str, range(3, 3 + 3 * wanted, 3)))}; type -o engine.cuts=null to have them chosen"
            )
            raise ValueError(msg)

    @override
    def serve(self) -> None:
        from ddmkit_plugins.engines.distributed.gathering import serve

        serve(self)

    @override
    def check(self, network: nn.Module, training: Training) -> None:
        self._configured(training)
        self._refuse_indivisible(network)

    @override
    def open(self, network: nn.Module, training: Training | None = None, logs: Path | None = None) -> Session:
        rows, config = self._configured(training)
        import torch

        from ddmkit_plugins.engines.distributed.gathering import gathered
        from ddmkit_plugins.engines.distributed.session import DistributedSession, refuse_unsendable
        from ddmkit_plugins.engines.distributed.share import Opening, parts_of

        settings = self.in_precision(network, torch.device(self.chosen()), training=training is not None)
        layers = settings.layers(network, 1 if training is None else parts_of(self, training.batch_size, rows))
        if training is not None:
            _refuse_idle(network, layers)
        refuse_unsendable(network)
        opening = Opening(network, settings, training, config, layers, logs)
        return DistributedSession(gathered(self, logs), opening)

    def _configured(self, training: Training | None) -> tuple[int, dict[str, Any]]:
        """Return how many rows there will be, and what DeepSpeed is given to learn with.

        Raises:
            DeviceError: there are fewer devices.
            ConfigurationError: DeepSpeed is not there, or settings do not go together.
        """
        self.require_deepspeed()
        from ddmkit_plugins.engines.distributed.configuring import configuration
        from ddmkit_plugins.engines.distributed.gathering import size_of

        rows = size_of(self) // self.stages
        if training is None:
            return rows, {}
        _refuse_uneven(training, rows)
        return rows, configuration(self, training, rows)

    @property
    def at_once(self) -> int | None:
        """Examples on a device at once; None for a row's share of the batch."""
        return self.micro_batch or (1 if self.stages > 1 else None)

    def rows(self) -> int:
        """Return how many rows of devices there would be."""
        from ddmkit_plugins.engines.distributed.gathering import asked_for

        return max(1, asked_for(self) // self.stages)

    def pieces(self, network: nn.Module, batch_size: int) -> list[nn.Module]:
        """Return what the processes of a row have of a network.

        Raises:
            ConfigurationError: the network cannot be cut, or not into so many.
        """
        from ddmkit_plugins.engines.distributed.share import parts_of, piece

        parts = parts_of(self, batch_size, self.rows())
        layers = self.layers(network, parts)
        return [piece(self, network, layers, stage, parts) for stage in range(len(layers))]

    @staticmethod
    def require_deepspeed() -> None:
        """Make sure that DeepSpeed is there.

        Raises:
            ConfigurationError: it is not.
        """
        if find_spec("deepspeed") is None:
            msg = (
                "The engine 'deepspeed' needs DeepSpeed, which is not installed: type pip install deepspeed, or choose "
                "--engine single."
            )
            raise ConfigurationError(msg)

    def layers(self, network: nn.Module, parts: int) -> tuple[range, ...]:
        """Return the layers of each stage.

        Args:
            network: with or without memory.
            parts: micro-batches that each row has in a step.

        Raises:
            ConfigurationError: the network cannot be cut, or not into so many.
        """
        import torch

        from ddmkit.stages import Divisible, cut, layers_of
        from ddmkit_plugins.engines.distributed.share import held_by

        self._refuse_indivisible(network)
        if not self._divides or not isinstance(network, Divisible):
            return (range(0),)
        depth = network.depth()
        precision: torch.dtype = getattr(torch, self.precision)
        on_gpu = torch.cuda.is_available() if self.device == "auto" else self.device != "cpu"
        device = torch.device("cuda" if on_gpu else "cpu")
        cuts = self.cuts or cut(
            network, self.stages, lambda stage: held_by(stage, self.stages, parts), precision, device
        )
        return tuple(layers_of(cuts, depth))

    @property
    def _divides(self) -> bool:
        """Whether the network is taken apart into its layers."""
        return self.stages > 1 or self.checkpointing

    def _refuse_indivisible(self, network: nn.Module) -> None:
        """Make sure that the network has layers where they are asked for, and enough of them."""
        from ddmkit.stages import Divisible

        if not self._divides:
            return
        if not isinstance(network, Divisible):
            raise ConfigurationError(_indivisible("checkpointing" if self.stages == 1 else "stages"))
        depth = network.depth()
        if self.stages > depth:
            msg = f"The network has {depth} layers, too few for engine.stages={self.stages}: type {depth} or fewer."
            raise ConfigurationError(msg)
        if self.cuts is not None and max(self.cuts, default=0) >= depth:
            said = ",".join(map(str, self.cuts))
            msg = f"The network has {depth} layers, 0 to {depth - 1}, too few for engine.cuts={said}: name lower ones."
            raise ConfigurationError(msg)


def _refuse_uneven(training: Training, rows: int) -> None:
    size = training.batch_size
    if size % rows:
        fitting = f"{max(1, size // rows) * rows} or {(size // rows + 1) * rows}" if size > rows else str(rows)
        msg = (
            f"training.batch_size={size} cannot be shared out among {rows} rows of devices alike: type "
            f"-o training.batch_size={fitting}, or other engine.devices."
        )
        raise ConfigurationError(msg)


def _refuse_idle(network: nn.Module, layers: tuple[range, ...]) -> None:
    """Make sure that each of several stages has something to learn."""
    from ddmkit.stages import Divisible

    if len(layers) == 1 or not isinstance(network, Divisible):
        return
    for stage, of_stage in enumerate(layers):
        if not any(weight.requires_grad for weight in network.part(of_stage).parameters()):
            msg = (
                f"Stage {stage} has nothing to learn in its layers {of_stage.start} to {of_stage.stop - 1}: type other "
                "-o engine.cuts=…, or fewer -o engine.stages=…"
            )
            raise ConfigurationError(msg)


def _indivisible(setting: str) -> str:
    registry = Registry()
    can = [name for name in registry.names(Backbone) if registry.get(Backbone, name).divisible]
    return (
        f"engine.{setting} needs a network that can be cut, which this backbone's is not. Backbones that can: "
        f"{', '.join(can) or 'none'}. Choose one by --backbone, or leave engine.{setting} out."
    )
