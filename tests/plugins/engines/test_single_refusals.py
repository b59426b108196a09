"""One device: what is not finite, does not fit or is not there ends in one sentence."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tests.plugins.engines.stepping import (
    LOSS,
    Network,
    batch,
    do_steps,
    equal,
    make_network,
    open_cpu,
    parts,
    saved,
    training,
    weights,
)
from torch import Tensor

from ddmkit import CheckpointError, DeviceError, DivergedError
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("bfloat16_is_trained")


def nan_loss(output: Tensor, target: Tensor) -> Tensor:
    return LOSS(output, target) * math.nan


def infinite_gradient(output: Tensor, target: Tensor) -> Tensor:
    return (0 * LOSS(output, target)).sqrt()


@pytest.mark.parametrize(("loss", "what"), [(nan_loss, "loss is nan"), (infinite_gradient, "gradient's norm is nan")])
def test_what_is_not_finite_ends_the_run_with_its_step_and_leaves_the_weights(
    network: Network, loss: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    session = open_cpu(network, training(ema=0.9))
    do_steps(session, 1, 2)
    before = weights(network)
    with pytest.raises(DivergedError, match=rf"^The {what} at step 3: lower training.learning_rate"):
        session.step([batch(3)], 4, loss, 3)
    assert equal(weights(network), before)


def test_a_session_goes_on_after_a_step_that_failed_as_if_it_had_not_been(tmp_path: Path) -> None:
    sessions = open_cpu(make_network(), training()), open_cpu(make_network(), training())
    with pytest.raises(DivergedError):
        sessions[0].step(parts(batch(1), [2, 2]), 4, next_is_nan(), 1)
    for session in sessions:
        do_steps(session, 1, 2)
    states = [saved(session, tmp_path / str(number)) for number, session in enumerate(sessions)]
    for state in states:
        state.pop("model.safetensors:seen")  # counts every pass
    assert equal(*states)


def next_is_nan() -> Callable[[Tensor, Tensor], Tensor]:
    calls = count()
    return lambda output, target: LOSS(output, target) * (math.nan if next(calls) else 1)


def test_a_checkpoint_of_another_network_names_the_tensor_and_both_shapes(network: Network, tmp_path: Path) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    state = saved(session, tmp_path / "a")
    model = {
        name.removeprefix("model.safetensors:"): value for name, value in state.items() if name.startswith("model")
    }
    for change, said in (
        ({"first.bias": torch.zeros(7)}, r"its first.bias is 7, the configured network's is 4\."),
        ({"other.bias": torch.zeros(())}, r"its other.bias is a number, the configured network's is absent\."),
    ):
        save_file({**model, **change}, tmp_path / "a" / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"belongs to another configuration: {said} Use the config.yaml"):
            open_cpu(Network()).load(tmp_path / "a")
    save_file(
        {name: value for name, value in model.items() if name != "last.bias"}, tmp_path / "a" / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"its last.bias is absent"):
        open_cpu(Network()).load(tmp_path / "a")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_missing_or_damaged_checkpoint_is_one_sentence(network: Network, tmp_path: Path, name: str) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    saved(session, tmp_path / "a")
    content = (tmp_path / "a" / name).read_bytes()
    for damage in (b"", content[:20], content[:-3]):
        (tmp_path / "a" / name).write_bytes(damage)
        with pytest.raises(CheckpointError, match=rf"Cannot read the checkpoint file .*{name}"):
            open_cpu(Network(), training()).load(tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"Cannot read the checkpoint file .*{name}"):
        open_cpu(Network(), training()).load(tmp_path / "a")


def test_a_checkpoint_without_moments_is_refused(network: Network, tmp_path: Path) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    saved(session, tmp_path / "a")
    save_file({"step": torch.tensor(1.0)}, tmp_path / "a" / "training.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks AdamW's moments of first.weight"):
        open_cpu(Network(), training()).load(tmp_path / "a")


def test_a_gpu_that_is_not_there_is_said_with_what_to_type() -> None:
    with pytest.raises(
        DeviceError, match=r"^The device cuda:99 is not there: .* Type -o engine.device=cpu, or auto\.$"
    ):
        Single(device="cuda:99").open(Network())


def test_a_device_without_a_name_that_torch_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        Single(device="gpu")


LITTLE_MEMORY = """
    import resource, sys
    from pathlib import Path
    import torch
    from ddmkit import DdmkitError
    from ddmkit_plugins.engines.single import Single

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = torch.nn.Conv3d(1, 512, 1)
        def forward(self, x, t):
            return self.wide(x)

    session = Single(device="cpu").open(Network())
    session.predict(torch.zeros(1, 1, 4, 4, 4), torch.ones(1))
    x = torch.zeros(1, 1, 64, 64, 64)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    try:
        session.predict(x, torch.ones(1))
    except DdmkitError as error:
        print(type(error).__name__, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        session.save(Path(sys.argv[1]))
    except DdmkitError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits and /proc are Linux's")
def test_memory_and_disk_that_do_not_suffice_are_one_sentence_each(tmp_path: Path) -> None:
    command = [sys.executable, "-c", dedent(LITTLE_MEMORY), str(tmp_path)]
    ran: Any = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, disk = ran.stdout.splitlines()
    # Where memory is out, there is none to work out what would fit either.
    assert memory.startswith("OutOfMemoryError The memory of cpu does not suffice: ask ddmkit plan")
    assert disk.startswith(f"StorageError Cannot write {tmp_path / 'model.safetensors'}")
