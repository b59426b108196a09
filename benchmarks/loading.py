"""Loading: random windows delivered per second and memory needed, against what others do; size of the store.

python -m benchmarks.loading [--cases N] [--windows N] [--rounds N] [--shape 240,240,155] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from importlib.metadata import version
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
import torch

from benchmarks import loading_peers as peers
from benchmarks import machine
from benchmarks.loading_peers import MODALITIES, Job
from ddmkit import Registry
from ddmkit.assembly import assemble, read_tree
from ddmkit.processors import cores
from ddmkit.run.batches import Batches
from ddmkit.store import Store, cache_folder
from ddmkit_plugins.datasets.brats import BratsFolders
from ddmkit_plugins.datasets.phantom_files import write_phantoms

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from torch import Tensor

    from ddmkit import Case, Shape
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

T = TypeVar("T")

LONGEST_SIDE = 128
"""Of a window, in voxels."""
MORE = 4
"""How many times as many cases show whether memory grows with them."""
SECONDS = 3
"""A pass takes at least as long."""
INTERVAL = 0.02
"""Seconds between two looks at memory."""
PACKAGES = ("ddmkit", "h5py", "hdf5plugin", "numpy", "nibabel", "monai", "torchio")
ONE_THREAD = ("OMP_NUM_THREADS", "BLOSC_NTHREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


class Contender(NamedTuple):
    """One way to deliver windows."""

    title: str
    stream: Callable[[Job], peers.Stream]
    how: str
    block: int = 8
    """Windows are counted in blocks of so many: TorchIO delivers those of its queue at once, then fills it."""


def windows(job: Job) -> peers.Stream:
    """Read windows of the store, drawn as the paper draws them, in threads."""
    configuration, cases = _opened(job)
    random = np.random.default_rng(0)
    coming: deque[Any] = deque()
    with ThreadPoolExecutor(configuration.loading.threads) as pool:
        for case in (cases[index] for _ in count() for index in random.permutation(len(cases))):
            window = configuration.patch.window(case.region.size, random).within(case.region)
            coming.append(pool.submit(case.read, window))
            if len(coming) > configuration.loading.prefetch:
                example = coming.popleft().result()
                yield example.images, example.labels


def batches(job: Job) -> peers.Stream:
    """Deliver all that the network is given: windows, coordinates, noise and x_t."""
    configuration, cases = _opened(job)
    for _, (batch,) in Batches(configuration, cases).ahead(1, 10**6):
        yield batch.inputs[0, : len(MODALITIES)], None


CONTENDERS = {
    "official": Contender(
        "(a) official code", peers.official, "decompresses five normalised .nii.gz with nibabel, pads, crops"
    ),
    "monai": Contender(
        "(b) MONAI PersistentDataset", peers.persistent, "RandSpatialCrop of whole padded cases, cache warm"
    ),
    "torchio": Contender(
        "(c) TorchIO Queue",
        peers.queue,
        f"max_length {peers.QUEUE_LENGTH}, samples_per_volume {peers.PER_VOLUME}: so many windows come of one reading",
        block=peers.QUEUE_LENGTH,
    ),
    "ddmkit": Contender("ddmkit, windows of the store", windows, "every window of another case"),
    "batches": Contender("ddmkit, whole batches", batches, "with coordinates, noise and x_t; for information"),
}
OURS = ("ddmkit", "batches")


def main() -> None:
    """Measure all contenders in turn, so that a slow moment of the machine meets them all."""
    arguments = _arguments()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    load = os.getloadavg()[0]
    job = _job(arguments.shape, arguments.cases)
    _alone(_prepare, job)
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    builds: list[float] = []
    for turn in range(arguments.rounds):
        for name, taken in rates.items():
            taken.append(_alone(_rate, name, job, arguments.windows))
            print(f"round {turn + 1}: {name} {taken[-1]:.2f} windows/s", flush=True)
        builds.append(_alone(_build, job))
    more = job._replace(cases=_renamed(job, MORE))
    _alone(_open_seconds, more)  # what it needs to build is another question
    result = {
        "load_before": load,
        "versions": {package: version(package) for package in PACKAGES},
        "settings": {**vars(arguments), "out": None, "workers": job.workers, "frame": job.frame, "side": job.side},
        "windows_per_second": rates,
        "peak_memory": {name: _peak(_rate, name, job, arguments.windows) for name in rates},
        "peak_memory_more_cases": _peak(_rate, "ddmkit", more, MORE * arguments.windows),
        "store": {
            **_sizes(job),
            "build_seconds": builds,
            "build_peak_memory": _peak(_build, job),
            "open_seconds": _alone(_open_seconds, more),
        },
    }
    tables = "\n\n".join([_rates_table(result), _store_table(result), _remarks(result)])
    machine.write("loading", result, tables, arguments.out)
    _draw(rates, arguments.out / f"loading-{machine.slug()}.png")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--windows", type=int, default=64, help="that a pass delivers, at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=_shape, default=(240, 240, 155), help="voxels X,Y,Z of a case")
    parser.add_argument("--out", type=Path, default=machine.RESULTS, help="folder of the results")
    return parser.parse_args()


def _shape(text: str) -> Shape:
    x, y, z = map(int, text.split(","))
    return x, y, z


def _job(shape: Shape, number: int) -> Job:
    """Make cases that are not there yet; the frame is a power of two, as the paper's 256 for 240×240×155 voxels."""
    folder = cache_folder() / "benchmarks" / f"loading-{'x'.join(map(str, shape))}"
    names = write_phantoms(folder / "cases", number, shape, 0, lambda *done: print(*done, flush=True))
    cases = [case for case in BratsFolders().cases(folder / "cases") if case.name in names]
    side = 1 << (max(shape) - 1).bit_length()
    return Job(folder, tuple(cases), (side, side, side), min(LONGEST_SIDE, side // 2), cores())


def _renamed(job: Job, times: int) -> tuple[Case, ...]:
    """Return the cases several times, the same files under other names; the store has a file for each."""
    return tuple(case._replace(name=f"{case.name}-{copy}") for copy in range(times) for case in job.cases)


def _prepare(job: Job) -> None:
    peers.prepare(job)
    _opened(job)


def _configuration(job: Job) -> Configuration:
    registry = Registry()
    options = {
        "preprocessing.frame": ",".join(map(str, job.frame)),
        "patch.sides": ",".join([str(job.side)] * 3),
        "loading.threads": job.workers,
    }
    written = [f"{key}={value}" for key, value in options.items()]
    return assemble(registry, base=[read_tree(registry.preset("patchddm"))], options=written)


def _opened(job: Job) -> tuple[Configuration, list[StoredCase]]:
    configuration = _configuration(job)
    return configuration, Store(configuration, job.folder / "store").open_all(job.cases).cases


def _rate(name: str, job: Job, least: int) -> float:
    """Return windows per second once a first block has been delivered."""
    torch.set_num_threads(1)
    contender = CONTENDERS[name]
    with closing(contender.stream(job)) as stream:
        for images, labels in islice(stream, contender.block):
            _check(job, images, labels)
            _check_values(images, least=-1 if labels is None else 0)
        delivered, started = 0, time.perf_counter()
        while delivered < least or time.perf_counter() - started < SECONDS:
            for images, labels in islice(stream, contender.block):
                _check(job, images, labels)
                delivered += 1
        return delivered / (time.perf_counter() - started)


def _check(job: Job, images: Tensor, labels: Tensor | None) -> None:
    sides = (job.side,) * 3
    wrong = (images.shape, images.dtype) != ((len(MODALITIES), *sides), torch.float32)
    if wrong or (labels is not None and (labels.shape, labels.dtype) != (sides, torch.uint8)):
        msg = f"Delivered was {images.dtype} {images.shape}, with labels {labels}."
        raise TypeError(msg)


def _check_values(images: Tensor, least: float) -> None:
    low, high = images.aminmax()
    if not least <= low < high <= 1:
        msg = f"A window's intensities go from {low:g} to {high:g}."
        raise ValueError(msg)


def _build(job: Job) -> float:
    """Return the seconds per case that a new store takes, on all cores."""
    configuration = _configuration(job)
    with tempfile.TemporaryDirectory(dir=job.folder) as folder:
        started = time.perf_counter()
        Store(configuration, Path(folder)).open_all(job.cases)
        return (time.perf_counter() - started) / len(job.cases)


def _open_seconds(job: Job) -> float:
    """Return the seconds until a store that is there is ready to be read from."""
    configuration = _configuration(job)
    started = time.perf_counter()
    Store(configuration, job.folder / "store").open_all(job.cases)
    return time.perf_counter() - started


def _sizes(job: Job) -> dict[str, int]:
    """Return the bytes of the store, of the files it is made of, and of their voxels."""
    sources = [image.path for case in job.cases for image in case.images.values()]
    sources += [case.reference for case in job.cases if case.reference]
    volumes: list[Any] = [nib.load(source) for source in sources]
    return {
        "bytes": sum(case.path.stat().st_size for case in _opened(job)[1]),
        "source_bytes": sum(source.stat().st_size for source in sources),
        "voxel_bytes": sum(volume.dataobj.dtype.itemsize * math.prod(volume.shape) for volume in volumes),
    }


def _alone(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own and return what it returns."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _peak(function: Callable[..., object], *arguments: object) -> int:
    """Return the most bytes that a function's process and those it starts take up together at one time.

    What several of them share is counted once: each is charged its proportional set size, which only Linux tells.
    """
    peak = 0
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=os.setsid) as pool:
        session = pool.submit(os.getpid).result()
        future = pool.submit(function, *arguments)
        while not wait([future], timeout=INTERVAL).done:
            peak = max(peak, sum(map(_memory, _processes(session))))
        future.result()
    return peak


def _processes(session: int) -> Generator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if os.getsid(int(folder.name)) == session:
                yield int(folder.name)


def _memory(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _rates_table(result: dict[str, Any]) -> str:
    rates, peaks = result["windows_per_second"], result["peak_memory"]
    reference = statistics.median(rates["official"])
    lines = [
        f"| contender | windows/s, median of {len(rates['official'])} [range] | × (a) | peak memory, GB | how |",
        "|---|---|---|---|---|",
    ]
    for name, contender in CONTENDERS.items():
        median = statistics.median(rates[name])
        memory = f"{peaks[name] / 1e9:.2f}"
        if name == "ddmkit":
            memory += f"; {result['peak_memory_more_cases'] / 1e9:.2f} with {MORE} times the cases"
        lines.append(
            f"| {contender.title} | {median:.1f} [{min(rates[name]):.1f}–{max(rates[name]):.1f}] "
            f"| {median / reference:.1f} | {memory} | {contender.how} |"
        )
    return "\n".join(lines)


def _store_table(result: dict[str, Any]) -> str:
    store, cases = result["store"], result["settings"]["cases"]
    size, source, voxels = (store[key] / cases / 1e6 for key in ("bytes", "source_bytes", "voxel_bytes"))
    build = store["build_seconds"]
    rows = {
        "size per case": f"{size:.1f} MB: {size / source:.2f} × the .nii.gz files ({source:.1f} MB), "
        f"{size / voxels:.2f} × their voxels ({voxels:.1f} MB)",
        "building, per case": f"{statistics.median(build):.2f} s [{min(build):.2f}–{max(build):.2f}] on all cores; "
        f"peak memory {store['build_peak_memory'] / 1e9:.2f} GB",
        f"opening {MORE * cases} cases that are there": f"{store['open_seconds'] * 1000:.0f} ms",
    }
    return "\n".join(["| store | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _remarks(result: dict[str, Any]) -> str:
    settings = result["settings"]
    shape, frame = ("×".join(map(str, settings[key])) for key in ("shape", "frame"))
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    return (
        f"Windows of {settings['side']}³ voxels, four contrasts and a mask, from {settings['cases']} phantom cases of "
        f"{shape} voxels padded to {frame}; every contender had {settings['workers']} threads or processes to read "
        "with, one torch thread in each, and its files in the system's cache. Memory is the proportional set size of "
        "a contender's process and its children together, in a run of its own. "
        f"Load average before: {result['load_before']:.1f}. Versions: {versions}."
    )


def _draw(rates: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    medians = {name: statistics.median(rates[name]) for name in reversed(rates)}
    spread = [
        [medians[name] - min(rates[name]) for name in medians],
        [max(rates[name]) - medians[name] for name in medians],
    ]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.add_subplot()
    colours = ["tab:blue" if name in OURS else "tab:gray" for name in medians]
    bars = axes.barh([CONTENDERS[name].title for name in medians], list(medians.values()), color=colours, xerr=spread)
    labels = [f"{median:.1f} ({median / medians['official']:.1f}×)" for median in medians.values()]
    axes.bar_label(bars, labels, padding=4)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("windows per second: median, range")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
