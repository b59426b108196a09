"""What a backbone owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ddmkit.backbone import DiffusionAware
from ddmkit.footprint import Work
from ddmkit.randomness import normal
from ddmkit.stages import Divisible, Entrance, leave
from ddmkit.testing.promises import described, outcome, require
from ddmkit.thrift import Thrifty, ways_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddmkit.backbone import Backbone


_SIZES = (1, 2, 3), (7, 5, 6)
_IN, _OUT = 3, 2
_CUTS = 8
"""About as many places of a network are tried."""
_ALPHAS_BAR = 0.995 ** torch.arange(1001, dtype=torch.float64)
"""Of the diffusion that a network is told of which asks for it."""
_TIMES = torch.tensor([1.0, 700.5])


def check_backbone(backbone: Backbone) -> None:
    """Check shapes at awkward sizes, finite answers, gradients everywhere and weights that a seed decides.

    Of a network with several ways (`ddmkit.thrift`), check that all of them are the function of its plain forward; of
    one that can be cut (`ddmkit.stages`), that its parts are.

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
        require(torch.equal(network(x, t), network(x, t)), f"{title} answers one question in two ways.")
        alone, together = network(x[:1], t[:1]), network(x, t)[:1]
        require(torch.allclose(alone, together, atol=1e-4), f"{title} mixes the members of a batch.")
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    summed = network.train()(normal((2, 3, *_SIZES[-1]), 0, "x"), _TIMES).sum()
    gradients = torch.autograd.grad(summed, list(learned.values()), allow_unused=True)
    for name, gradient in zip(learned, cast("tuple[Tensor | None, ...]", gradients), strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        require(reached, f"{title}'s {name} gets no finite gradient.")
    _check_devices(title, backbone)
    if isinstance(network, Thrifty):
        for size in _SIZES:
            _check_ways(title, network.eval(), normal((2, 3, *size), 0, "x").requires_grad_())
    said = f"{title} says that its network can{'' if backbone.divisible else 'not'} be cut (divisible)"
    require(isinstance(network, Divisible) == backbone.divisible, f"{said}, and builds another.")
    if isinstance(network, Divisible):
        _check_parts(title, network)


def _check_devices(title: str, backbone: Backbone) -> None:
    """Check that a network works where it is put: on "meta", which holds shapes alone, and on a GPU if there is one."""
    for device in ("meta", *(["cuda"] if torch.cuda.is_available() else [])):
        network = _seeded_network(backbone).to(device).eval()
        x, t = normal((2, _IN, *_SIZES[-1]), 0, "x").to(device), _TIMES.to(device)
        answer = outcome(lambda: network(x, t).device.type)  # noqa: B023 - it is called at once
        told = f"{title}, taken to {device}, {described(answer)}"
        require(answer == device, f"{told}; make its tensors where its inputs are.")


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


def _check_parts(title: str, network: nn.Module) -> None:
    """Check that the network's layers have its weights, and that it answers and learns alike wherever it is cut."""
    assert isinstance(network, Divisible)  # noqa: S101 - as the caller found
    layers = [network.part(range(layer, layer + 1)) for layer in range(network.depth())]
    names = [name for layer in layers for name in layer.state_dict()]
    require(
        sorted(names) == sorted(network.state_dict()), f"{title}'s layers do not share out its weights by its names."
    )
    channels = network.in_channels
    require(channels == _IN, f"{title} has in_channels={channels}, and was built for {_IN}.")
    x = normal((2, 3, *_SIZES[-1]), 0, "x")
    ways: list[tuple[str, ...]] = [()]
    if isinstance(network, Thrifty):
        ways += [(way,) for way in network.ways(Work(tuple(x.shape), torch.float32, training=True), x.device)]
    for way in ways:
        plain, slopes = _learned(network, x.requires_grad_(), *way)
        steepest = max(float(slope.abs().max()) for slope in slopes.values())
        depth = network.depth()
        for place in range(1, depth, max(1, depth // _CUTS)) if not way else range(depth // 2, depth // 2 + 1):
            said = f"{title}, cut before layer {place}{''.join(f' and gone through by {name!r}' for name in way)},"
            answer, found = _learned_in_two(network, place, x, *way)
            require(torch.allclose(answer, plain, rtol=1e-4, atol=1e-4), f"{said} answers otherwise than in one.")
            for name, slope in found.items():
                close = torch.allclose(slope, slopes[name], rtol=0, atol=1e-3 * steepest)
                require(close, f"{said} has another gradient in {name} than in one.")


def _learned_in_two(network: nn.Module, place: int, x: Tensor, *way: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what `_learned` does of a network that is cut, but for the gradient in the inputs."""
    assert isinstance(network, Divisible)  # noqa: S101 - as the caller found
    first, second = (network.part(layers) for layers in (range(place), range(place, network.depth())))
    network.zero_grad()
    entrance = Entrance()
    between = first((x.detach(), _TIMES), *way)
    (answer,) = second(entrance(tuple(tensor.detach().clone() for tensor in between)), *way)
    (answer * normal(tuple(answer.shape), 0, "noise")).sum().backward()
    gradients = {index: entrance.gradients.get(index, torch.zeros_like(tensor)) for index, tensor in enumerate(between)}
    leave(between, gradients.pop).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    found = {name: torch.zeros_like(weight) if weight.grad is None else weight.grad for name, weight in learned.items()}
    network.zero_grad()
    return answer.detach(), found


def _seeded_network(backbone: Backbone) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = backbone.build(_IN, _OUT)
    if isinstance(network, DiffusionAware):
        network.set_diffusion(_ALPHAS_BAR, "x0")
    return network


def _wake(network: nn.Module) -> None:
    """Move every weight a little: layers that start at zero would hide what stands before them."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(0.02 * normal(tuple(parameter.shape), 0, "wake", number))
