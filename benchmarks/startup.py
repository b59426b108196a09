"""Start-up: seconds until a command that needs no network has answered, alone and beside other plugins; medians.

python -m benchmarks.startup
"""

from __future__ import annotations

import compileall
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.machine import write
from ddmkit import Registry
from ddmkit_cli.kit import KINDS, Plugin
from ddmkit_cli.kit import write as write_plugin

COMMANDS = {"ddmkit --help": 0.5, "ddmkit plugins list": 1.0}
"""Command and the seconds it is allowed."""
ROUNDS = 9
PLUGINS = 10
"""Packages beside ddmkit's own, written by `ddmkit plugins new`: one of each kind, and a second of the first."""


def main() -> None:
    """Time the commands in turn, so that a slow moment of the machine meets them all."""
    times: dict[str, list[float]] = {f"{command}, {many}": [] for command in COMMANDS for many in (0, PLUGINS)}
    with TemporaryDirectory() as folder:
        beside = {**os.environ, "PYTHONPATH": str(install(Path(folder)))}
        for _ in range(ROUNDS):
            for command in COMMANDS:
                for many, environment in ((0, dict(os.environ)), (PLUGINS, beside)):
                    times[f"{command}, {many}"].append(seconds(command, environment))
    rows = [
        f"| `{command}` | {many} | {statistics.median(taken):.2f} | {min(taken):.2f}–{max(taken):.2f} | {allowed} |"
        for command, allowed in COMMANDS.items()
        for many in (0, PLUGINS)
        for taken in [times[f"{command}, {many}"]]
    ]
    head = f"| command | plugins installed | median of {ROUNDS}, s | range | allowed |\n|---|---|---|---|---|"
    write("startup", {"seconds": times}, "\n".join([head, *rows]))


def install(folder: Path) -> Path:
    """Write the plugins and what pip would leave of them, and return the folder that is to stand on the path."""
    registry, site = Registry(), folder / "site-packages"
    for number in range(PLUGINS):
        plugin = Plugin(KINDS[number % len(KINDS)], f"other-{number}")
        write_plugin(folder / plugin.name, plugin.kind, plugin.name, registry)
        shutil.copytree(folder / plugin.name / "src", site, dirs_exist_ok=True)
        facts = site / f"{plugin.module}-0.1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ddmkit-{plugin.name}\nVersion: 0.1.0\n", "utf-8")
        (facts / "entry_points.txt").write_text(f"[ddmkit]\n{plugin.name} = {plugin.module}\n", "utf-8")
    compileall.compile_dir(site, quiet=1)
    return site


def seconds(command: str, environment: dict[str, str]) -> float:
    """Return how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
