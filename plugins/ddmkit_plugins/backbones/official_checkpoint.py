"""Checkpoints of the official code (github.com/FlorentinBieder/PatchDDM-3D), under this network's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ddmkit import CheckpointError
from ddmkit_plugins.backbones.unet3d_network import ResidualBlock, UNet3d

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

ENTRY = "input_blocks.0.0.weight"
EXIT = "out.2.weight"
BLOCK = {
    "normalize_first": "in_layers.0",
    "first": "in_layers.2",
    "time": "emb_layers.1",
    "normalize_second": "out_layers.0",
    "second": "out_layers.3",
    "shortcut": "skip_connection",
}
"""The parts of a residual block, ours to theirs."""


def translate(foreign: Mapping[str, Tensor], settings: UNet3dSettings) -> dict[str, Tensor]:
    """Return the official tensors under our names, uncopied.

    Raises:
        CheckpointError: the first tensor that is missing, not expected or of another shape than the settings ask for.
    """
    official = _without_prefix(foreign)
    _check_settings(official, settings)
    with torch.device("meta"):
        network = UNet3d(settings, official[ENTRY].shape[1], official[EXIT].shape[0])
    names = official_names(network)
    expected = {names[name]: tensor.shape for name, tensor in network.state_dict().items()}
    _check_tensors(official, expected, settings)
    return {ours: official[name] for ours, name in names.items()}


def official_names(network: nn.Module) -> dict[str, str]:
    """Return the official name of each tensor of a network's state dict."""
    assert isinstance(network, UNet3d)  # noqa: S101 - what both 3D U-Nets build
    theirs = dict(_module_names(network))
    return {name: _translated(name, theirs) for name in network.state_dict()}


def _without_prefix(foreign: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Drop what a wrapper such as DistributedDataParallel put before every name."""
    entry = next((name for name in foreign if name.endswith("." + ENTRY)), ENTRY)
    prefix = entry.removesuffix(ENTRY)
    if all(name.startswith(prefix) for name in foreign):
        return {name.removeprefix(prefix): tensor for name, tensor in foreign.items()}
    return foreign


def _check_settings(official: Mapping[str, Tensor], settings: UNet3dSettings) -> None:
    """Refuse what is no official checkpoint, or one whose settings are plainly others."""
    for name in (ENTRY, EXIT):
        if name not in official or official[name].ndim != 5:  # noqa: PLR2004 - a 3D convolution's weight
            msg = (
                f"The checkpoint has no weight {name!r} of a 3D convolution among its {len(official)} tensors; "
                "give one that the official PatchDDM-3D code wrote (brats3dimageNNNNNN.pt)."
            )
            raise CheckpointError(msg)
    if settings.normalization != "group":
        msg = (
            f"The official networks use group normalization, but normalization={settings.normalization!r} was given; "
            "type -o backbone.normalization=group."
        )
        raise CheckpointError(msg)
    width = official[ENTRY].shape[0]
    if width != settings.width:
        msg = (
            f"The checkpoint's network has width {width}, but width={settings.width} was given; "
            f"type -o backbone.width={width}."
        )
        raise CheckpointError(msg)


def _check_tensors(
    official: Mapping[str, Tensor], expected: Mapping[str, torch.Size], settings: UNet3dSettings
) -> None:
    for name, shape in expected.items():
        if name not in official:
            raise CheckpointError(_disagreement(f"The checkpoint lacks {name!r}, of shape {tuple(shape)}", settings))
        given = official[name].shape
        if given != shape:
            problem = f"{name!r} has shape {tuple(given)} in the checkpoint where {tuple(shape)} is expected"
            raise CheckpointError(_disagreement(problem, settings))
    for name in official:
        if name not in expected:
            problem = f"The checkpoint has {name!r}, which is not expected"
            raise CheckpointError(_disagreement(problem, settings))


def _disagreement(problem: str, settings: UNet3dSettings) -> str:
    multipliers = ",".join(str(multiplier) for multiplier in settings.multipliers)
    return (
        f"{problem} by {settings.name} with multipliers={multipliers} and blocks={settings.blocks}; "
        "choose the --backbone, -o backbone.multipliers=… and -o backbone.blocks=… that it was trained with."
    )


def _translated(name: str, theirs: Mapping[str, str]) -> str:
    module, _, leaf = name.rpartition(".")
    return f"{theirs[module]}.{leaf}"


def _module_names(network: UNet3d) -> Iterator[tuple[str, str]]:
    """Yield the path of each module that has weights, ours and theirs."""
    yield "time_embedding.widen", "time_embed.0"
    yield "time_embedding.mix", "time_embed.2"
    for index, layer in enumerate(network.encoder):
        if isinstance(layer, ResidualBlock):
            yield from _block_names(f"encoder.{index}", f"input_blocks.{index}.0")
        else:
            yield f"encoder.{index}", f"input_blocks.{index}.0" + (".op" if index else "")
    for index in range(len(network.middle)):
        yield from _block_names(f"middle.{index}", f"middle_block.{index}")
    block = -1
    for index, layer in enumerate(network.decoder):
        if isinstance(layer, ResidualBlock):
            block += 1
            yield from _block_names(f"decoder.{index}", f"output_blocks.{block}.0")
        else:  # they count an upsampling to the block before it
            yield f"decoder.{index}.convolution", f"output_blocks.{block}.1.conv"
    yield "normalize", "out.0"
    yield "answer", "out.2"


def _block_names(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for our_part, their_part in BLOCK.items():
        yield f"{ours}.{our_part}", f"{theirs}.{their_part}"
