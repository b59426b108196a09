"""DeepSpeed's engines, as ddmkit has them learn."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ddmkit_plugins.engines.distributed.careful_adamw import CarefulAdamW
from ddmkit_plugins.engines.distributed.learning import Learning, SharedMoments, SharedWeights
from ddmkit_plugins.engines.optimizing import adamw_settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

    from torch import distributed, nn

    from ddmkit_plugins.engines.distributed.share import Calculated, Opening

_KINDS = {0: Learning, 1: SharedMoments, 2: SharedMoments, 3: SharedWeights}
"""What a process shares with others, by the stage of ZeRO."""


def replica_engine(calculated: Calculated, layers: nn.Module, opening: Opening) -> Learning:
    """Return what learns in a process with the whole network.

    Args:
        calculated: the network, as it is evaluated.
        layers: the same by the names that its weights have.
        opening: what the session is.
    """
    with ready() as deepspeed:
        deepspeed.utils.groups.mpu = None  # which a session of stages may have left there
        if opening.settings.zero == 3:  # noqa: PLR2004 - ZeRO 3
            # Whose weights are fetched together: a network with ways of its own reads them where it likes.
            deepspeed.utils.set_z3_leaf_module(calculated.network, flag=True)
        engine, *_ = deepspeed.initialize(
            model=calculated,
            optimizer=optimizer_of(layers, opening, None),
            config=opening.config | {"managed_gradient_accumulation": False},
            dist_init_required=False,
        )
    return learning_of(layers, engine, opening)


def stage_engine(module: Calculated, layers: nn.Module, opening: Opening, place: tuple[int, int]) -> Learning:
    """Return what learns in a process with one stage of the network.

    Args:
        module: the stage, as it is evaluated.
        layers: the same by the names that its weights have.
        opening: what the session is.
        place: (stage, rows).
    """
    stage, rows = place
    with ready():
        from deepspeed.runtime.config import DeepSpeedConfig

        from ddmkit_plugins.engines.distributed.stage_engine import StageEngine, staged

        pipeline = staged(module, stage, len(opening.layers), rows)
        grid: Any = pipeline.mpu()
        engine = StageEngine(
            args=None,
            model=pipeline,
            optimizer=optimizer_of(layers, opening, grid.get_model_parallel_group()),
            mpu=grid,
            dist_init_required=False,
            config=opening.config,
            config_class=DeepSpeedConfig(opening.config, grid),
        )
    return learning_of(layers, engine, opening)


def optimizer_of(layers: nn.Module, opening: Opening, stages: distributed.ProcessGroup | None) -> torch.optim.AdamW:
    """Return AdamW for the layers of a process, `stages` being those that the network is shared out among."""
    assert opening.training is not None  # noqa: S101 - only a session that trains has an engine
    weights = [weight for weight in layers.parameters() if weight.requires_grad]
    if opening.settings.zero == 0:
        return CarefulAdamW(weights, opening.training, stages)
    return torch.optim.AdamW(weights, **adamw_settings(opening.training))


def learning_of(layers: nn.Module, engine: Any, opening: Opening) -> Learning:  # noqa: ANN401 - DeepSpeed ships no types
    """Return what learns with one of DeepSpeed's engines."""
    assert opening.training is not None  # noqa: S101 - as above
    return _KINDS[opening.settings.zero](layers, engine, opening.training)


@contextlib.contextmanager
def ready() -> Generator[ModuleType]:
    """Import DeepSpeed, keep it quiet, and let it know of the processes."""
    deepspeed = import_quietly(os.environ["DS_ACCELERATOR"])
    with _silence():
        if not deepspeed.comm.is_initialized():
            deepspeed.init_distributed(auto_mpi_discovery=False, verbose=False)
        yield deepspeed


def import_quietly(device: str) -> ModuleType:
    """Import DeepSpeed for a kind of device, and keep it from speaking and from compiling."""
    os.environ["DS_ACCELERATOR"] = device.partition(":")[0]  # or it takes what it finds
    with _silence(), _missing("mlflow"):  # which its tuner would import, a second in each process
        import deepspeed
        import deepspeed.ops
    deepspeed.utils.logger.setLevel(logging.ERROR)
    # Of what it calls in every step, so that these stay.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    warnings.filterwarnings("ignore", "Full backward hook is firing", category=UserWarning)
    # Its collectives for CPUs are compiled on first use, and only serve within a machine: torch's own will do.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    module: ModuleType = deepspeed
    return module


@contextlib.contextmanager
def _silence() -> Generator[None]:
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _missing(module: str) -> Generator[None]:
    """Let the import of a module fail as if it were not installed, unless it was imported before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # as the language reference has it
    try:
        yield
    finally:
        del sys.modules[module]
