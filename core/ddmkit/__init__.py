"""The small core of ddmkit: what a plugin author imports.

Every name is imported once it is asked for, so that `ddmkit --help` is quick, and none of them imports torch. The
other modules for plugins are `ddmkit.events`, `ddmkit.assembly`, `ddmkit.memory` and `ddmkit.testing`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddmkit.backbone import Backbone, DiffusionAware, Prediction
    from ddmkit.component import Component
    from ddmkit.configuration import Configuration, Training
    from ddmkit.dataset import Case, Dataset, Image, MissingImagesError, Survey
    from ddmkit.definition import Scoring
    from ddmkit.encoding import Encoding
    from ddmkit.engine import Batch, Engine, Loss, Session, StepResult
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
    from ddmkit.judging import Figure, Judge, PairJudge, SetJudge, Summary
    from ddmkit.patch import Patch
    from ddmkit.rate import learning_rate
    from ddmkit.registry import Registry
    from ddmkit.sampler import Denoise, Draw, Sampler
    from ddmkit.schedule import Schedule
    from ddmkit.scoring import Score
    from ddmkit.task import Example, LabelTask, Task, VolumeTask
    from ddmkit.tracker import Tracker
    from ddmkit.window import Shape, Window

_HOMES = {
    "ddmkit.backbone": ("Backbone", "DiffusionAware", "Prediction"),
    "ddmkit.component": ("Component",),
    "ddmkit.configuration": ("Configuration", "Training"),
    "ddmkit.dataset": ("Case", "Dataset", "Image", "MissingImagesError", "Survey"),
    "ddmkit.definition": ("Scoring",),
    "ddmkit.encoding": ("Encoding",),
    "ddmkit.engine": ("Batch", "Engine", "Loss", "Session", "StepResult"),
    "ddmkit.errors": (
        "CheckpointError",
        "ComponentConflictError",
        "ConfigurationError",
        "DataError",
        "DdmkitError",
        "DeviceError",
        "DivergedError",
        "InterruptedRunError",
        "PluginError",
        "StorageError",
        "UnknownComponentError",
    ),
    "ddmkit.hookspecs": ("hookimpl",),
    "ddmkit.judging": ("Figure", "Judge", "PairJudge", "SetJudge", "Summary"),
    "ddmkit.patch": ("Patch",),
    "ddmkit.rate": ("learning_rate",),
    "ddmkit.registry": ("Registry",),
    "ddmkit.sampler": ("Denoise", "Draw", "Sampler"),
    "ddmkit.schedule": ("Schedule",),
    "ddmkit.scoring": ("Score",),
    "ddmkit.task": ("Example", "LabelTask", "Task", "VolumeTask"),
    "ddmkit.tracker": ("Tracker",),
    "ddmkit.window": ("Shape", "Window"),
}
"""Where names are imported from once somebody asks for them."""

__all__ = [
    "Backbone",
    "Batch",
    "Case",
    "CheckpointError",
    "Component",
    "ComponentConflictError",
    "Configuration",
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
    "Loss",
    "MissingImagesError",
    "PairJudge",
    "Patch",
    "PluginError",
    "Prediction",
    "Registry",
    "Sampler",
    "Schedule",
    "Score",
    "Scoring",
    "Session",
    "SetJudge",
    "Shape",
    "StepResult",
    "StorageError",
    "Summary",
    "Survey",
    "Task",
    "Tracker",
    "Training",
    "UnknownComponentError",
    "VolumeTask",
    "Window",
    "hookimpl",
    "learning_rate",
]


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(module), name)  # so that this is asked once a name
            return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
