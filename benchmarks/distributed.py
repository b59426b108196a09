"""Two processes against one: memory of each at full resolution, and seconds a step.

python -m benchmarks.distributed [--rounds 5] [--memory-side 96] [--time-side 32]

Every measurement is a fresh program; rounds go through all ways in turn, so that what else the machine does meets
everybody alike. The one process has all of the machine's cores, of two each has half. What a step takes is the growth
of a process's resident set over what it had after two small steps, when weights and AdamW's moments are there. All on
the CPU, over gloo. What the paper's whole volumes take on GPUs is counted (`ddmkit.footprint`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.machine import describe, write
from ddmkit import Batch
from ddmkit.configuration import Training
from ddmkit.diffusion import Diffusion
from ddmkit.footprint import Work, footprint
from ddmkit.memory import used
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.engines.deepspeed import DeepSpeed
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from ddmkit import Engine, Session

_IN, _OUT = 8, 1
_WAYS: dict[str, dict[str, Any]] = {
    "one process": {},
    "two stages": {"stages": 2},
    "two rows": {},
    "two rows, ZeRO 1": {"zero": 1},
    "two rows, ZeRO 2": {"zero": 2},
    "two rows, ZeRO 3": {"zero": 3},
}
_LARGE = ("one process", "two stages")
_SMALL_SIDE = 16
_FULL_SIDE = 256


def main() -> None:
    """Measure, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-side", type=int, default=96, help="of the volume at full resolution, batch of one")
    parser.add_argument("--time-side", type=int, default=32, help="of the windows, batch of four")
    parser.add_argument("--subject", choices=_WAYS, help="measure one way in this program, as the others are begun")
    parser.add_argument("--side", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=1)
    given = parser.parse_args()
    if given.subject:
        print(json.dumps(_subject(given.subject, given.side, given.batch, given.steps)))
        return
    memory = {way: _begun(way, given.memory_side, 1, 1) for way in _LARGE}
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(given.rounds):
        for way, taken in seconds.items():
            taken.append(_begun(way, given.time_side, 4, 3)["seconds"])
    counted = {name: _counted(training=training) for name, training in (("training", True), ("evaluation", False))}
    tables = _memory_table(memory, given.memory_side), _counted_table(counted), _time_table(seconds, given.time_side)
    result = {"memory": memory, "counted": counted, "seconds": seconds, "arguments": vars(given)}
    write("distributed", result, "\n\n".join(tables))


def _begun(way: str, side: int, batch: int, steps: int) -> dict[str, Any]:
    """Return what a program of its own measures."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.distributed", "--subject", way]
    command += ["--side", str(side), "--batch", str(batch), "--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(way, side, measured, file=sys.stderr)
    return measured


def _subject(way: str, side: int, batch: int, steps: int) -> dict[str, Any]:
    engine: Engine = Single(device="cpu") if way == "one process" else DeepSpeed(device="cpu", devices=2, **_WAYS[way])
    torch.manual_seed(0)
    session = engine.open(UNet3dAverage().build(_IN, _OUT), Training(batch_size=batch))
    for number in (1, 2):
        _step(session, _SMALL_SIDE, batch, number)
    processes = [Path("/proc/self"), *_children()]
    before = [_resident(process, "VmRSS") for process in processes]
    for process in processes:
        (process / "clear_refs").write_text("5")  # which forgets the peak so far
    seconds = [_step(session, side, batch, 3 + number) for number in range(steps)]
    peaks = [_resident(process, "VmHWM") - rest for process, rest in zip(processes, before, strict=True)]
    return {"seconds": statistics.median(seconds), "grown": peaks, "before": before}


def _step(session: Session, side: int, batch: int, number: int) -> float:
    """Return the seconds of one step."""
    inputs = torch.randn(batch, _IN, side, side, side)
    given = Batch(inputs, torch.full((batch,), 500.0), inputs[:, :_OUT].clone())
    used(torch.device("cpu"))  # which gives free memory back
    started = time.perf_counter()
    session.step([given], batch, Diffusion().loss, number)
    return time.perf_counter() - started


def _children() -> list[Path]:
    """Return the processes that this one began."""
    mine = str(Path("/proc/self").resolve().name)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
        except OSError:
            continue
        if f"\nPPid:\t{mine}\n" in status:
            found.append(process)
    return found


def _resident(process: Path, name: str) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def _memory_table(memory: dict[str, dict[str, Any]], side: int) -> str:
    alone = memory["one process"]["grown"][0]
    work = Work((1, _IN, side, side, side), torch.float32, training=True, way="slabs")
    whole, *stages = _foretold(work, torch.device("cpu"))
    rows = []
    for (way, measured), foretold in zip(memory.items(), ([whole], stages), strict=True):
        for number, (grown, told) in enumerate(zip(measured["grown"], foretold, strict=True)):
            share = f"{grown / alone:.2f} | {told / whole:.2f}"
            rows.append(f"| {way} | {number} | {grown / 1e9:.2f} | {told / 1e9:.2f} | {share} |")
    head = (
        f"A training step on {side}×{side}×{side} voxels, the paper's network, float32.\n\n"
        "| | process | activations, GB | foretold, GB | of one process's | foretold |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *rows])


def _counted(*, training: bool) -> dict[str, list[int]]:
    """Return, by way, what the whole network and both stages take of the paper's whole volume on GPUs."""
    sides = (_FULL_SIDE, _FULL_SIDE, _FULL_SIDE)
    works = {
        way: Work((1, _IN, *sides), torch.float32, training=training, way=way)
        for way in ("plain", "slabs", "recompute")
    }
    return {way: _foretold(work, torch.device("cuda")) for way, work in works.items()}


def _counted_table(counted: dict[str, dict[str, list[int]]]) -> str:
    rows = []
    for name, by_way in counted.items():
        for way, (whole, *stages) in by_way.items():
            gigabytes = " | ".join(f"{one / 1e9:.1f}" for one in (whole, *stages))
            rows.append(f"| {name} | {way} | {gigabytes} | {max(stages) / whole:.2f} |")
    side = _FULL_SIDE
    head = (
        f"Counted for GPUs: the paper's network on {side}×{side}×{side} voxels, float32, without weights and moments."
        "\n\n"
        "| | way | one device, GB | first of two stages | second | the larger of one's |\n|---|---|---|---|---|---|"
    )
    return "\n".join([head, *rows])


def _foretold(work: Work, device: torch.device) -> list[int]:
    """Return what is counted of some work: in one process, and in each of two stages."""
    network = UNet3dAverage().build(_IN, _OUT)
    stages = DeepSpeed(device=device.type, devices=2, stages=2).pieces(network, 1)
    return [footprint(piece, work, device).peak for piece in (network, *stages)]


def _time_table(seconds: dict[str, list[float]], side: int) -> str:
    alone = seconds["one process"]
    rows = []
    for way, taken in seconds.items():
        ratio = statistics.median(mine / its for mine, its in zip(taken, alone, strict=True))
        rows.append(f"| {way} | {statistics.median(taken):.2f} | {min(taken):.2f}–{max(taken):.2f} | {ratio:.2f} |")
    head = (
        f"A step of four windows of {side}×{side}×{side} voxels, on {describe()['cores']} cores in all.\n\n"
        f"| | median of {len(alone)}, s | range | of one process's |\n|---|---|---|---|"
    )
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
