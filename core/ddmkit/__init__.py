"""The small core of ddmkit: what a plugin author imports.

Nothing here imports torch, so that `ddmkit --help` is quick; what takes longer is imported once it is asked for. The
other modules for plugins are `ddmkit.events`, `ddmkit.assembly`, `ddmkit.memory` and `ddmkit.testing`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ddmkit.backbone import Backbone, DiffusionAware, Prediction
from ddmkit.component import Component
from ddmkit.dataset import Case, Dataset, Image, MissingImagesError, Survey
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
from ddmkit.registry import Registry
from ddmkit.sampler import Denoise, Draw, Sampler
from ddmkit.schedule import Schedule
from ddmkit.task import Example, LabelTask, Task, VolumeTask
from ddmkit.tracker import Tracker
from ddmkit.window import Shape, Window

if TYPE_CHECKING:
    from ddmkit.configuration import Configuration, Training
    from ddmkit.definition import Scoring
    from ddmkit.rate import learning_rate
    from ddmkit.scoring import Score

_LATER = {
    "Configuration": "ddmkit.configuration",
    "Score": "ddmkit.scoring",
    "Scoring": "ddmkit.definition",
    "Training": "ddmkit.configuration",
    "learning_rate": "ddmkit.rate",
}
"""Where names are that are not imported before somebody asks for them."""

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
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_LATER[name]), name)
