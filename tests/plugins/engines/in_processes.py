"""What the tests of the engine `deepspeed` have done in a program of its own, whose processes end with it.

`python -m tests.plugins.engines.in_processes TASK …` writes a line of JSON for each result: [task, way, what it found].
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from ddmkit import Batch
from ddmkit.configuration import Training
from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal
from ddmkit.testing import check_engine
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.engines.deepspeed import DeepSpeed
from ddmkit_plugins.engines.distributed.engines import import_quietly
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from ddmkit import Engine, Session

TRAINING = Training(steps=20, batch_size=4, learning_rate=2e-3, warmup=3, ema=0.9, gradient_clip=1.0)
LOSS = Diffusion().loss
TWO: dict[str, Any] = {"device": "cpu", "devices": 2}
SPLITS: dict[str, dict[str, Any]] = {
    "data parallel": TWO,
    "data parallel, one by one": {**TWO, "micro_batch": 1},
    "ZeRO 1": {**TWO, "zero": 1},
    "ZeRO 2": {**TWO, "zero": 2},
    "ZeRO 3": {**TWO, "zero": 3},
    "ZeRO 2, offloaded": {**TWO, "zero": 2, "offload": True},
    "checkpointing": {**TWO, "checkpointing": True},
    "two stages": {**TWO, "stages": 2},
    "two stages, all at once": {**TWO, "stages": 2, "cuts": 3, "micro_batch": 4},
    "two stages, ZeRO 1, checkpointing": {**TWO, "stages": 2, "zero": 1, "checkpointing": True},
}
LEARNED = ("data parallel, one by one", "ZeRO 3", "two stages")
UNEVEN = ("data parallel", "ZeRO 2", "two stages, all at once")
ANSWERING = ("data parallel", "two stages")
LOWERED = ("two stages",)
CHECKED = ("ZeRO 2, offloaded", "two stages, ZeRO 1, checkpointing")
"""Of the others, ZeRO 3 takes minutes to be opened so often."""


def batch(step: int, sides: tuple[int, int, int] = (12, 10, 8), size: int = 4) -> Batch:
    """Return examples that a network of 3 channels can learn something from."""
    inputs = normal((size, 3, *sides), step, "inputs")
    times = torch.linspace(1, 1000, size)
    return Batch(inputs, times, inputs[:, :1] - 0.5 * inputs[:, 1:2])


def opened(engine: Engine, training: Training | None = TRAINING) -> Session:
    """Return a session of a small network, which is the same each time."""
    torch.manual_seed(0)
    backbone = UNet3dAverage(width=6, multipliers=(1, 2), blocks=1, groups=3)
    return engine.open(backbone.build(3, 1), training)


def learned(engine: Engine) -> dict[str, Any]:
    """Return the losses of all steps, and the weights afterwards."""
    session = opened(engine)
    losses = [session.step([batch(step)], 4, LOSS, step).loss for step in range(1, TRAINING.steps + 1)]
    return {"losses": losses, **weights(session)}


def weights(session: Session) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        session.save(Path(folder))
        files = (load_file(Path(folder) / f"{name}.safetensors") for name in ("model", "training"))
        return {name: tensors_of(state) for name, state in zip(("model", "training"), files, strict=True)}


def tensors_of(state: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    return {name: tensor.double().flatten().tolist() for name, tensor in state.items()}


def engine(split: str, **settings: Any) -> Engine:  # noqa: ANN401 - whatever a setting may be
    return Single(device="cpu", **settings) if split == "single" else DeepSpeed(**SPLITS[split], **settings)


def learn() -> None:
    """Learn with one process, then with two in different ways."""
    for split in ("single", *LEARNED):
        say("learn", split, learned(engine(split)))


def check() -> None:
    """Hold each way to what an engine owes."""
    for split in CHECKED:
        try:
            check_engine(engine(split))
        except AssertionError as error:
            say("check", split, str(error))
        else:
            say("check", split, "")


def uneven() -> None:
    """Step with examples of several sizes, not as many of each as there are rows."""
    pieces = [batch(1, size=3), batch(2, sides=(6, 5, 7), size=1)]
    for split in ("single", *UNEVEN):
        session = opened(engine(split))
        losses = [session.step(pieces, 4, LOSS, step).loss for step in (1, 2, 3)]
        say("uneven", split, {"losses": losses, **weights(session)})


def predict() -> None:
    """Evaluate one member and three, with weights that another engine saved."""
    before = opened(engine("single"))
    for step in (1, 2):
        before.step([batch(step)], 4, LOSS, step)
    with tempfile.TemporaryDirectory() as folder:
        before.save(Path(folder))
        for split in ("single", *ANSWERING):
            session = opened(engine(split), None)
            session.load(Path(folder))
            asked = batch(9, size=3)
            answers = [session.predict(asked.inputs[:size], asked.times[:size]) for size in (1, 3)]
            say("predict", split, [answer.flatten().tolist() for answer in answers])


def lower() -> None:
    """Learn in bfloat16."""
    for split in ("single", *LOWERED):
        session = opened(engine(split, precision="bfloat16"))
        say("lower", split, [session.step([batch(step)], 4, LOSS, step).loss for step in (1, 2, 3, 4)])


def say(task: str, split: str, result: object) -> None:
    print(json.dumps([task, split, result]), flush=True)  # noqa: T201 - it is what this program is for


def main() -> None:
    """Do the tasks that were named."""
    warnings.simplefilter("ignore")
    import_quietly("cpu")
    gc.freeze()  # or each session that is closed would have all that was imported looked through for garbage
    for name in sys.argv[1:]:
        {"learn": learn, "check": check, "uneven": uneven, "predict": predict, "lower": lower}[name]()


if __name__ == "__main__":
    main()
