"""What a backbone owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

import torch

from ddmkit.backbone import DiffusionAware, Prediction
from ddmkit.errors import ConfigurationError, one_line
from ddmkit.footprint import Work
from ddmkit.randomness import normal
from ddmkit.stages import Divisible, Entrance, leave
from ddmkit.testing.promises import described, in_a_sentence, outcome, require
from ddmkit.thrift import Thrifty, ways_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from ddmkit.backbone import Backbone
    from ddmkit.window import Shape


_SIZES = (1, 2, 3), (7, 5, 6)
_LONG = (1, 2, 66), (2, 66, 1), (66, 1, 2)
"""Sizes beyond what a table of places may have been made for."""
_IN, _OUT = 3, 2
_OTHER_CHANNELS = (1, 1), (5, 1)
"""In and out, of other networks of the backbone."""
_CUTS = 8
"""About as many places of a network are tried."""
_ALPHAS_BAR = 0.995 ** torch.arange(1001, dtype=torch.float64)
"""Of the diffusion that a network is told of which asks for it."""
_TIMES = torch.tensor([1.0, 700.5])


@in_a_sentence
def check_backbone(backbone: Backbone) -> None:
    """Check shapes at awkward sizes, finite answers, gradients everywhere and weights that a seed decides.

    Each example must be answered by itself, in training too, and its inputs left as they are. The network must come in
    any number of channels, and be buildable without memory for its weights, on the device "meta". One that asks for the
    diffusion (`DiffusionAware`) may refuse predictions, but not all.

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
        _check_answers(title, network, size)
    for size in _LONG:
        _check_shape(title, network.eval(), (2, _IN, *size), _OUT)
    _check_gradients(title, network)
    _check_devices(title, backbone)
    for channels, out in _OTHER_CHANNELS:
        _check_shape(title, _seeded_network(backbone, channels, out).eval(), (2, channels, *_SIZES[0]), out)
    if isinstance(network, Thrifty):
        for size in _SIZES:
            _check_ways(title, network.eval(), normal((2, 3, *size), 0, "x").requires_grad_())
    said = f"{title} says that its network can{'' if backbone.divisible else 'not'} be cut (divisible)"
    require(isinstance(network, Divisible) == backbone.divisible, f"{said}, and builds another.")
    if isinstance(network, Divisible):
        _check_parts(title, network)


def _check_answers(title: str, network: nn.Module, size: Shape) -> None:
    """Check that a network answers in the right shape, always alike, and each example by itself."""
    x, t = normal((2, 3, *size), 0, "x"), _TIMES.clone()
    output: Tensor = network.train()(x, t)
    shape = tuple(output.shape)
    require(shape == (2, 2, *size), f"{title} maps a volume of {size} to shape {shape}.")
    require(output.dtype == torch.float32, f"{title} answers float32 with {output.dtype}.")
    require(output.isfinite().all(), f"{title} answers {size} with numbers that are not finite.")
    kept = torch.equal(x, normal((2, 3, *size), 0, "x")) and torch.equal(t, _TIMES)
    require(kept, f"{title} writes into the volume, or the times, that it is given.")
    with_another = torch.cat([x[:1], 3 + normal((1, 3, *size), 0, "another")])
    first, second = (_trained_answer(network, batch, t) for batch in (x, with_another))
    mixed = f"{title} mixes the members of a batch in training, as BatchNorm does; answer each by itself"
    require(torch.allclose(first, second, atol=1e-4), f"{mixed}, as GroupNorm does.")
    network.eval()
    with torch.no_grad():
        answer: Tensor = network(x, t)
        require(answer.isfinite().all(), f"{title} answers {size} with numbers that are not finite, in evaluation.")
        require(torch.equal(network(x, t), answer), f"{title} answers one question in two ways.")
        require(torch.allclose(network(x[:1], t[:1]), answer[:1], atol=1e-4), f"{title} mixes the members of a batch.")


def _trained_answer(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
    """Return the answer to the first example of a batch in training, what is dropped being decided by a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answer: Tensor = network.train()(x, t)
    return answer[:1].detach()


def _check_shape(title: str, network: nn.Module, given: Sequence[int], channels: int) -> None:
    with torch.no_grad():
        answer = outcome(lambda: tuple(network(normal(tuple(given), 0, "x"), _TIMES).shape))
    how = described(answer) if isinstance(answer, Exception) else f"answers in the shape {answer}"
    promised = (given[0], channels, *given[2:])
    require(answer == promised, f"{title}, given inputs of shape {tuple(given)}, {how}, where {promised} is promised.")


def _check_gradients(title: str, network: nn.Module) -> None:
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    summed = network.train()(normal((2, 3, *_SIZES[-1]), 0, "x"), _TIMES).sum()
    gradients = torch.autograd.grad(summed, list(learned.values()), allow_unused=True)
    for name, gradient in zip(learned, cast("tuple[Tensor | None, ...]", gradients), strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        require(reached, f"{title}'s {name} gets no finite gradient.")


def _check_devices(title: str, backbone: Backbone) -> None:
    """Check that a network works where it is put: on "meta", which holds shapes alone, and on a GPU if there is one."""
    for device in ("meta", *(["cuda"] if torch.cuda.is_available() else [])):
        network = _seeded_network(backbone).to(device).eval()
        x, t = normal((2, _IN, *_SIZES[-1]), 0, "x").to(device), _TIMES.to(device)
        answer = outcome(lambda: network(x, t).device.type)  # noqa: B023 - it is called at once
        told = f"{title}, taken to {device}, {described(answer)}"
        require(answer == device, f"{told}; make its tensors where its inputs are.")
    with torch.device("meta"):
        bare = outcome(lambda: _seeded_network(backbone))
    told = f"{title}, built on the device meta, where weights are shapes alone as `ddmkit plan` needs them,"
    require(not isinstance(bare, Exception), f"{told} {described(bare)}; look at no value of a weight in build.")


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


def _seeded_network(backbone: Backbone, in_channels: int = _IN, out_channels: int = _OUT) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = backbone.build(in_channels, out_channels)
    if isinstance(network, DiffusionAware):
        with torch.device("cpu"):  # though weights may be shapes alone
            _tell_of_diffusion(network, type(backbone).__qualname__)
    return network


def _tell_of_diffusion(network: DiffusionAware, title: str) -> None:
    """Tell a network of the first kind of prediction that it goes with."""
    refusals: list[str] = []
    for prediction in get_args(Prediction):
        try:
            network.set_diffusion(_ALPHAS_BAR.clone(), prediction)
        except ConfigurationError as error:
            refusals.append(one_line(error))
        else:
            return
    msg = f"{title}'s network goes with no kind of prediction: {' '.join(refusals)}"
    raise AssertionError(msg)


def _wake(network: nn.Module) -> None:
    """Move every weight a little: layers that start at zero would hide what stands before them."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(0.02 * normal(tuple(parameter.shape), 0, "wake", number))
