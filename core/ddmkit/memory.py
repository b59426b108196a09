"""Memory: how much there is, how much is used, and what to say when it does not suffice."""

from __future__ import annotations

import ctypes
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ddmkit.errors import OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["free", "memory_guard", "peak", "used"]

_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
"""Where Linux keeps the limits of groups of processes (containers, jobs), and says which groups this one is in."""


class _Files(NamedTuple):
    """The files that tell of a group's memory."""

    most: str
    now: str
    cached: str
    """The line of memory.stat that tells what of it may be taken for something else at any time."""


_SECOND = _Files("memory.max", "memory.current", "inactive_file")
_FIRST = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
"""As the two versions of control groups have them."""


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
    return min([available, *_left_by_groups()])


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


def _left_by_groups() -> list[int]:
    """Return what each group that this process is in, and each around it, leaves of its limit."""
    left: list[int] = []
    with suppress(OSError):
        for line in _MEMBERSHIP.read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            root, files = (_GROUPS / "memory", _FIRST) if controllers else (_GROUPS, _SECOND)
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                with suppress(OSError, ValueError):
                    left.append(_left_by(folder, files))
                if folder == root:
                    break
    return left


def _left_by(group: Path, files: _Files) -> int:
    most, now = (int((group / name).read_text("ascii")) for name in (files.most, files.now))
    cached = 0
    with suppress(OSError, ValueError):
        stat = dict(line.split() for line in (group / "memory.stat").read_text("ascii").splitlines())
        cached = int(stat.get(files.cached, 0))
    return max(0, most - max(0, now - cached))


def _kilobytes(file: Path, name: str) -> int:
    for line in file.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    msg = f"{file} does not say {name}."
    raise OSError(msg)
