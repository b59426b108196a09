"""Say which machine a figure was measured on, and write figures where they belong."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ddmkit.processors import cores

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, str | int]:
    """Return processor, cores, memory, accelerator and the versions that matter."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(pages / 2**30),
        "accelerator": accelerator,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def slug() -> str:
    """Return a name for result files: the accelerator if there is one, else the cores and the architecture."""
    machine = describe()
    name = (
        machine["accelerator"]
        if machine["accelerator"] != "none"
        else f"cpu-{machine['cores']}-cores-{platform.machine()}"
    )
    return re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")


def write(name: str, result: dict[str, Any], table: str, folder: Path = RESULTS) -> None:
    """Write `name-MACHINE.json` and `.md` into a folder, by default benchmarks/results/, and print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe()
    stem = f"{name}-{slug()}"
    (folder / f"{stem}.json").write_text(json.dumps({"machine": machine, **result}, indent=2, allow_nan=False) + "\n")
    said = ", ".join(f"{key} {value}" for key, value in machine.items())
    (folder / f"{stem}.md").write_text(f"{table}\n\nMachine: {said}.\n")
    print(table)
    print(f"written: {folder / stem}.json, .md")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
