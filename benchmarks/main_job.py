"""The README's main job, timed from outside: wall-clock, peak memory, and Dice on cases it never saw.

python -m benchmarks.main_job [--runs N]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import write
from ddmkit.run.folder import RunFolder

COMMAND = ["ddmkit", "train", "--backbone", "unet3d-avg", "--patch", "center"]


def main() -> None:
    """Run the job as often as asked, each time in an empty folder with an empty cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1, help="seeds 0, 1, …")
    count = parser.parse_args().runs
    runs = [_run(seed) for seed in range(count)]
    rows = [
        f"| {run['seed']} | {run['seconds']:.0f} | {run['peak_memory'] / 1e9:.2f} | {run['dice']:.3f} | "
        f"{run['hd95']:.2f} | {run['cases']} |"
        for run in runs
    ]
    head = "| seed | seconds | peak GB | mean Dice, unseen cases | mean HD95 mm | cases |\n|---|---|---|---|---|---|"
    write("main-job", {"command": COMMAND, "runs": runs}, "\n".join([head, *rows]))


def _run(seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "DDMKIT_CACHE": str(Path(folder) / "cache")}
        started = time.perf_counter()
        process = subprocess.Popen([*COMMAND, "--seed", str(seed), "--run", "run"], cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            msg = f"{' '.join(COMMAND)} failed"
            raise SystemExit(msg)
        records = list(RunFolder(Path(folder) / "run").records())
    test = next(record for record in records if record["kind"] == "test")
    summary = test["summary"]["whole"]
    steps = [record for record in records if record["kind"] == "step"]
    return {
        "seed": seed,
        "seconds": seconds,
        "peak_memory": usage.ru_maxrss * 1024,
        "steps": len(steps),
        "seconds_per_step": sorted(record["seconds"] for record in steps)[len(steps) // 2],
        "cases": summary["n"],
        "dice": summary["dice_mean"],
        "dice_std": summary["dice_std"],
        "hd95": summary["hd95_mean"],
        "missed": summary["missed"],
        "definition": test["definition"],
    }


if __name__ == "__main__":
    main()
