"""What `test_world` has done in a program of its own, which is left with a thread that waits: `python beginning.py`.

For each way in which a second process may fail to begin, it writes what the first one says, as a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch leaves it so

from ddmkit import DdmkitError
from ddmkit.errors import OutOfMemoryError
from ddmkit_plugins.engines.distributed.failures import Failures
from ddmkit_plugins.engines.distributed.launch import Child, Place
from ddmkit_plugins.engines.distributed.world import World

HERE = "127.0.0.1"


def says(code: str, folder: Path, *, word: bool = False, seat: str | None = None) -> str:
    """Return what the first process says where the second one runs some code, after word of it or its seat."""
    store = TCPStore(HERE, 0, 2, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    if word:
        Failures(Place(1, 2, 1), store, []).leave_word(OutOfMemoryError("The memory of cuda:1 does not suffice."))
    if seat is not None:
        store.set("seat/1", seat)
    log = folder / "process-1.log"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=file, stderr=subprocess.STDOUT)
    try:
        World(Place(0, 2, 0), torch.device("cpu"), store, children=[Child(process, log)])
    except DdmkitError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        process.kill()
        process.wait()
    return "nothing"


def main() -> None:
    """Write what is said of each."""
    with TemporaryDirectory() as folder:
        for said in (
            says("import sys; sys.exit('error: no such device')", Path(folder)),
            says("import time; time.sleep(60)", Path(folder), word=True),
            says("import time; time.sleep(60)", Path(folder), seat="cuda host GPU-1"),
            says("import time; time.sleep(1)", Path(folder), seat="cpu host"),  # gone while the first one connects
        ):
            print(json.dumps(said), flush=True)  # noqa: T201 - it is what this program is for


if __name__ == "__main__":
    main()
