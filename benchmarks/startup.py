"""Start-up: seconds until a command that needs no network has answered; medians.

python -m benchmarks.startup
"""

from __future__ import annotations

import statistics
import subprocess
import time

from benchmarks.machine import write

COMMANDS = {"ddmkit --help": 0.5, "ddmkit plugins list": 1.0}
"""Command and the seconds it is allowed."""
ROUNDS = 9


def main() -> None:
    """Time the commands in turn, so that a slow moment of the machine meets them all."""
    times: dict[str, list[float]] = {command: [] for command in COMMANDS}
    for _ in range(ROUNDS):
        for command, seconds in times.items():
            started = time.perf_counter()
            subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
    rows = [
        f"| `{command}` | {statistics.median(taken):.2f} | {min(taken):.2f}–{max(taken):.2f} | {COMMANDS[command]} |"
        for command, taken in times.items()
    ]
    head = f"| command | median of {ROUNDS}, s | range | allowed |\n|---|---|---|---|"
    write("startup", {"seconds": times}, "\n".join([head, *rows]))


if __name__ == "__main__":
    main()
