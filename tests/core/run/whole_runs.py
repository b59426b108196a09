"""Whole runs on five small cases, how they are stopped, and whether two are the same."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import load_file

from ddmkit import Registry, hookimpl
from ddmkit.run.folder import RunFolder, read_state
from ddmkit.run.plan import make_plan
from ddmkit.run.trainer import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration
    from ddmkit.events import Report, StepDone

    Configured = Callable[..., Configuration]

SMALL = (
    "engine.name=single",
    "engine.device=cpu",
    "training.steps=8",
    "training.batch_size=2",
    "training.learning_rate=1e-2",
    "training.checkpoint_every=2",
    "validation.every=4",
    "validation.picture_members=2",
    "diffusion.prediction=x0",
    "split.validation=0.4",
    "split.test=0.2",
)
EXACT = {
    "kind",
    "step",
    "loss",
    "gradient_norm",
    "learning_rate",
    "split",
    "scores",
    "summary",
    "scoring",
    "definition",
    "best",
}
"""What a line of metrics says that is no time and no memory."""


class Runs(NamedTuple):
    """Makes runs on five small cases: two are trained on, two validated, one is kept for the test."""

    registry: Registry
    configured: Configured
    data: Path
    root: Path

    def start(self, name: str, *options: str, **arguments: Any) -> tuple[RunFolder, Report]:  # noqa: ANN401 - train's
        folder = self.folder(name)
        configuration = self.configured(*SMALL, *options)
        return folder, self.train(folder, configuration, **arguments)

    def resume(self, name: str, *options: str, **arguments: Any) -> tuple[RunFolder, Report]:  # noqa: ANN401 - train's
        folder = self.folder(name)
        return folder, self.train(folder, self.configured(*SMALL, *options), resume=True, **arguments)

    def train(
        self,
        folder: RunFolder,
        configuration: Configuration,
        *,
        resume: bool = False,
        skip_bad: bool = False,
        **arguments: Any,  # noqa: ANN401 - train's
    ) -> Report:
        plan = make_plan(configuration, self.data, folder.split() if resume else None, skip_bad=skip_bad)
        return train(self.registry, configuration, plan, folder, resume=resume, skip_bad=skip_bad, **arguments)

    def folder(self, name: str) -> RunFolder:
        return RunFolder(self.root / name)


def tensors(folder: RunFolder, which: str = "last") -> dict[str, torch.Tensor]:
    files = folder.find_checkpoint(which).glob("*.safetensors")
    return {f"{path.stem}:{name}": tensor for path in files for name, tensor in load_file(path).items()}


def exact(folder: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key in EXACT} for line in folder.metrics()]


def losses(folder: RunFolder) -> list[float]:
    return [line["loss"] for line in folder.metrics() if line["kind"] == "step"]


def assert_same(one: RunFolder, other: RunFolder) -> None:
    assert exact(one) == exact(other)
    for which in ("last", "best"):
        assert one.find_checkpoint(which).name == other.find_checkpoint(which).name
        assert read_state(one.find_checkpoint(which)) == read_state(other.find_checkpoint(which))
        ours, theirs = tensors(one, which), tensors(other, which)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


class StopAt:
    """Does something once, after a step is recorded and before it is saved."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self._step: int | None = step
        self._act = act

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        if step.step == self._step:
            self._step = None
            self._act()


def ask_to_stop() -> None:
    signal.raise_signal(signal.SIGINT)


class KilledError(BaseException):
    """Passes everything that a run does about an error, as a kill would."""


def kill() -> None:
    raise KilledError
