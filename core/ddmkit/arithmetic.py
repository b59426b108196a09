"""What a device calculates in."""

from __future__ import annotations

from functools import lru_cache

import torch


@lru_cache
def multiplies_bfloat16(device_type: str) -> bool:
    """Tell whether a kind of device ("cpu", "cuda") multiplies bfloat16 itself, and does not only imitate it."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public name


@lru_cache
def onednn() -> bool:
    """Tell whether torch has oneDNN, the library that convolves on a CPU."""
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # torch leaves it so


@lru_cache
def multiplies_tiles() -> bool:
    """Tell whether the CPU multiplies bfloat16 in tiles (AMX), for which oneDNN has kernels of their own."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public name
    return onednn() and supported is not None and bool(supported())
