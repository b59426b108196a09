"""What learns in one process: DeepSpeed's engine over some layers, their running average and AdamW's moments.

Whatever ZeRO does with weights and moments, they come out of here, and go in, whole and by their names in the network.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from typing_extensions import override

from ddmkit_plugins.engines import optimizing
from ddmkit_plugins.engines.checkpoint import MOMENTS

if TYPE_CHECKING:
    from collections.abc import Generator

    from ddmkit import Training


class Memory(NamedTuple):
    """What a session of some layers remembers, whole, by the names that it has in the network; on the CPU."""

    answering: dict[str, Tensor]
    """The weights that predictions are made with."""
    weights: dict[str, Tensor] | None
    """Those that are learned, if they are others."""
    moments: dict[str, Tensor]
    """AdamW's: "exp_avg.NAME" and "exp_avg_sq.NAME"."""
    step: Tensor | None
    """How often AdamW has stepped."""


class Learning:
    """Layers that learn, each process with all the weights of its own.

    Args:
        network: the layers, as DeepSpeed's engine has them.
        engine: DeepSpeed's.
        training: how to learn.
    """

    def __init__(self, network: nn.Module, engine: Any, training: Training) -> None:  # noqa: ANN401 - it ships no types
        self.network, self.engine = network, engine
        self._ema = training.ema
        self.learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
        self._averaged = copy.deepcopy(network).requires_grad_(requires_grad=False) if training.ema else None

    @property
    def norm(self) -> float:
        """The Euclidean norm of the last step's gradient, before clipping; not finite if it was not made."""
        return float(self.engine.optimizer._global_grad_norm)  # noqa: SLF001 - there is no public name

    @property
    def stepped(self) -> bool:
        """Whether AdamW has its moments."""
        return bool(self._states)

    def close(self) -> None:
        """Take DeepSpeed's engine off the network."""
        self.engine.destroy()

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate

    @contextmanager
    def answering(self) -> Generator[nn.Module]:
        """Return what predictions are made with."""
        yield (self._averaged or self.network).eval()

    def average(self, number: int) -> None:
        """Take the weights after a step into their average."""
        if self._averaged is not None and self._ema is not None:
            optimizing.average(self._averaged, self.network, self._ema, number)

    def remember(self) -> Memory:
        """Return everything; processes with the same layers must ask together."""
        weights, averaged = self._weights()
        moments = {
            f"{moment}.{name}": self._moment(weight, moment).cpu()
            for name, weight in self.learned.items()
            for moment in MOMENTS
        }
        return Memory(averaged or weights, weights if averaged else None, moments, self._step())

    def recall(self, memory: Memory) -> None:
        """Go on as what was remembered."""
        self._set_weights(memory.weights or memory.answering, memory.answering)
        self._begin()
        for name, weight in self.learned.items():
            for moment in MOMENTS:
                self._set_moment(weight, moment, memory.moments[f"{moment}.{name}"])
        self._set_step(memory.step)

    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        """Return the weights that are learned, and their average."""
        return _held(self.network), None if self._averaged is None else _held(self._averaged)

    def _set_weights(self, weights: dict[str, Tensor], averaged: dict[str, Tensor]) -> None:
        if self._averaged is not None:
            _hold(self._averaged, averaged)
        _hold(self.network, weights)

    @property
    def _states(self) -> Any:  # noqa: ANN401 - torch leaves it so
        """AdamW's, by whatever parameters it knows."""
        return self.engine.optimizer.state

    def _step(self) -> Tensor:
        steps = [state["step"] for state in self._states.values() if "step" in state]
        return steps[0].cpu().clone() if steps else torch.zeros(())

    def _set_step(self, step: Tensor | None) -> None:
        """Let AdamW have stepped so often; it wants the number on the parameter's device."""
        for state in self._states.values():
            state["step"].fill_(0 if step is None else float(step))

    def _begin(self) -> None:
        """Let AdamW have its moments, which it only makes in its first step."""
        self._make_moments()

    def _make_moments(self) -> None:
        for parameter in self._known():
            self._states[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
            }

    def _known(self) -> list[Tensor]:
        """Return the parameters that AdamW knows."""
        return [weight for group in self.engine.optimizer.param_groups for weight in group["params"]]

    def _moment(self, weight: nn.Parameter, moment: str) -> Tensor:
        state = self._states.get(weight)
        return state[moment] if state else torch.zeros_like(weight)

    def _set_moment(self, weight: nn.Parameter, moment: str, value: Tensor) -> None:
        self._states[weight][moment].copy_(value)


