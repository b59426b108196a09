"""Memory: how much there is, how much is used, and what to say when it does not suffice."""

from __future__ import annotations

import ctypes
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ddmkit.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_CGROUP = Path("/sys/fs/cgroup")


def used(device: torch.device) -> int:
    """Return what this process uses now: of the device's memory, or of the machine's for a CPU.

    What the C library's allocator keeps of memory that was let go is given back first.
    """
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, TypeError, AttributeError):  # not every C library can
        ctypes.CDLL(None).malloc_trim(0)
    try:
        return _kilobytes(Path("/proc/self/status"), "VmRSS")
    except OSError:
        return 0


def peak(device: torch.device) -> int:
    """Return the most that this process has used so far: of the device's memory, or of the machine's for a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # the system's own figure begins with what the process had that started this one
        return _kilobytes(Path("/proc/self/status"), "VmHWM")
    except OSError:
        import resource  # which not every system has

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free(device: torch.device) -> int | None:
    """Return what this process may still take; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        available = _kilobytes(Path("/proc/meminfo"), "MemAvailable")
    except OSError:
        return None
    try:  # a container's share, if this is one
        most, now = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(available, int(most) - int(now))
    except (OSError, ValueError):
        return available


@contextmanager
def memory_guard(device: torch.device, advice: str | Callable[[], str]) -> Generator[None]:
    """Turn torch's out-of-memory errors into a sentence.

    Args:
        device: whose memory it is.
        advice: what would fit, such as "lower patch.sides"; a function is asked once it is needed.

    Raises:
        OutOfMemoryError: the memory did not suffice.
    """
    try:
        yield
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # what the attempt still holds is free for what would fit
        msg = f"The memory of {device} does not suffice: {_said(advice)}."
        raise OutOfMemoryError(msg) from error


def _said(advice: str | Callable[[], str]) -> str:
    if isinstance(advice, str):
        return advice
    try:
        return advice()
    except Exception:  # noqa: BLE001 - where memory is out, there may be none to work out what would fit either
        return "ask ddmkit plan, with the same options, what would fit"


def _out_of_memory(error: RuntimeError) -> bool:
    """Tell by the type on a GPU; on the CPU torch has no type of its own for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _kilobytes(file: Path, name: str) -> int:
    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    msg = f"{file} does not say {name}."
    raise OSError(msg)
