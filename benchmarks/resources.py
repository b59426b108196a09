"""Time and memory of the paper's network, trained and evaluated: `python -m benchmarks.resources --official PATH`.

Every measurement is a fresh process (`benchmarks.resources_subjects`), and rounds go through all of them in turn, so
that what else the machine does meets everybody alike. Peak memory is all that the process takes on a CPU (resident
set), and what torch's allocator gave out on a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file

from benchmarks import machine
from benchmarks.resources_subjects import BLOCKS, MULTIPLIERS, WIDTH, Job, device, make_weights, ours
from ddmkit.footprint import Footprint, Work, footprint
from ddmkit.run.resources import taken
from ddmkit.thrift import weight_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OURS = {
    f"ddmkit-{precision}-{way}": f"ddmkit, {precision}, {way}"
    for precision in PRECISIONS
    for way in ("slabs", "recompute")
}
TITLES = {"official": "official code", "monai": "MONAI DiffusionModelUNet", **OURS}
_IDLE = Job("idle", training=False, side=0, channels=0, weights="", official="", answer="")


class Row(NamedTuple):
    """One line of the paper's Table 1: a method, trained or used."""

    method: str
    training: bool
    share: int
    """The whole side over the side of what the network sees."""
    channels: int
    paper_gb: float
    paper_seconds: float

    @property
    def name(self) -> str:
        """As `--rows` takes it."""
        return f"{self.method.lower()}-{'training' if self.training else 'inference'}"


ROWS = (
    Row("PatchDDM", training=True, share=2, channels=8, paper_gb=10.6, paper_seconds=0.340),
    Row("PatchDDM", training=False, share=1, channels=8, paper_gb=24.0, paper_seconds=1.02),
    Row("HalfRes", training=True, share=2, channels=5, paper_gb=10.5, paper_seconds=0.351),
    Row("HalfRes", training=False, share=2, channels=5, paper_gb=4.90, paper_seconds=0.124),
    Row("FullRes", training=True, share=1, channels=5, paper_gb=78.5, paper_seconds=2.12),
    Row("FullRes", training=False, share=1, channels=5, paper_gb=25.7, paper_seconds=1.01),
)


def main() -> None:
    """Measure, and write JSON, Markdown and a picture into benchmarks/results/."""
    arguments = _arguments()
    rows = [row for row in ROWS if arguments.rows is None or row.name in arguments.rows.split(",")]
    subjects = [name for name in TITLES if arguments.subjects is None or name in arguments.subjects.split(",")]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        measured = _measure(arguments, rows, subjects, Path(folder))
    for record in measured:  # what was measured before, on this machine, counts too
        with arguments.raw.open("a") as file:
            file.write(json.dumps(record) + "\n")
    records = [json.loads(line) for line in arguments.raw.read_text().splitlines()]
    result = {
        "side": arguments.side,
        "load_before": load,
        "bound": _bounds(),
        "rows": [_summary(row, arguments.side, records) for row in ROWS],
    }
    machine.write("resources", result, _table(result))
    _draw(result, machine.RESULTS / f"resources-{machine.slug()}.png")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", default="", help="a checkout of github.com/FlorentinBieder/PatchDDM-3D")
    parser.add_argument("--side", type=int, default=256, help="side of a whole volume, a multiple of 128")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", help=f"of {', '.join(row.name for row in ROWS)}; separated by commas")
    parser.add_argument("--subjects", help=f"of {', '.join(TITLES)}; separated by commas")
    parser.add_argument("--raw", type=Path, default=Path("resources.jsonl"), help="where every measurement is added")
    arguments = parser.parse_args()
    for option, known in (("rows", [row.name for row in ROWS]), ("subjects", list(TITLES))):
        asked = getattr(arguments, option)
        if asked is not None and (unknown := set(asked.split(",")) - set(known)):
            parser.error(f"--{option} {','.join(sorted(unknown))}: there are {', '.join(known)}")
    return arguments


