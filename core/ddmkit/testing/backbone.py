"""What a backbone owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ddmkit.footprint import Work
from ddmkit.randomness import normal
from ddmkit.testing.promises import require
from ddmkit.thrift import Thrifty, ways_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddmkit.backbone import Backbone


_SIZES = (1, 2, 3), (7, 5, 6)
_TIMES = torch.tensor([1.0, 700.5])


def check_backbone(backbone: Backbone) -> None:
    """Check shapes at awkward sizes, finite answers, gradients everywhere and weights that a seed decides.

    Of a network with several ways (`ddmkit.thrift`), check that all of them are the function of its plain forward.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(backbone).__qualname__
    network = _seeded_network(backbone)
    again = _seeded_network(backbone).state_dict()
    for name, weight in network.state_dict().items():
        require(torch.equal(weight, again[name]), f"{title} draws {name} from elsewhere than torch's generator.")
    _wake(network)
    for size in _SIZES:
        x, t = normal((2, 3, *size), 0, "x"), _TIMES
        output: Tensor = network.train()(x, t)
        shape = tuple(output.shape)
        require(shape == (2, 2, *size), f"{title} maps a volume of {size} to shape {shape}.")
        require(output.dtype == torch.float32, f"{title} answers float32 with {output.dtype}.")
        require(output.isfinite().all(), f"{title} answers {size} with numbers that are not finite.")
        network.eval()
        alone, together = network(x[:1], t[:1]), network(x, t)[:1]
        require(torch.allclose(alone, together, atol=1e-4), f"{title} mixes the members of a batch.")
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    summed = network.train()(normal((2, 3, *_SIZES[-1]), 0, "x"), _TIMES).sum()
    gradients = torch.autograd.grad(summed, list(learned.values()), allow_unused=True)
    for name, gradient in zip(learned, cast("tuple[Tensor | None, ...]", gradients), strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        require(reached, f"{title}'s {name} gets no finite gradient.")
    if isinstance(network, Thrifty):
        for size in _SIZES:
            _check_ways(title, network.eval(), normal((2, 3, *size), 0, "x").requires_grad_())


def _check_ways(title: str, network: nn.Module, x: Tensor) -> None:
    """Check that every way is the function of the plain forward, and learns as it does where it may be trained."""
    plain, slopes = _learned(network, x)
    steepest = max(float(slope.abs().max()) for slope in slopes.values())
    for training in (False, True):
        ways = ways_of(network, Work(tuple(x.shape), torch.float32, training), x.device)
        require(ways, f"{title} names no way for inputs of shape {tuple(x.shape)}.")
        for way in dict.fromkeys(["plain", *map(str, ways)]):
            said = f"{title}'s way {way!r}"
            with torch.set_grad_enabled(training):
                answer: Tensor = network(x, _TIMES, way)
            shape = tuple(answer.shape)
            require(shape == plain.shape, f"{said} maps inputs of shape {tuple(x.shape)} to shape {shape}.")
            require(answer.dtype == plain.dtype, f"{said} answers float32 with {answer.dtype}.")
            otherwise = f"answers inputs of shape {tuple(x.shape)} otherwise than its plain forward"
            require(torch.allclose(answer, plain, rtol=1e-4, atol=1e-4), f"{said} {otherwise}.")
            if training:
                require(answer.requires_grad, f"{said} {otherwise}: without gradients.")
                for name, gradient in _learned(network, x, way)[1].items():
                    close = torch.allclose(gradient, slopes[name], rtol=0, atol=1e-3 * steepest)
                    require(close, f"{said} has another gradient in {name} than its plain forward.")


def _learned(network: nn.Module, x: Tensor, *way: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the answer, and the gradients of its product with noise: in the inputs, and in the weights by name."""
    answer: Tensor = network(x, _TIMES, *way)
    noise = normal(tuple(answer.shape), 0, "noise")
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    sources = {"its inputs": x, **learned}
    gradients = torch.autograd.grad((answer * noise).sum(), list(sources.values()), materialize_grads=True)
    return answer.detach(), dict(zip(sources, gradients, strict=True))


def _seeded_network(backbone: Backbone) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return backbone.build(3, 2)


def _wake(network: nn.Module) -> None:
    """Move every weight a little: layers that start at zero would hide what stands before them."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(0.02 * normal(tuple(parameter.shape), 0, "wake", number))
