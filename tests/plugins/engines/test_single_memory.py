"""One device: what fits into its memory, and the ways of a network that needs less of it."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch
from pydantic import ValidationError
from tests.plugins.engines.stepping import LOSS, Network, open_cpu, parts, training, weights
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Batch, DeviceError
from ddmkit.memory import used
from ddmkit.randomness import normal
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from ddmkit import Backbone
    from ddmkit.footprint import Work


pytestmark = pytest.mark.usefixtures("bfloat16_is_trained")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_peak_memory_is_the_most_that_the_process_ever_had(network: Network) -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    assert open_cpu(network).peak_memory() == pytest.approx(1024 * int(kibibytes), rel=0.02)


class Copying(nn.Module):
    """A network with two ways: one that makes eight copies of a volume on its way, and one that makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.went: list[str] = []

    def ways(self, work: Work, device: torch.device) -> tuple[str, str]:
        del work, device
        return "wide", "narrow"

    @override
    def forward(self, x: Tensor, t: Tensor, way: str = "plain") -> Tensor:
        if not x.is_meta:
            self.went.append(way)
        return torch.stack([x] * 8).mean(0) * self.weight if way == "wide" else x * self.weight


VOLUME = (1, 1, 50, 100, 500)
"""Ten megabytes in float32."""


def allowed(megabytes: float) -> str:
    """Return the setting by which a process may use so many more than it does."""
    return f"{used(torch.device('cpu')) / 1e6 + megabytes:.0f}MB"


@pytest.mark.parametrize(("megabytes", "way"), [(200, "wide"), (60, "narrow")])
def test_the_memory_allowed_decides_which_way_a_network_goes(megabytes: float, way: str) -> None:
    network = Copying()
    session = open_cpu(network, memory=allowed(megabytes))
    assert torch.equal(session.predict(torch.ones(VOLUME), torch.ones(1)), torch.ones(VOLUME))
    assert network.went == [way]


def test_as_many_examples_go_at_once_as_the_memory_allows() -> None:
    """One makes ten volumes of ten megabytes; two fit into 250 MB."""
    session = open_cpu(Copying(), memory=allowed(250))
    assert session.members_at_once(VOLUME[1:], 5, 0) == 2
    x = torch.ones(2, *VOLUME[1:])
    assert torch.equal(session.predict(x, torch.ones(2)), x)


def test_too_little_memory_is_refused_and_the_least_that_is_named_is_enough() -> None:
    x, t = torch.ones(VOLUME), torch.ones(1)
    with pytest.raises(DeviceError) as caught:
        open_cpu(Copying(), memory="1MB").predict(x, t)
    told = re.match(
        r"engine\.memory=1MB is too little: an evaluation on 50×100×500 voxels needs at least ([\d.]+[MG]B)\. "
        r"Type -o engine\.memory=\1, or ",
        str(caught.value),
    )
    assert told is not None
    open_cpu(network := Copying(), memory=told[1]).predict(x, t)
    assert network.went == ["narrow"]


class Large(nn.Module):
    """Twenty megabytes of weights, and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(5_000_000))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.weights[:1]


def test_a_step_leaves_room_for_the_moments_that_it_makes() -> None:
    x = torch.ones(1, 1, 2, 2, 2)
    # Twenty megabytes of gradients fit, but not forty of moments beside them.
    with pytest.raises(DeviceError, match=r"a training step on 2×2×2 voxels needs at least"):
        open_cpu(Large(), training(), memory=allowed(45)).step([Batch(x, torch.ones(1), x)], 1, LOSS, 1)
    roomy = open_cpu(Large(), training(), memory=allowed(150))
    assert math.isfinite(roomy.step([Batch(x, torch.ones(1), x)], 1, LOSS, 1).loss)


@pytest.mark.parametrize("memory", ["abc", "16", 16, "-1GB", ""])
def test_a_limit_that_is_no_size_is_refused_with_an_example_of_one(memory: object) -> None:
    with pytest.raises(ValidationError, match="is no size such as 16GB or 900MB"):
        Single.model_validate({"memory": memory})


class Trained(NamedTuple):
    """What five steps and an answer came to."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]
    answer: Tensor


def five_steps(backbone: Backbone, way: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Trained:
    """Train the same network on the same batches, whatever way it goes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = backbone.build(2, 1)
    monkeypatch.setattr(type(network), "ways", lambda *_: (way,))
    session = open_cpu(network, training(learning_rate=1e-3, ema=0.9, gradient_clip=1.0), **settings)
    sides = (9, 8, 7)
    results = []
    for step in range(1, 6):
        x, target = (normal((2, channels, *sides), 0, what, step) for what, channels in (("x", 2), ("target", 1)))
        whole = Batch(x, torch.tensor([3.0, 700.0]), target + x[:, :1])
        results.append(session.step(parts(whole, [1, 1]) if step % 2 else [whole], 2, LOSS, step))
    answer = session.predict(normal((1, 2, *sides), 0, "new"), torch.tensor([500.0]))
    return Trained([one.loss for one in results], [one.gradient_norm for one in results], weights(network), answer)


@pytest.mark.parametrize("way", ["slabs", "recompute"])
@pytest.mark.parametrize(
    ("merged", "normalization"), [(UNet3dAverage, {"groups": 3}), (UNet3dConcat, {"normalization": "channel"})]
)
def test_training_goes_the_same_way_down_whatever_way_the_network_goes(
    merged: type[Backbone], normalization: dict[str, object], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = merged.model_validate({"width": 6, "multipliers": (1, 2), "blocks": 1, **normalization})
    plain, lean = (five_steps(backbone, one, monkeypatch) for one in ("plain", way))
    assert plain.losses[-1] < plain.losses[0]
    assert lean.losses == pytest.approx(plain.losses, rel=1e-5)
    assert lean.norms == pytest.approx(plain.norms, rel=1e-4)
    for name, weight in lean.weights.items():
        assert torch.allclose(weight, plain.weights[name], rtol=0, atol=1e-5), name
    assert torch.allclose(lean.answer, plain.answer, rtol=0, atol=1e-5)
