"""What a backbone owes."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from ddmkit.randomness import normal
from ddmkit.testing.promises import require

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ddmkit.backbone import Backbone


def check_backbone(backbone: Backbone) -> None:
    """Check shapes at awkward sizes, finite answers, gradients everywhere and weights that a seed decides.

    Raises:
        AssertionError: it breaks a promise.
    """
    title = type(backbone).__qualname__
    network = _seeded_network(backbone)
    again = _seeded_network(backbone).state_dict()
    for name, weight in network.state_dict().items():
        require(torch.equal(weight, again[name]), f"{title} draws {name} from elsewhere than torch's generator.")
    _wake(network)
    for size in ((1, 2, 3), (7, 5, 6)):
        x, t = normal((2, 3, *size), 0, "x"), torch.tensor([1.0, 700.5])
        output: Tensor = network.train()(x, t)
        shape = tuple(output.shape)
        require(shape == (2, 2, *size), f"{title} maps a volume of {size} to shape {shape}.")
        require(output.dtype == torch.float32, f"{title} answers float32 with {output.dtype}.")
        require(output.isfinite().all(), f"{title} answers {size} with numbers that are not finite.")
        network.eval()
        alone, together = network(x[:1], t[:1]), network(x, t)[:1]
        require(torch.allclose(alone, together, atol=1e-4), f"{title} mixes the members of a batch.")
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    gradients = torch.autograd.grad(output.sum(), list(learned.values()), allow_unused=True)
    for name, gradient in zip(learned, cast("tuple[Tensor | None, ...]", gradients), strict=True):
        reached = gradient is not None and bool(gradient.isfinite().all())
        require(reached, f"{title}'s {name} gets no finite gradient.")


def _seeded_network(backbone: Backbone) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return backbone.build(3, 2)


def _wake(network: nn.Module) -> None:
    """Move every weight a little: layers that start at zero would hide what stands before them."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.add_(0.02 * normal(tuple(parameter.shape), 0, "wake", number))
