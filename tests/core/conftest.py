"""A small installation of hand-made components: the core needs no first-party plugin."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import (
    Backbone,
    Case,
    Component,
    ConfigurationError,
    Dataset,
    Denoise,
    Draw,
    Encoding,
    Engine,
    Example,
    Image,
    LabelTask,
    Patch,
    Registry,
    Sampler,
    Schedule,
    Session,
    Shape,
    Survey,
    Window,
    hookimpl,
)
from ddmkit.assembly import assemble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from ddmkit.configuration import Configuration, Training

TREE: dict[str, Any] = {
    "task": "foreground",
    "dataset": "folders",
    "backbone": {"name": "tiny", "width": 4},
    "schedule": "geometric",
    "sampler": {"name": "straight", "steps": 3},
    "patch": "box",
    "encoding": "height",
    "engine": "still",
    "preprocessing": {"frame": "native", "orientation": None},
}


LABELS = {1: "core", 2: "edema", 4: "enhancing"}


class Foreground(LabelTask):
    """Find everything that is labelled."""

    name: ClassVar[str] = "foreground"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("foreground",)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {"foreground": frozenset({"core", "edema", "enhancing", "foreground"})}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("foreground",)

    @override
    def x0(self, example: Example) -> Tensor:
        assert example.labels is not None
        return (example.labels > 0).float()[None]

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images

    @override
    def answer(self, mean: Tensor) -> Tensor:
        return (mean[0] > 0.5).to(torch.uint8)


class Folders(Dataset):
    """One folder per case: CASE/CASE_MODALITY.nii.gz."""

    name: ClassVar[str] = "folders"
    looked_for: ClassVar[str] = "CASE/CASE_MODALITY.nii.gz"

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([_case(folder) for folder in sorted(root.iterdir())])


def _case(folder: Path) -> Case:
    files = {path.name.removeprefix(f"{folder.name}_").partition(".")[0]: path for path in folder.iterdir()}
    images = {name: Image(path) for name, path in files.items() if name != "seg"}
    return Case(folder.name, images, LABELS, files.get("seg"))


class Tiny(Backbone):
    """Two convolutions; time moves what is between them."""

    name: ClassVar[str] = "tiny"
    width: int = Field(default=4, ge=1, description="Channels between the convolutions.")

    @override
    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        return _TinyNetwork(in_channels, self.width, out_channels)


class _TinyNetwork(nn.Module):
    def __init__(self, in_channels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(in_channels, width, 3, padding=1)
        self.time = nn.Linear(1, width)
        self.last = nn.Conv3d(width, out_channels, 1)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        middle = self.first(x) + self.time(t[:, None] / 50)[:, :, None, None, None]
        answer: Tensor = self.last(nn.functional.silu(middle))
        return answer


class Geometric(Schedule):
    """Every step keeps the same share of the signal."""

    name: ClassVar[str] = "geometric"
    timesteps: int = Field(default=50, ge=1, description="T.")
    keep: float = Field(default=0.93, gt=0, lt=1, description="Share of the signal's power that a step keeps.")

    @override
    def alphas_bar(self) -> Tensor:
        return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)


class Straight(Sampler):
    """DDIM, with fresh noise beside it where asked for."""

    name: ClassVar[str] = "straight"
    fresh: float = Field(default=0.0, ge=0, description="How much noise a step adds.")

    @override
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        levels, x = alphas_bar.tolist(), noise
        times = [(len(levels) - 1) * left // self.steps for left in range(self.steps, -1, -1)]
        for number, (t, t_next) in enumerate(pairwise(times)):
            x0 = denoise(x, t)
            eps = (x - sqrt(levels[t]) * x0) / sqrt(1 - levels[t])
            x = sqrt(levels[t_next]) * x0 + sqrt(1 - levels[t_next]) * eps
            if self.fresh and t_next:
                x = x + self.fresh * draw(number)
        return x


class Box(Patch):
    """A box anywhere."""

    name: ClassVar[str] = "box"
    sides: tuple[int, int, int] = Field(default=(6, 5, 4), description="Side lengths in voxels.")

    @override
    def size(self, frame: Shape) -> Shape:
        return self.sides

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        x, y, z = (int(random.integers(n - side + 1)) for n, side in zip(frame, self.sides, strict=True))
        return Window((x, y, z), self.sides, frame)


class Corner(Box):
    """Always the first box: draws nothing."""

    name: ClassVar[str] = "corner"

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window((0, 0, 0), self.sides, frame)


class Coarse(Patch):
    """The whole volume at half resolution."""

    name: ClassVar[str] = "coarse"
    factor: ClassVar[int] = 2

    @override
    def size(self, frame: Shape) -> Shape:
        return frame

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window.whole(frame, self.factor)


class Height(Encoding):
    """One channel that rises along Z."""

    name: ClassVar[str] = "height"
    channels: ClassVar[int] = 1

    @override
    def encode(self, window: Window) -> Tensor:
        z = torch.arange(window.shape[2]) * window.factor + window.start[2]
        return (z / window.frame[2]).expand(1, *window.shape)


class Still(Engine):
    """Goes nowhere; enough where nothing is computed."""

    name: ClassVar[str] = "still"

    @override
    def open(self, network: nn.Module, training: Training | None = None, logs: Path | None = None) -> Session:
        raise NotImplementedError


class _Parts:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Foreground, Folders, Tiny, Geometric, Straight, Box, Corner, Coarse, Height, Still]


@pytest.fixture
def parts() -> object:
    """Return the plugin that offers the hand-made components."""
    return _Parts()


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts)


@pytest.fixture
def configured(registry: Registry) -> Callable[..., Configuration]:
    """Return `configured("kind.field=value", …)`, which builds a small complete configuration."""
    return lambda *options: assemble(registry, base=[TREE], options=options)


def sentence(error: pytest.ExceptionInfo[ConfigurationError]) -> str:
    """Return what an error says, after making sure that it is a sentence."""
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith((".", "?", ")"))
    return text
