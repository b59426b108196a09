"""Out of memory, said in one sentence."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ddmkit.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def memory_guard(device: torch.device, advice: str) -> Generator[None]:
    """Turn torch's out-of-memory errors into a sentence.

    Args:
        device: whose memory it is.
        advice: what would fit, such as "lower patch.sides".

    Raises:
        DeviceError: the memory did not suffice.
    """
    try:
        yield
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        msg = f"The memory of {device} does not suffice: {advice}, with -o KIND.FIELD=VALUE."
        raise DeviceError(msg) from error


def _out_of_memory(error: RuntimeError) -> bool:
    """Tell by the type on a GPU; on the CPU torch has no type of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
