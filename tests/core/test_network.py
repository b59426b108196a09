"""A network that asks is told how noisy each time is and what its answers are taken for, wherever one is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Backbone, Component, ConfigurationError, DiffusionAware, Registry, hookimpl
from ddmkit.run.plan import bare_network, count_parameters
from ddmkit.run.trainer import open_session
from ddmkit.testing import check_backbone
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.backbone import Prediction
    from ddmkit.configuration import Configuration


class Knowing(nn.Module):
    """Answers with x_t's channel, the smaller the noisier it is."""

    levels: Tensor

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.last = nn.Conv3d(out_channels, out_channels, 1)
        self.register_buffer("levels", torch.empty(0), persistent=False)

    def set_diffusion(self, alphas_bar: Tensor, prediction: Prediction) -> None:
        if prediction == "v":
            msg = "The backbone 'knowing' cannot answer with v: type -o diffusion.prediction=x0."
            raise ConfigurationError(msg)
        assert alphas_bar.device.type == "cpu"
        self.levels = alphas_bar.float().to(self.levels.device)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        answer: Tensor = self.last(x[:, -self.last.in_channels :]) * self.levels[t.long()][:, None, None, None, None]
        return answer


class KnowingBackbone(Backbone):
    """A network that has to know the diffusion."""

    name: ClassVar[str] = "knowing"

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        return Knowing(out_channels)


class Networks:
    """The plugin that offers it."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [KnowingBackbone, Single]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, Networks())


def test_a_network_is_told_of_the_schedule_before_it_is_used(configured: Callable[..., Configuration]) -> None:
    configuration = configured("backbone.name=knowing", "engine.name=single", "engine.device=cpu")
    levels = configuration.schedule.alphas_bar()
    for network in (configuration.network(), bare_network(configuration)):
        assert isinstance(network, Knowing)
        assert network.levels.shape == levels.shape
    assert count_parameters(configuration) == 2
    inputs = torch.ones(1, configuration.in_channels, 3, 2, 2)
    session = open_session(configuration)
    late, early = (session.predict(inputs, torch.tensor([float(t)])) for t in (40, 4))
    assert torch.allclose(late / early, (levels[40] / levels[4]).float().expand_as(late))


def test_a_network_may_refuse_a_prediction(configured: Callable[..., Configuration]) -> None:
    with pytest.raises(ConfigurationError, match="cannot answer with v"):
        bare_network(configured("backbone.name=knowing", "diffusion.prediction=v"))


def test_the_check_tells_a_network_too() -> None:
    assert isinstance(KnowingBackbone().build(3, 2), DiffusionAware)
    check_backbone(KnowingBackbone())
