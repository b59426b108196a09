"""Random numbers as a function of what they are for.

Nothing in ddmkit keeps a random state. A number is drawn from a key: (seed, "window", step, example) gives the
same window whether the run was resumed, moved to other hardware or spread over more processes.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, *key: str | int) -> np.random.Generator:
    """Return a fresh generator that depends on its arguments alone.

    Args:
        seed: the seed of a run or of a sampling, 0 or greater.
        key: what the numbers are for: a purpose, then which one of its kind.
    """
    words = [int.from_bytes(hashlib.sha256(_word(part).encode()).digest()[:8], "little") for part in key]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def _word(part: str | int) -> str:
    """Tell 1 from "1", and a numpy integer not from a plain one."""
    return repr(part) if isinstance(part, str) else repr(int(part))


def seed_of(seed: int, *key: str | int) -> int:
    """Return a seed for a generator of another library, such as torch's."""
    return int(generator(seed, *key).integers(2**63))


def normal(shape: tuple[int, ...], seed: int, *key: str | int) -> Tensor:
    """Return standard normal noise of `shape`, float32, on the CPU: the same for any device and batching."""
    return torch.from_numpy(generator(seed, *key).standard_normal(shape, dtype=np.float32))
