"""A process that has imported what `ddmkit` imports, and forks for every command: seconds less for each.

Each line that it reads is a command: JSON with the console script, its arguments, folder, environment and the files for
what it says. The fork is a process of its own, which runs the script's function. The answer is a line with its status;
null after the time that it was given.

A command may be for the Python of another environment that borrows what is installed in this one (tests/borrowing.py):
the fork then looks for modules exactly where that Python says that it would.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any, NoReturn

LARGE = (
    "h5py",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "nibabel",
    "torch._dynamo",
    "torch.utils.flop_counter",
)
"""What the packages import somewhere in their functions, and torch for AdamW."""
SCRIPTS = {
    "ddmkit": ("ddmkit_cli.__main__", "run"),
    "pytest": ("pytest", "console_main"),
    "torchrun": ("torch.distributed.run", "main"),
    "in_processes": ("tests.plugins.engines.in_processes", "main"),
}
"""The function of each console script, as its package declares it, and of programs of the tests' own."""
PLACE = "import json, sys; print(json.dumps([sys.path[1:], sys.prefix, sys.exec_prefix]))"
"""Tells where a Python looks for modules, but for the folder of what it runs."""
POLL = 0.005
"""Seconds between two looks at a fork."""


def main() -> None:
    """Serve until there is nothing more to read; in a fork, run its command."""
    # What takes long to import. No thread may be there when a process forks, so torch does not calculate.
    for module in LARGE:
        import_module(module)
    for package in ("ddmkit", "ddmkit_cli", "ddmkit_plugins"):
        import_all(package)
    draw()
    gc.freeze()  # or each fork would copy what it only looks at to collect garbage
    answers = os.fdopen(os.dup(1), "w")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # where those print who print when they are imported
    for line in sys.stdin:
        asked = json.loads(line)
        for module in asked["imports"]:
            import_module(module)
        sys.stdout.flush()  # or each fork would print what an import printed
        pid = os.fork()
        if pid == 0:
            answers.close()
            become(asked)
            run(*SCRIPTS[asked["script"]])
        print(json.dumps(status(pid, asked["seconds"], **asked["kill"])), file=answers, flush=True)


def draw() -> None:
    """Draw once, so that matplotlib has found its fonts and knows how long its words are."""
    matplotlib = import_module("matplotlib.figure")
    figure = matplotlib.Figure(layout="constrained")
    figure.subplots().loglog([1, 1000], [1, 1000])
    figure.savefig(os.devnull, format="png")


def become(asked: dict[str, Any]) -> None:
    """Be as if this process had just been started."""
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # it warns of plugins that were imported before it
    move(asked["python"])
    sys.argv = [asked["script"], *asked["arguments"]]
    for number, path in ((0, os.devnull), (1, asked["stdout"]), (2, asked["stderr"])):
        file = os.open(path, os.O_RDWR)
        os.dup2(file, number)
        os.close(file)


def move(python: str) -> None:
    """Look for modules where a Python does that is started in this environment, and say that it is the one running."""
    if python == sys.executable:
        sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
        return
    told = subprocess.run([python, "-c", PLACE], capture_output=True, text=True, check=True).stdout
    paths, sys.prefix, sys.exec_prefix = json.loads(told)
    sys.executable = python
    sys.path[:] = [str(Path(python).parent), *paths]


def run(module: str, function: str) -> NoReturn:
    """Run the command and end, but for the taking down of all that was imported, which takes longer than most do."""
    ended: object = None
    try:
        ended = getattr(import_module(module), function)()
    except SystemExit as error:
        ended = error.code
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public name
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended if isinstance(ended, int) else int(ended is not None))


def import_all(package: str) -> None:
    """Import all modules of a package, but for those that begin something, or import what is optional."""
    for module in walk_packages(import_module(package).__path__, f"{package}."):
        if not {"__main__", "distributed"} & set(module.name.split(".")):
            import_module(module.name)


def status(pid: int, seconds: float, file: str = "", lines: int = 0, number: int = signal.SIGKILL) -> int | None:
    """Return how a fork ended, as `subprocess` says it; None if it had to be killed.

    Where a file is named, the fork gets a signal once the file has so many lines.
    """
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if file and Path(file).is_file() and Path(file).read_text("utf-8").count("\n") >= lines:
            os.kill(pid, number)
            file = ""
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(POLL)
    return os.waitstatus_to_exitcode(ended[1])


if __name__ == "__main__":
    main()
