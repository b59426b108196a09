"""Offer the first-party components and presets to ddmkit."""

from __future__ import annotations

from pathlib import Path

from ddmkit import Component, hookimpl
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.brats2023 import Brats2023
from ddmkit_plugins.datasets.folders import Folders
from ddmkit_plugins.datasets.msd import Decathlon
from ddmkit_plugins.datasets.nnunet import NnUnet
from ddmkit_plugins.datasets.patchddm import PatchddmFolders
from ddmkit_plugins.datasets.phantom import Phantom
from ddmkit_plugins.encodings.coords import Coords
from ddmkit_plugins.encodings.none import NoEncoding
from ddmkit_plugins.engines.deepspeed import DeepSpeed
from ddmkit_plugins.engines.single import Single
from ddmkit_plugins.patches.center import Center
from ddmkit_plugins.patches.foreground import Foreground
from ddmkit_plugins.patches.full import Full
from ddmkit_plugins.patches.half import Half
from ddmkit_plugins.patches.uniform import Uniform
from ddmkit_plugins.samplers.ddim import Ddim
from ddmkit_plugins.samplers.ddpm import Ddpm
from ddmkit_plugins.samplers.dpm_solver import DpmSolver
from ddmkit_plugins.samplers.heun import Heun
from ddmkit_plugins.schedules.cosine import Cosine
from ddmkit_plugins.schedules.linear import Linear
from ddmkit_plugins.tasks.brats import Brats
from ddmkit_plugins.tasks.segmentation import SegmentationTask
from ddmkit_plugins.trackers.mlflow import Mlflow
from ddmkit_plugins.trackers.tensorboard import TensorBoard


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    return [
        UNet3dAverage,
        UNet3dConcat,
        Linear,
        Cosine,
        Ddim,
        Ddpm,
        Heun,
        DpmSolver,
        Center,
        Uniform,
        Foreground,
        Full,
        Half,
        Coords,
        NoEncoding,
        BratsFolders,
        Brats2023,
        PatchddmFolders,
        Decathlon,
        NnUnet,
        Folders,
        Phantom,
        Brats,
        SegmentationTask,
        Single,
        DeepSpeed,
        Mlflow,
        TensorBoard,
    ]


@hookimpl
def ddmkit_presets() -> Path:
    return Path(__file__).parent / "presets"
