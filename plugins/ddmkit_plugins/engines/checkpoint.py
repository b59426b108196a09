"""The files of a checkpoint, alike for all engines: weights that answer, and what else learning goes on with.

`model.safetensors` holds the network's state. `training.safetensors` holds AdamW's moments by parameter ("exp_avg.NAME"
and "exp_avg_sq.NAME"), how often it stepped ("step") and, where an average answers, the weights that are learned
("weights.NAME").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ddmkit import CheckpointError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")
"""As AdamW has them."""


def save(state: Mapping[str, Tensor], path: Path) -> None:
    """Write a file.

    Raises:
        StorageError: there is no room for it, or no permission.
    """
    try:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    except (OSError, SafetensorError) as error:
        msg = f"Cannot write {path}: {error}. Free some space; the checkpoint before this one is whole."
        raise StorageError(msg) from error


def read(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Read a file.

    Raises:
        CheckpointError: it is not there or damaged.
    """
    try:
        return load_file(path, device=str(device))
    except (OSError, SafetensorError) as error:
        msg = f"Cannot read the checkpoint file {path}: {error}."
        raise CheckpointError(msg) from error


def part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return what stands under a prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def moments(state: Mapping[str, Tensor], names: Iterable[str], folder: Path) -> dict[str, Tensor]:
    """Return AdamW's moments of the parameters that are learned.

    Raises:
        CheckpointError: one is missing.
    """
    found: dict[str, Tensor] = {}
    for name in names:
        try:
            found |= {f"{moment}.{name}": state[f"{moment}.{name}"] for moment in MOMENTS}
        except KeyError as error:
            msg = f"{folder} lacks AdamW's moments of {name}; it was saved by another engine or is incomplete."
            raise CheckpointError(msg) from error
    return found


def unstepped(parameter: nn.Parameter) -> dict[str, Tensor]:
    """Return what AdamW begins with; it keeps nothing before its first step."""
    return {"step": torch.zeros(()), **{moment: torch.zeros_like(parameter) for moment in MOMENTS}}


def diverged(what: str, value: float, number: int) -> str:
    """Say that a number is not finite."""
    return f"The {what} is {value} at step {number}: lower training.learning_rate or set training.gradient_clip."


def refuse_other(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], folder: Path) -> None:
    """Make sure that a state is that of a network.

    Raises:
        CheckpointError: it is another's.
    """
    for name in sorted(expected.keys() | state.keys()):
        ours, theirs = expected.get(name), state.get(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            msg = (
                f"The checkpoint {folder} belongs to another configuration: its {name} is {_shape(theirs)}, "
                f"the configured network's is {_shape(ours)}. Use the config.yaml of the run it came from."
            )
            raise CheckpointError(msg)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"
