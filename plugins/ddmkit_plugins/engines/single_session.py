"""A network at work on one device."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from ddmkit import DivergedError, Session, StepResult, learning_rate
from ddmkit.memory import memory_guard, peak
from ddmkit.sizes import bytes_of
from ddmkit.thrift import Lowerable, Thrift
from ddmkit_plugins.engines import checkpoint, optimizing
from ddmkit_plugins.engines.device import named

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor, nn

    from ddmkit import Batch, Loss, Training
    from ddmkit_plugins.engines.single import Single

_SMALLER_NETWORK = "type -o backbone.width=… with a smaller one, or choose another engine.device"


class SingleSession(Session):
    """Weights, their running average and AdamW's moments on one device.

    Args:
        network: fresh or to be loaded; it is moved, not copied.
        settings: precision and memory format.
        device: where to.
        training: how to learn; None for a session that only predicts.
    """

    def __init__(self, network: nn.Module, settings: Single, device: torch.device, training: Training | None) -> None:
        self.device = device
        self._settings = settings
        self._training = training
        lowered = settings.precision == "bfloat16"
        if lowered and training is None and isinstance(network, Lowerable):
            network.lower(torch.bfloat16)
        layout = torch.channels_last_3d if settings.channels_last else torch.contiguous_format
        with memory_guard(device, _SMALLER_NETWORK):
            self._network = network.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
        limit = None if settings.memory is None else bytes_of(settings.memory)
        self._thrift = Thrift(self._network, device, torch.bfloat16 if lowered else torch.float32, limit)
        self._averaged: nn.Module | None = None
        self._optimizer: torch.optim.AdamW | None = None
        if training is not None:
            self._optimizer = torch.optim.AdamW(self._network.parameters(), **optimizing.adamw_settings(training))
            self._averaged = copy.deepcopy(self._network).requires_grad_(requires_grad=False) if training.ema else None

    @property
    @override
    def where(self) -> str:
        return named(self.device)

    @override
    def step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        with memory_guard(self.device, _SMALLER_NETWORK):
            return self._step(batches, count, loss, number)

    def _step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        assert self._training is not None  # noqa: S101 - a session opened without training is never stepped
        assert self._optimizer is not None  # noqa: S101 - as above
        self._network.train()
        self._optimizer.zero_grad(set_to_none=True)
        total = math.fsum(self._accumulate(batch, count, loss, number) for batch in batches)
        clip = self._training.gradient_clip
        norm = float(torch.nn.utils.clip_grad_norm_(self._network.parameters(), math.inf if clip is None else clip))
        if not math.isfinite(norm):
            raise DivergedError(checkpoint.diverged("gradient's norm", norm, number))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._training, number)
        self._optimizer.step()
        if self._averaged is not None and self._training.ema is not None:
            optimizing.average(self._averaged, self._network, self._training.ema, number)
        return StepResult(total, norm)

    @override
    def predict(self, inputs: Tensor, times: Tensor) -> Tensor:
        network = self._averaged or self._network
        network.eval()
        # Not inference_mode: samplers clip in place what is answered here.
        with (
            torch.no_grad(),
            memory_guard(self.device, partial(self._thrift.advice, tuple(inputs.shape), training=False)),
        ):
            return self._evaluate(network, inputs, times, training=False).float()

    @override
    def members_at_once(self, shape: tuple[int, ...], most: int, beside: int) -> int:
        return self._thrift.examples(shape, most, beside)

    @override
    def save(self, folder: Path) -> None:
        answering = self._averaged or self._network
        checkpoint.save(answering.state_dict(), folder / "model.safetensors")
        if self._optimizer is not None:
            checkpoint.save(self._training_state(self._optimizer), folder / "training.safetensors")

    @override
    def load(self, folder: Path) -> None:
        answering = self._averaged or self._network
        answers = checkpoint.read(folder / "model.safetensors", self.device)
        _load_into(answering, answers, folder)
        if self._optimizer is None:
            return
        state = checkpoint.read(folder / "training.safetensors", self.device)
        _load_into(self._network, checkpoint.part(state, "weights") or answers, folder)  # without an average, the same
        learned = self._learned()
        saved = checkpoint.moments(state, [name for name, _ in learned], folder)
        for name, parameter in learned:  # laid out in memory as the parameter is, as AdamW made them
            moments = {
                moment: torch.empty_like(parameter).copy_(saved[f"{moment}.{name}"]) for moment in checkpoint.MOMENTS
            }
            self._optimizer.state[parameter] = {"step": state["step"].clone(), **moments}

    @override
    def peak_memory(self) -> int:
        return peak(self.device)

    def _accumulate(self, batch: Batch, count: int, loss: Loss, number: int) -> float:
        """Add one batch's share of the gradient; return its share of the mean loss."""
        layout = torch.channels_last_3d if self._settings.channels_last else torch.contiguous_format
        shape = tuple(batch.inputs.shape)
        with memory_guard(self.device, partial(self._thrift.advice, shape, training=True)):
            inputs = batch.inputs.to(self.device, memory_format=layout, non_blocking=True)
            times, target = (
                batch.times.to(self.device, non_blocking=True),
                batch.target.to(self.device, non_blocking=True),
            )
            output = self._evaluate(self._network, inputs, times, training=True)
            share = loss(output, target) * (len(inputs) / count)
            value = float(share.detach())
            if not math.isfinite(value):
                raise DivergedError(checkpoint.diverged("loss", value, number))
            share.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

    def _evaluate(self, network: nn.Module, inputs: Tensor, times: Tensor, *, training: bool) -> Tensor:
        """Go through the network by the fastest way that there is memory for."""
        way = self._thrift.way(tuple(inputs.shape), training=training, more=self._moments_to_come() if training else 0)
        with self._precision():
            output: Tensor = network(inputs, times) if way is None else network(inputs, times, way)
        return output

    def _moments_to_come(self) -> int:
        """Return the bytes of what AdamW makes in its first step."""
        if self._optimizer is None or self._optimizer.state:
            return 0
        return optimizing.moment_bytes(parameter for _, parameter in self._learned())

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self._settings.precision == "bfloat16", cache_enabled=False
        )

    def _learned(self) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters that AdamW changes, by name."""
        return [(name, parameter) for name, parameter in self._network.named_parameters() if parameter.requires_grad]

    def _training_state(self, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
        """Return what resuming needs beside the answering weights, by parameter name."""
        state: dict[str, Tensor] = {}
        for name, parameter in self._learned():
            known = optimizer.state[parameter] or checkpoint.unstepped(parameter)
            state |= {f"{moment}.{name}": known[moment] for moment in checkpoint.MOMENTS}
            state["step"] = known["step"]
        if self._averaged is not None:
            state |= {f"weights.{name}": tensor for name, tensor in self._network.state_dict().items()}
        return state


def _load_into(network: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    checkpoint.refuse_other(network.state_dict(), state, folder)
    network.load_state_dict(state)
