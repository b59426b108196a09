"""The kinds of components that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit.backbone import Backbone
from ddmkit.dataset import Dataset
from ddmkit.encoding import Encoding
from ddmkit.engine import Engine
from ddmkit.patch import Patch
from ddmkit.sampler import Sampler
from ddmkit.schedule import Schedule
from ddmkit.task import Task
from ddmkit.tracker import Tracker

if TYPE_CHECKING:
    from ddmkit.component import Component

KINDS: dict[str, type[Component]] = {
    interface.kind: interface
    for interface in (Task, Dataset, Backbone, Schedule, Sampler, Patch, Encoding, Engine, Tracker)
}
"""The interface of every kind, in the order that a configuration is written in."""
