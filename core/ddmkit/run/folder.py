"""A run's folder: configuration, metrics, checkpoints, pictures."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from ddmkit.assembly import assemble, read_tree, write_tree
from ddmkit.errors import CheckpointError, ConfigurationError, StorageError
from ddmkit.files import whole_file, whole_folder, write_text
from ddmkit.run.packages import ENVIRONMENT, naming_packages, record_packages, recorded_packages
from ddmkit.tracker import Tracker
from ddmkit.tracking import installed, trackers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ddmkit.assembly import Tree
    from ddmkit.configuration import Configuration
    from ddmkit.registry import Registry


_SPLIT, _LEFT_OUT = "split.json", "left-out.json"
_LOGS = "logs"
_BEGINNINGS = (ENVIRONMENT, _SPLIT, _LEFT_OUT, _LOGS)
"""What a run writes before its configuration makes it one."""
_HALF_WRITTEN = ".[0-9]*-*"
"""What a killed process leaves of a file or folder that was to appear whole, see `ddmkit.files`."""


class Best(NamedTuple):
    """The best validation so far."""

    step: int
    value: float | None
    """Of the figure that the task is judged by; None where it could not be worked out."""


class State(NamedTuple):
    """What a checkpoint says beside its tensors."""

    step: int
    best: Best | None
    validated: int = 0
    """The last step that was validated."""


class RunFolder:
    """Reads and writes one run; every file appears whole or not at all.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration_file = path / "config.yaml"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.pictures = path / "pictures"
        self.logs = path / _LOGS

    def refuse_if_used(self) -> None:
        """Make sure that a new run may begin here; what a start cut short left behind is no run.

        Raises:
            ConfigurationError: the folder holds something already.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir() or any(_holds_a_run(path) for path in self.path.iterdir()):
            msg = f"{self.path} is not empty: go on with it by --resume {self.path}, or choose another --run."
            raise ConfigurationError(msg)

    def create(
        self, configuration: Configuration, split: Mapping[str, list[str]], left_out: Mapping[str, str] | None = None
    ) -> None:
        """Start a new run. `config.yaml` comes last: with it, the run can be gone on with.

        Args:
            configuration: of the run.
            split: which case is in which split.
            left_out: why cases are in none, by name.

        Raises:
            ConfigurationError: the folder holds something already.
            StorageError: it cannot be written.
        """
        self.refuse_if_used()
        write_text(self.path / ENVIRONMENT, json.dumps(environment(), indent=2) + "\n")
        write_text(self.path / _SPLIT, json.dumps(split, indent=2) + "\n")
        if left_out:
            write_text(self.path / _LEFT_OUT, json.dumps(left_out, indent=2) + "\n")
        else:  # a start cut short may have written one
            (self.path / _LEFT_OUT).unlink(missing_ok=True)
        self.write_configuration(configuration)

    def write_configuration(self, configuration: Configuration) -> None:
        """Write `config.yaml`, complete and reusable with `--config`, and first which packages it takes."""
        record_packages(self.path, configuration)
        write_text(self.configuration_file, write_tree(configuration.tree()))

    def tree(self) -> Tree:
        """Read `config.yaml` as it stands there.

        Raises:
            ConfigurationError: this is no run folder, or the file is no configuration.
        """
        if not self.configuration_file.is_file():
            msg = f"{self.path} is no run folder: it has no config.yaml. Runs are made by ddmkit train --run DIR."
            raise ConfigurationError(msg)
        return read_tree(self.configuration_file)

    def configuration(
        self,
        registry: Registry,
        *,
        over: Sequence[Tree] = (),
        names: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Configuration:
        """Build what `config.yaml` says; trackers that are not installed here are left out, with a warning.

        Args:
            registry: where components are found.
            over: trees that go over it, as in `assemble`.
            names: a component's name per kind, as in `assemble`; what it replaces need not be installed here.
            options: single settings, as in `assemble`.

        Raises:
            ConfigurationError: this is no run folder, or its configuration cannot be built here.
        """
        tree = self.tree()
        tree[Tracker.kind] = installed(registry, trackers_of(tree.get(Tracker.kind, {})), recorded_packages(self.path))
        with naming_packages(self.path, registry):
            return assemble(registry, base=[tree, *over], names=names, options=options)

    def split(self) -> dict[str, list[str]]:
        """Read which case is in which split.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        path = self.path / _SPLIT
        try:
            return {part: list(map(str, names)) for part, names in json.loads(path.read_text("utf-8")).items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            msg = f"Cannot read {path}, which says what the run was trained on: {error}."
            raise CheckpointError(msg) from error

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one line to `metrics.jsonl`.

        Raises:
            StorageError: it cannot be written.
        """
        try:
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
        except OSError as error:
            msg = f"Cannot write {self.metrics_file}: {error.strerror}. Go on later with --resume {self.path}."
            raise StorageError(msg) from error

    def metrics(self) -> list[dict[str, Any]]:
        """Read all whole lines of `metrics.jsonl`."""
        return list(self.records())

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield one line after the other, for files of millions; one cut short by a kill is passed over."""
        if not self.metrics_file.is_file():
            return
        with self.metrics_file.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue

    def forget_after(self, state: State) -> None:
        """Drop what a run that goes on from `state` does again: later steps, a validation cut short, the final test."""
        if not self.metrics_file.is_file():
            return
        with whole_file(self.metrics_file) as temporary, temporary.open("w", encoding="utf-8") as file:
            for record in self.records():
                last = state.validated if record["kind"] == "validation" else state.step
                if record["kind"] != "test" and record["step"] <= last:
                    file.write(json.dumps(record) + "\n")

    def save_checkpoint(self, state: State, save: Callable[[Path], None]) -> Path:
        """Write a checkpoint, point `last` at it and drop all but it and the best.

        Both pointers are always written, so that one that a kill left behind is put right by the next checkpoint.

        Args:
            state: the step and the best validation so far.
            save: writes the tensors into a folder.
        """
        folder = self.checkpoint(state.step)
        if self.has_checkpoint("last") and (last := self.find_checkpoint("last")) != folder:
            write_text(self.checkpoints / "previous", f"{last.name}\n")
        with whole_folder(folder) as temporary:
            save(temporary)
            (temporary / "state.json").write_text(_state_json(state), encoding="utf-8")
        self._point_at(state)
        return folder

    def take_up(self, state: State) -> None:
        """Make everything beside the checkpoint agree with it: what came after it will come again."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(_HALF_WRITTEN):
                _remove(path)
        self.forget_after(state)
        if state.step:
            self._point_at(state)

    def distrust_last(self, step: int) -> None:
        """Point `last` at the checkpoint before, if it is that of `step` and there is one before it.

        Weights are good once a loss was computed with them; those of the step before a loss that is not finite are not.
        """
        if self.has_checkpoint("previous") and self.find_checkpoint("last") == self.checkpoint(step):
            self._point_at(read_state(self.find_checkpoint("previous")))

    def update_state(self, state: State) -> None:
        """Write what a validation found into the step's checkpoint, and point `best` at it if it is the best."""
        write_text(self.checkpoint(state.step) / "state.json", _state_json(state))
        self._point_at(state)

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.checkpoints / f"step-{step:08d}"

    def find_checkpoint(self, which: str) -> Path:
        """Return the checkpoint folder that "best", "last" or a step number names.

        Raises:
            CheckpointError: it is not there.
        """
        if which.isdecimal():
            folder = self.checkpoint(int(which))
        else:
            pointer = self.checkpoints / which
            name = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
            folder = self.checkpoints / (name or which)
        if not (folder / "state.json").is_file():
            there = sorted(path.name for path in self.checkpoints.glob("step-*"))
            msg = f"{self.path} has no checkpoint {which!r}; it has {', '.join(there) or 'none yet'}."
            raise CheckpointError(msg)
        return folder

    def has_checkpoint(self, which: str) -> bool:
        """Tell whether `find_checkpoint` would find one."""
        try:
            self.find_checkpoint(which)
        except CheckpointError:
            return False
        return True

    def _point_at(self, state: State) -> None:
        """Point `last` and `best` where the state says; drop all others but the one before, half-written ones too."""
        for pointer, name in self._named(state).items():
            write_text(self.checkpoints / pointer, f"{name}\n")
        keep = set(self._named(state).values())
        if self.has_checkpoint("previous"):
            keep |= set(self._named(read_state(self.find_checkpoint("previous"))).values())
        for folder in (*self.checkpoints.glob("step-*"), *self.checkpoints.glob(_HALF_WRITTEN)):
            if folder.name not in keep:
                _remove(folder)

    def _named(self, state: State) -> dict[str, str]:
        last = {"last": self.checkpoint(state.step).name}
        return last if state.best is None else {**last, "best": self.checkpoint(state.best.step).name}


def _holds_a_run(path: Path) -> bool:
    return path.name not in _BEGINNINGS and not path.match(_HALF_WRITTEN)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _state_json(state: State) -> str:
    best = None if state.best is None else state.best._asdict()
    return json.dumps({"step": state.step, "best": best, "validated": state.validated}) + "\n"


def read_state(checkpoint: Path) -> State:
    """Read what a checkpoint says beside its tensors.

    Raises:
        CheckpointError: its `state.json` is damaged.
    """
    try:
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        best = None if state["best"] is None else Best(**state["best"])
        return State(int(state["step"]), best, int(state["validated"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"The checkpoint {checkpoint} is damaged: its state.json cannot be read ({error})."
        raise CheckpointError(msg) from error


def weights_digest(checkpoint: Path) -> str:
    """Return a name for the weights of a checkpoint, the same wherever its run lies and whatever it is called.

    Raises:
        CheckpointError: they cannot be read.
    """
    path = checkpoint / "model.safetensors"
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        msg = f"Cannot read {path}: {error.strerror}; choose another --checkpoint, or copy the run again."
        raise CheckpointError(msg) from error


def environment() -> dict[str, str]:
    """Return the versions a run depends on."""
    packages = ("ddmkit", "torch", "numpy", "nibabel", "h5py", "pydantic", "safetensors")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        **{name: version(name) for name in packages},
    }