class SharedMoments(Learning):
    """ZeRO 1 and 2: each process has all weights and its share of master weights and moments (Rajbhandari et al. 2020).

    Parameters are flattened one after the other and dealt out as they lie, so that a weight may be in two shares.
    """

    @override
    def _set_weights(self, weights: dict[str, Tensor], averaged: dict[str, Tensor]) -> None:
        super()._set_weights(weights, averaged)
        self.engine.optimizer.refresh_fp32_params()

    @property
    @override
    def _states(self) -> Any:
        return self.engine.optimizer.optimizer.state

    @override
    def _known(self) -> list[Tensor]:
        return [weight for group in self.engine.optimizer.optimizer.param_groups for weight in group["params"]]

    @override
    def _begin(self) -> None:
        super()._begin()
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - there is no public name

    @override
    def _moment(self, weight: nn.Parameter, moment: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        if not self._states:
            return torch.zeros_like(weight)
        whole: Any = safe_get_full_optimizer_state(weight, moment)
        laid_out: Tensor = whole.view_as(weight)
        return laid_out

    @override
    def _set_moment(self, weight: nn.Parameter, moment: str, value: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        safe_set_full_optimizer_state(weight, value.to(weight.device), moment)


class SharedWeights(SharedMoments):
    """ZeRO 3: each process has its share of every weight, of its average and of its moments.

    A weight is flattened, filled up to a length that all processes can share alike, and cut in as many.
    """

    def __init__(self, network: nn.Module, engine: Any, training: Training) -> None:  # noqa: ANN401 - as above
        ema = training.ema
        super().__init__(network, engine, training.model_copy(update={"ema": None}))
        self._ema = ema
        weights: dict[str, Any] = dict(network.named_parameters())  # which DeepSpeed adds to
        self._shares: dict[str, Tensor] = {name: weight.ds_tensor for name, weight in weights.items()}
        self._forms: dict[str, torch.Size] = {name: weight.ds_shape for name, weight in weights.items()}
        self._average = {name: share.detach().clone() for name, share in self._shares.items()} if ema else None

    @contextmanager
    @override
    def answering(self) -> Generator[nn.Module]:
        self._swap()
        try:
            yield self.engine.module.eval()
        finally:
            self._swap()

    def _swap(self) -> None:
        """Let weights and their average change places."""
        self.engine.empty_partition_cache()  # or whole weights that were fetched before would be taken for these
        for name, average in (self._average or {}).items():
            share = self._shares[name]
            share.data, average.data = average.data, share.data

    @override
    @torch.no_grad()
    def average(self, number: int) -> None:
        for name, average in (self._average or {}).items():
            average.lerp_(self._shares[name].detach(), 1 - optimizing.decay(self._ema or 0.0, number))

    @override
    def _weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
        buffers = {name: tensor for name, tensor in self.network.state_dict().items() if name not in self._forms}
        weights = self._unshared(self._shares) | buffers
        return weights, None if self._average is None else self._unshared(self._average) | buffers

    def _unshared(self, shares: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: _whole(share, self._forms[name]).cpu() for name, share in shares.items()}

    @override
    def _set_weights(self, weights: dict[str, Tensor], averaged: dict[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_local_fp32_param

        self.engine.empty_partition_cache()
        for name, buffer in self.network.named_buffers():
            buffer.copy_(weights[name])
        for name, share in self._shares.items():
            share.data.copy_(_share(weights[name], share))
            if self._average is not None:
                self._average[name].copy_(_share(averaged[name], share))
        for name, weight in self.learned.items():
            safe_set_local_fp32_param(weight, self._shares[name].data)

    @override
    def _begin(self) -> None:
        self._make_moments()

    @override
    def _known(self) -> list[Tensor]:
        return list(self.engine.optimizer.fp32_partitioned_groups_flat)

    @override
    def _moment(self, weight: nn.Parameter, moment: str) -> Tensor:
        from deepspeed.utils import safe_get_local_optimizer_state

        partitioned: Any = weight  # to which DeepSpeed has added its shape
        shape = partitioned.ds_shape
        return _whole(safe_get_local_optimizer_state(weight, moment), shape) if self._states else torch.zeros(shape)

    @override
    def _set_moment(self, weight: nn.Parameter, moment: str, value: Tensor) -> None:
        from deepspeed.utils import safe_get_local_optimizer_state, safe_set_local_optimizer_state

        like: Tensor = safe_get_local_optimizer_state(weight, moment)
        safe_set_local_optimizer_state(weight, _share(value, like), moment)


def _held(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def _hold(network: nn.Module, state: dict[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        tensor.copy_(state[name])


def _whole(share: Tensor, shape: torch.Size) -> Tensor:
    """Return a tensor of which every process gives its share."""
    shares = [torch.empty_like(share) for _ in range(distributed.get_world_size())]
    distributed.all_gather(shares, share.detach().contiguous())
    return torch.cat([one.flatten() for one in shares])[: shape.numel()].view(shape)


def _share(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's share of a tensor."""
    length = like.numel()
    padded = torch.zeros(length * distributed.get_world_size(), dtype=like.dtype)
    padded[: value.numel()] = value.flatten()
    return padded[length * distributed.get_rank() :][:length].view_as(like).to(like.device)
