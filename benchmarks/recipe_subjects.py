"""Subjects of `benchmarks.recipe`: a run trained for some steps, a supervised network likewise, and their scores."""

from __future__ import annotations

import itertools
import math
import statistics
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from monai.losses.dice import DiceCELoss
from monai.networks.nets.dynunet import DynUNet

from ddmkit import Registry, Window
from ddmkit.measures import dice
from ddmkit.run.batches import Batches
from ddmkit.run.folder import RunFolder
from ddmkit.run.plan import make_plan
from ddmkit.run.trainer import open_cases, open_session
from ddmkit.run.validation import scored_mask
from ddmkit.sampling import Model, answer_case, given_inputs, sample_members
from ddmkit.task import label_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

_PROBE = 12
"""Steps whose median time says how many there is time for, less the first ones."""
_WARM = 2
"""First steps, in which libraries choose their ways."""
_FILTERS = (16, 32, 64, 128)
"""Channels of the supervised network's levels: 1.4 million parameters, where the preset's has 1.0."""
_RATE = 1e-3
"""Of the supervised network's AdamW, falling along a cosine."""


class Spent(NamedTuple):
    """What a training took."""

    steps: int
    seconds: float
    """Of the steps, waiting for data included; neither validation nor checkpoints."""


def probe(words: Sequence[str], folder: Path) -> float:
    """Return seconds that a step of `ddmkit train` takes, a median over a few into `folder`/run."""
    train([*words, "-o", "sampler.steps=1"], _PROBE, folder)  # what follows the steps is of no interest
    return statistics.median(_seconds(folder / "run")[_WARM:])


def train(words: Sequence[str], steps: int, folder: Path) -> Spent:
    """Train by the command line into `folder`/run."""
    rest = ["validation.cases=1", "validation.test=false", "validation.every=1000000", "validation.picture_members=1"]
    rest += ["training.checkpoint_every=1000000", f"training.steps={steps}"]
    options = [word for option in rest for word in ("-o", option)]
    ddmkit("train", *words, *options, "--run", folder / "run")
    return Spent(steps, sum(_seconds(folder / "run")))


def ddmkit(*words: str | Path) -> None:
    """Run a command, and end this program where it fails: it has said why."""
    command = [sys.executable, "-m", "ddmkit_cli", *map(str, words)]
    if status := subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(status)


def _seconds(run: Path) -> list[float]:
    return [record["seconds"] for record in RunFolder(run).records() if record["kind"] == "step"]


def opened(run: Path) -> tuple[Model, dict[str, list[StoredCase]]]:
    """Return a run's network, as its last checkpoint has it, and its cases."""
    folder = RunFolder(run)
    configuration = folder.configuration(Registry())
    assert configuration.data is not None  # noqa: S101 - a run's configuration names its data
    cases = open_cases(configuration, make_plan(configuration, configuration.data, folder.split()), lambda *_: None)
    return Model(configuration, open_session(configuration, folder.find_checkpoint("last"))), cases.splits


def with_tumour(configuration: Configuration, cases: Sequence[StoredCase]) -> list[bool]:
    """Return of each case whether there is anything to find."""
    masks = (scored_mask(configuration, case) for case in cases)
    return [mask is not None and bool(mask.any()) for mask in masks]


def whole(model: Model, cases: Sequence[StoredCase], steps: int) -> list[float]:
    """Return the Dice of one sample of each whole volume."""
    model = _with_steps(model, steps)
    answers = (answer_case(model, case, ensemble=1, seed=0).labels for case in cases)
    return [_dice(model.configuration, case, answer) for answer, case in zip(answers, cases, strict=True)]


def window_by_window(model: Model, cases: Sequence[StoredCase], steps: int) -> list[float]:
    """Return the Dice of volumes that are sampled window by window, in the size of training, side by side.

    All windows of a case start from the same noise.
    """
    model = _with_steps(model, steps)
    return [_dice(model.configuration, case, case.leave(_tiled(model, case))) for case in cases]


def _dice(configuration: Configuration, case: StoredCase, answer: NDArray[Any]) -> float:
    """Return the Dice of an answer on the case's own grid, shape (X, Y, Z), 0 where it marks nothing."""
    reference = scored_mask(configuration, case)
    assert reference is not None  # noqa: S101 - all cases of a split have references
    return dice(answer > 0, reference)


