"""Whether a run keeps to the memory that it is given, told before it begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ddmkit.errors import OutOfMemoryError
from ddmkit.run.resources import Forecaster, Foreseeable, device_of, resting
from ddmkit.sizes import bytes_of, proposed, sides_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ddmkit.configuration import Configuration
    from ddmkit.window import Shape


def require_room(configuration: Configuration, shapes: Iterable[Shape]) -> None:
    """Refuse a limit that no step, or no validation, of a run would keep to.

    Boxes around brains are not known before voxels are read, so that a run on these is not refused here.

    Args:
        configuration: of the run.
        shapes: of its cases, as the network sees them.

    Raises:
        OutOfMemoryError: engine.memory is too little; the message says how much is needed.
    """
    engine = configuration.engine
    if not isinstance(engine, Foreseeable) or engine.memory is None or configuration.preprocessing.frame == "brain":
        return
    device = device_of(configuration)
    forecast = Forecaster(device, resting(device), max(shapes, key=math.prod)).forecast(configuration)
    if forecast.least <= bytes_of(engine.memory):
        return
    least = proposed(forecast.least)
    msg = (
        f"engine.memory={engine.memory} is too little: training on {sides_of(forecast.window)} voxels and validating "
        f"on {sides_of(forecast.volume)} need {least}. Type -o engine.memory={least}, or ask ddmkit plan, with the "
        f"same options and --memory {engine.memory}, what would fit."
    )
    raise OutOfMemoryError(msg)
