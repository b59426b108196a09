"""The small core of ddmkit: what a plugin author imports.

Nothing here imports torch, so that `ddmkit --help` is quick; what computes stands in modules of its own
(`ddmkit.diffusion`, `ddmkit.sampling`, `ddmkit.scoring`, `ddmkit.testing` …).
"""

from __future__ import annotations

from ddmkit.backbone import Backbone, DiffusionAware
from ddmkit.component import Component
from ddmkit.dataset import Case, Dataset, Image, Survey
from ddmkit.encoding import Encoding
from ddmkit.engine import Batch, Engine, Session, StepResult
from ddmkit.errors import (
    CheckpointError,
    ComponentConflictError,
    ConfigurationError,
    DataError,
    DdmkitError,
    DeviceError,
    DivergedError,
    InterruptedRunError,
    PluginError,
    StorageError,
    UnknownComponentError,
)
from ddmkit.hookspecs import hookimpl
from ddmkit.judging import Figure, Judge, SetJudge
from ddmkit.patch import Patch
from ddmkit.registry import Registry
from ddmkit.sampler import Denoise, Draw, Sampler
from ddmkit.schedule import Schedule
from ddmkit.task import Example, LabelTask, Task, VolumeTask
from ddmkit.tracker import Tracker
from ddmkit.window import Shape, Window

__all__ = [
    "Backbone",
    "Batch",
    "Case",
    "CheckpointError",
    "Component",
    "ComponentConflictError",
    "ConfigurationError",
    "DataError",
    "Dataset",
    "DdmkitError",
    "Denoise",
    "DeviceError",
    "DiffusionAware",
    "DivergedError",
    "Draw",
    "Encoding",
    "Engine",
    "Example",
    "Figure",
    "Image",
    "InterruptedRunError",
    "Judge",
    "LabelTask",
    "Patch",
    "PluginError",
    "Registry",
    "Sampler",
    "Schedule",
    "Session",
    "SetJudge",
    "Shape",
    "StepResult",
    "StorageError",
    "Survey",
    "Task",
    "Tracker",
    "UnknownComponentError",
    "VolumeTask",
    "Window",
    "hookimpl",
]
