"""What the tests of one device do steps with: a small network, batches, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Batch
from ddmkit.configuration import Training
from ddmkit.diffusion import Diffusion
from ddmkit.randomness import normal
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from ddmkit import Session


LOSS = Diffusion().loss


class Network(nn.Module):
    """A convolution, a part that is never learned, and a running mean that only training moves."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3, padding=1)
        self.last = nn.Conv3d(4, 1, 1)
        self.fixed = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        answer: Tensor = self.last(torch.tanh(self.first(x) + self.fixed * t.reshape(-1, 1, 1, 1, 1) / 100))
        return answer


def make_network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network()


def batch(step: int, size: int = 4) -> Batch:
    x, target = (normal((size, channels, 4, 5, 6), 0, what, step) for what, channels in (("x", 2), ("target", 1)))
    return Batch(x, torch.arange(1.0, size + 1), target)


def parts(whole: Batch, sizes: list[int]) -> list[Batch]:
    return [Batch(*pieces) for pieces in zip(*(torch.split(tensor, sizes) for tensor in whole), strict=True)]


def training(**settings: object) -> Training:
    return Training.model_validate({"steps": 100, "learning_rate": 0.01, **settings})


def open_cpu(network: nn.Module, learn: Training | None = None, **settings: object) -> Session:
    return Single.model_validate({"device": "cpu", **settings}).open(network, learn)


def do_steps(session: Session, first: int, last: int) -> list[float]:
    return [session.step([batch(step)], 4, LOSS, step).loss for step in range(first, last + 1)]


def gradients(network: nn.Module, given: Batch) -> dict[str, Tensor]:
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    loss = (network(given.inputs, given.times) - given.target).square().mean()
    return dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters() if weight.requires_grad}


def saved(session: Session, folder: Path) -> dict[str, Tensor]:
    folder.mkdir()
    session.save(folder)
    return {path.name + ":" + name: tensor for path in folder.iterdir() for name, tensor in load_file(path).items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