def _measure(arguments: argparse.Namespace, rows: list[Row], subjects: list[str], folder: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
    for channels in {row.channels for row in rows}:
        make_weights(folder / f"weights-{channels}.safetensors", channels)
    for number in range(arguments.rounds):
        for row in rows:
            answers: dict[str, Path] = {}
            for subject in subjects:
                if (subject == "official" and not arguments.official) or not _fits(
                    row, arguments.side, subject, memory
                ):
                    continue
                answers[subject] = folder / f"{subject}.safetensors"
                weights = folder / f"weights-{row.channels}.safetensors"
                job = Job(
                    subject,
                    row.training,
                    arguments.side // row.share,
                    row.channels,
                    str(weights),
                    arguments.official,
                    str(answers[subject]) if number == 0 else "",
                )
                record = {"row": row.name, "side": arguments.side, "subject": subject, **_alone(job)}
                print(f"{time.strftime('%H:%M:%S')} round {number + 1}: {record}", flush=True)
                records.append(record)
            if number == 0 and not row.training:
                records += _differences(row, arguments.side, answers)
    records.append({"row": "idle", "side": 0, "subject": "idle", **_alone(_IDLE)})
    return records


def _alone(job: Job) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.resources_subjects", json.dumps(job._asdict())]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(ran.stderr, file=sys.stderr)
        return {"failed": ran.stderr.strip().splitlines()[-1] if ran.stderr else f"status {ran.returncode}"}
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def _differences(row: Row, side: int, answers: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """Yield how far answers lie from the official code's, as far as there are both."""
    if "official" not in answers or not answers["official"].exists():
        return
    truth = load_file(answers["official"])["answer"]
    for subject, path in answers.items():
        if subject in OURS and path.exists():
            far = (load_file(path)["answer"] - truth).abs().max()
            yield {"row": row.name, "side": side, "subject": subject, "difference": float(far / truth.abs().max())}


def _network(channels: int) -> nn.Module:
    """Return the paper's network without memory."""
    with torch.device("meta"):
        return ours().build(channels, 1)


def _counted(row: Row, side: int, subject: str) -> Footprint:
    network = _network(row.channels)
    parts = subject.split("-")
    precision, way = (PRECISIONS[parts[1]], parts[2]) if subject in OURS else (torch.float32, "plain")
    shape = (1, row.channels, *[side // row.share] * 3)
    return footprint(network, Work(shape, precision, row.training, way), device())


def _predicted(row: Row, side: int, subject: str, idle: int) -> float:
    """Return the peak that shapes alone foretell, in bytes, as the planner does: all that a process holds."""
    network = _network(row.channels)
    precision = PRECISIONS[subject.split("-")[1]] if subject in OURS and not row.training else torch.float32
    weights = weight_bytes(network, precision)
    inputs = 4 * row.channels * (side // row.share) ** 3
    moments = 2 * weights if row.training else 0
    return idle + weights + moments + inputs + taken(_counted(row, side, subject), device())


def _fits(row: Row, side: int, subject: str, memory: int) -> bool:
    return _predicted(row, side, subject, 0) < 0.9 * memory


def _summary(row: Row, side: int, records: list[dict[str, Any]]) -> dict[str, Any]:
    idle = [record["peak"] for record in records if record["subject"] == "idle"][-1]
    if torch.cuda.is_available():
        idle = 0
    found: dict[str, Any] = {}
    for subject in TITLES:
        mine = [r for r in records if (r["row"], r["side"], r["subject"]) == (row.name, side, subject)]
        seconds, peaks = ([r[key] for r in mine if key in r] for key in ("seconds", "peak"))
        predicted = None if subject == "monai" else _predicted(row, side, subject, idle)
        found[subject] = {
            "seconds": seconds,
            "peak": statistics.median(peaks) if peaks else None,
            "predicted": predicted,
            "difference": next((r["difference"] for r in mine if "difference" in r), None),
            "failed": next((r["failed"] for r in mine if "failed" in r), None),
        }
    return {
        **row._asdict(),
        "name": row.name,
        "operations": _counted(row, side, "official").operations,
        "traffic": _traffic(row, side),
        "subjects": found,
    }


def _traffic(row: Row, side: int) -> int:
    """Return the bytes that every convolution reads and writes once, in float32; thrice that with gradients."""
    voxels = math.prod([side // row.share] * 3)
    levels = [WIDTH * multiplier for multiplier in MULTIPLIERS]
    # Per level: the encoder's and the decoder's blocks of two convolutions, each reading and writing its channels.
    volumes = sum(4 * (2 * BLOCKS + 1) * channels / 8.0**level for level, channels in enumerate(levels))
    return round((3 if row.training else 1) * 4 * voxels * volumes)


def _bounds() -> dict[str, float]:
    """Measure what the device can do at best: FLOP/s of a wide convolution, bytes/s of a copy."""
    place = device()
    channels, side = 128, 32 if place.type == "cpu" else 128
    found: dict[str, float] = {}
    for name, precision in PRECISIONS.items():
        x = torch.randn(1, channels, side, side, side, device=place).to(precision, memory_format=torch.channels_last_3d)
        kernel = torch.randn(channels, channels, 3, 3, 3, device=place, dtype=precision)
        operations = 2 * 27 * channels**2 * side**3
        found[name] = operations / _best(partial(torch.conv3d, x, kernel, padding=1))
    large, copied = torch.zeros(2**28, device=place), torch.empty(2**28, device=place)
    found["bandwidth"] = 2 * large.nbytes / _best(partial(copied.copy_, large))
    return found


def _best(run: Callable[[], object]) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def _table(result: dict[str, Any]) -> str:
    lines = [
        "| | who | s [range, n] | × official | peak GB | × official | foretold GB | max Δ, relative |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines += _row_lines(row, result)
    bound = result["bound"]
    notes = (
        f"Whole volumes of {result['side']}³, one evaluation or one training step (forward, backward, AdamW) of the "
        "paper's network, each in a fresh process after a small first call. Peak memory is the whole process's on a "
        "CPU and the allocator's on a GPU. Foretold is what the planner makes of an idle process, weights, moments, "
        "inputs and what the network's own code makes, from shapes alone. The paper's figures are an A100's. Max Δ is "
        "against the official code in float32 with the same weights, over its largest answer. "
        "Status -9 is a process that the system ended, whose memory did not suffice. "
        f"Bounds: wide convolutions {bound['float32'] / 1e9:.0f} GFLOP/s in float32 and "
        f"{bound['bfloat16'] / 1e9:.0f} in bfloat16, copies {bound['bandwidth'] / 1e9:.1f} GB/s. "
        f"Load average before: {result['load_before']:.1f}."
    )
    return "\n".join(lines) + "\n\n" + notes


def _row_lines(row: dict[str, Any], result: dict[str, Any]) -> Iterator[str]:
    what = "training" if row["training"] else "inference"
    side = result["side"] // row["share"]
    reference = row["subjects"]["official"]
    yield f"| **{row['method']} {what}**, {side}³ | paper (A100) | {row['paper_seconds']} | | {row['paper_gb']} | | | |"
    for subject, found in row["subjects"].items():
        seconds = found["seconds"]
        # What is not ours lays its volumes out anew for each convolution, of which no tensor tells.
        told = found["predicted"] is not None and (subject in OURS or not seconds)
        foretold = f"{found['predicted'] / 1e9:.2f}" if told else ""
        if not seconds:
            if foretold or found["failed"]:
                shown = f"failed ({found['failed']})" if found["failed"] else "not run"
                yield f"| | {TITLES[subject]} | {shown} | | | | {foretold} | |"
            continue
        median = statistics.median(seconds)
        shown = f"{median:.1f} [{min(seconds):.1f}–{max(seconds):.1f}, {len(seconds)}]"
        times = f"{median / statistics.median(reference['seconds']):.2f}" if reference["seconds"] else ""
        share = f"{found['peak'] / reference['peak']:.2f}" if reference["peak"] else ""
        far = "" if found["difference"] is None else f"{found['difference']:.1e}"
        yield f"| | {TITLES[subject]} | {shown} | {times} | {found['peak'] / 1e9:.2f} | {share} | {foretold} | {far} |"
    for precision, size in (("float32", 4), ("bfloat16", 2)):
        bound = result["bound"]
        limits = row["operations"] / bound[precision], row["traffic"] * size / 4 / bound["bandwidth"]
        yield f"| | bound, {precision}: FLOP, traffic | {limits[0]:.1f}, {limits[1]:.1f} | | | | | |"


def _draw(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if any(found["seconds"] for found in row["subjects"].values())]
    figure = Figure(figsize=(11, 1.2 + 1.7 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 2, squeeze=False)
    for row, (times, peaks) in zip(rows, panels, strict=True):
        measured = {name: found for name, found in row["subjects"].items() if found["seconds"]}
        titles = [TITLES[name] for name in measured]
        colours = ["tab:blue" if name in OURS else "tab:gray" for name in measured]
        seconds = [statistics.median(found["seconds"]) for found in measured.values()]
        gigabytes = [found["peak"] / 1e9 for found in measured.values()]
        for axes, values, unit in ((times, seconds, "seconds"), (peaks, gigabytes, "GB at most")):
            axes.bar_label(axes.barh(titles, values, color=colours), fmt="%.3g", padding=4)
            axes.invert_yaxis()
            axes.margins(x=0.15)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel(unit)
        peaks.set_yticks([])
        side = result["side"] // row["share"]
        times.set_title(
            f"{row['method']}: {'a training step' if row['training'] else 'an evaluation'} at {side}³", loc="left"
        )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