def _with_steps(model: Model, steps: int) -> Model:
    sampler = model.configuration.sampler.model_copy(update={"steps": steps})
    return Model(model.configuration.model_copy(update={"sampler": sampler}), model.session)


def _tiled(model: Model, case: StoredCase) -> NDArray[np.bool_]:
    configuration, region = model.configuration, case.region
    size = configuration.patch.size(region.size)
    answer = np.zeros(region.size, bool)
    for start in tiles(region.size, size):
        window = Window(start, size, region.size)
        inputs = given_inputs(model, case.read(window.within(region)), 1)
        x0 = sample_members(model, inputs, case.name, range(1), seed=0)
        answer[window.slices] = (
            label_task(configuration.task).answer(configuration.task.readout(x0)[0].cpu()).numpy() > 0
        )
    return answer


def tiles(frame: tuple[int, int, int], size: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return starts of windows that cover a volume side by side; the last ones overlap where they do not fit."""
    axes = [
        sorted({min(start, whole - side) for start in range(0, whole, side)})
        for whole, side in zip(frame, size, strict=True)
    ]
    return [(x, y, z) for x, y, z in itertools.product(*axes)]


class Supervised(NamedTuple):
    """What became of the supervised network."""

    spent: Spent
    whole: list[float]
    """Dice of whole volumes in one evaluation."""
    windows: list[float]
    """Dice of volumes by sliding windows that overlap by half, as nnU-Net does."""


def probe_supervised(model: Model, cases: dict[str, list[StoredCase]]) -> float:
    """Return seconds that a step of the supervised network takes, a median over a few; arguments as `supervise`."""
    return statistics.median(_learned(model, cases["train"], _PROBE, 0).seconds[_WARM:])


def supervise(model: Model, cases: dict[str, list[StoredCase]], steps: int, seed: int) -> Supervised:
    """Train MONAI's DynUNet on the windows that a run trains on.

    Args:
        model: of a run that predicts x_0, one mask; its weights are not looked at.
        cases: of that run, by split.
        steps: how many.
        seed: of the weights.
    """
    learned = _learned(model, cases["train"], steps, seed)
    scores = [_supervised_scores(learned.module, model, case) for case in cases["test"]]
    whole_dice, window_dice = map(list, zip(*scores, strict=True))
    return Supervised(Spent(steps, sum(learned.seconds)), whole_dice, window_dice)


class _Learned(NamedTuple):
    module: nn.Module
    seconds: list[float]
    """That each step took, waiting for data included."""


def _learned(model: Model, cases: Sequence[StoredCase], steps: int, seed: int) -> _Learned:
    """Train on the device that the run trained on."""
    configuration, device = model.configuration, model.session.device
    torch.manual_seed(seed)
    images = configuration.task.condition_channels
    network = DynUNet(
        3,
        images,
        1,
        kernel_size=[3] * len(_FILTERS),
        strides=[1, *[2] * (len(_FILTERS) - 1)],
        upsample_kernel_size=[2] * (len(_FILTERS) - 1),
        filters=list(_FILTERS),
        norm_name=("INSTANCE", {"affine": True}),
    ).to(device)
    loss = DiceCELoss(sigmoid=True)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE)
    seconds = []
    with closing(Batches(configuration, cases).ahead(1, steps)) as ahead:
        started = time.perf_counter()
        for step, batches in ahead:
            for group in optimizer.param_groups:
                group["lr"] = _RATE * min(1, step / 20) * (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.zero_grad()
            for batch in batches:
                answer = network(batch.inputs[:, :images].to(device))
                loss(answer, configuration.task.readout(batch.target).to(device)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 12)  # nnU-Net's
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(-started + (started := time.perf_counter()))
    return _Learned(network.eval(), seconds)


@torch.no_grad()
def _supervised_scores(network: nn.Module, model: Model, case: StoredCase) -> tuple[float, float]:
    """Return the Dice of the answer in one evaluation, and of that by sliding windows."""
    configuration = model.configuration
    size = configuration.patch.size(case.region.size)
    images: Tensor = configuration.task.condition(case.read(case.whole()))[None].to(model.session.device)
    at_once: Tensor = network(images)
    sliding = sliding_window_inference(images, size, 2, network, overlap=0.5, mode="gaussian")
    assert isinstance(sliding, torch.Tensor)  # noqa: S101 - of one answer, not of several
    one, other = (_dice(configuration, case, case.leave((way[0, 0] > 0).cpu().numpy())) for way in (at_once, sliding))
    return one, other
