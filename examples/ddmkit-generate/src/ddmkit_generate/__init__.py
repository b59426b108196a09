"""Unconditional generation of volumes, for ddmkit: `ddmkit train --task generate`."""

from __future__ import annotations

from ddmkit import Component, hookimpl
from ddmkit_generate.task import Generate

ddmkit_interface = 1
"""Version of the plugin interface that this is made for."""


@hookimpl
def ddmkit_components() -> list[type[Component]]:
    """Offer the task."""
    return [Generate]
