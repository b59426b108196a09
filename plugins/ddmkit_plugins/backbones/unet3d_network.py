"""The U-Net itself: an encoder, a middle and a decoder, each a plain list of layers.

The improved-DDPM U-Net (Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672) in 3D without attention, as in
Bieder et al. (2023), https://arxiv.org/abs/2303.15288.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from ddmkit.footprint import Work, stood_for
from ddmkit_plugins.backbones.normalization import ChannelNorm, GroupNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ddmkit_plugins.backbones.normalization import Norm
    from ddmkit_plugins.backbones.unet3d_settings import UNet3dSettings

    MakeBlock: TypeAlias = Callable[[int, int], "ResidualBlock"]

V = TypeVar("V")
"""A volume: a tensor, or what can be read into one."""
State: TypeAlias = tuple[Tensor, ...]


_SMALL = 50**3
"""Voxels; measured on two CPU cores with AVX-512."""


class Layers(nn.Module):
    """Layers of a U-Net that follow one another, from its first or from within, to its last or to within.

    What goes from one layer to the next, its state, is a tuple of tensors: at the very beginning (x, t), at the end
    (answer,), and between (embedding of t, skips that the decoder has not taken yet, h), where h of the encoder is the
    last of the skips. Each layer of `encoder` leaves its answer as a skip; each residual block of `decoder` takes the
    last one left.
    """

    time_embedding: TimeEmbedding | None
    encoder: nn.ModuleList
    middle: nn.ModuleList
    decoder: nn.ModuleList
    normalize: Norm | None
    answer: nn.Conv3d | None
    merge: Callable[[Tensor, Tensor], Tensor]
    normalizes_together: bool
    """Whether a normalization takes its statistics over voxels."""
    enters_encoder: bool
    """Whether h is the last skip in the state that comes in."""
    leaves_encoder: bool
    """The same of the state that goes out."""

    def ways(self, work: Work, device: torch.device) -> tuple[str, ...]:
        """Return the ways that `forward` may go, fastest first."""
        lean = ("slabs", "recompute")
        if device.type != "cpu":
            return ("plain", *lean)
        # Small volumes in float32 are the one thing that torch does faster, and only if there are several.
        members, _, *sides = work.shape
        together = work.training and members > 1 and work.precision == torch.float32
        return ("plain", *lean) if together and math.prod(sides) < _SMALL else lean

    def lower(self, precision: torch.dtype) -> None:
        """Keep the weights of the convolutions, nearly all there are, in the precision that they are used in."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.data = module.weight.data.to(precision)

    def enter(self, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return (embedding, skips, h) of the state that comes in; a list is emptied."""
        if self.time_embedding is not None:
            x, t = state
            return self.time_embedding(t), [], x
        embedding, *skips = state
        if isinstance(state, list):
            state.clear()
        return embedding, skips, skips[-1] if self.enters_encoder else skips.pop()

    def leave(self, embedding: Tensor, skips: list[Tensor], h: Tensor) -> State:
        """Return the state that goes out; h is the network's answer where this is its end."""
        if self.answer is not None:
            return (h,)
        return (embedding, *skips) if self.leaves_encoder else (embedding, *skips, h)

    def go(self, state: Sequence[Tensor], way: str) -> State:
        """Return the state after these layers, by one of the ways."""
        if way != "plain":
            return self._lean(state, recompute=way == "recompute")
        embedding, skips, h = self.enter(state)
        h = walk(self, _Plain(embedding, self.merge), skips, h)
        if self.answer is not None and self.normalize is not None:
            h = self.answer(silu(self.normalize(h)))
        return self.leave(embedding, skips, h)

    def _lean(self, state: Sequence[Tensor], *, recompute: bool) -> State:
        from ddmkit_plugins.backbones import unet3d_gradients, unet3d_lean  # which know this module

        kind = stood_for(state[0].device).type
        lowered = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if lowered else next(self._convolutions()).weight.dtype
        lean = unet3d_gradients.go if torch.is_grad_enabled() else unet3d_lean.go
        return lean(self, state, dtype, recompute=recompute)

    def _convolutions(self) -> Iterator[nn.Conv3d]:
        return (module for module in self.modules() if isinstance(module, nn.Conv3d))


class UNet3d(Layers):
    """A denoising network for volumes of any size."""

    def __init__(self, settings: UNet3dSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        normalize = _normalization(settings)
        block = partial(ResidualBlock, embedding_channels=4 * settings.width, normalize=normalize)
        encoder = list(_encoder(settings, in_channels, block))
        skips = [layer.out_channels for layer in encoder]
        deepest = skips[-1]
        decoder = list(_decoder(settings, skips, block))

        self.time_embedding = TimeEmbedding(settings.width)
        self.encoder = nn.ModuleList(encoder)
        self.middle = nn.ModuleList([block(deepest, deepest), block(deepest, deepest)])
        self.decoder = nn.ModuleList(decoder)
        self.normalize = normalize(decoder[-1].out_channels)
        self.answer = _zeroed(nn.Conv3d(decoder[-1].out_channels, out_channels, 3, padding=1))
        self.in_channels = in_channels
        self.merge = average if settings.skips == "average" else concatenate
        self.normalizes_together = settings.normalization == "group"
        self.enters_encoder, self.leaves_encoder = True, False

    @override
    def forward(self, x: Tensor, t: Tensor, way: str = "plain") -> Tensor:
        """Return the answer to x_t, of shape (N, out_channels, X, Y, Z).

        Args:
            x: shape (N, in_channels, X, Y, Z); any X, Y, Z >= 1.
            t: times from 1 to T, shape (N,).
            way: plain, as it stands in `walk` and in the weights' dtype; slabs, the same to rounding in less memory;
                or recompute, in still less, for some more arithmetic.
        """
        (answer,) = self.go((x, t), way)
        return answer

    def depth(self) -> int:
        """Return how many layers there are, between which the network may be cut."""
        return len(self.encoder) + len(self.middle) + len(self.decoder) + 1

    def part(self, layers: range) -> Part:
        """Return some of the layers, with their weights under the names that they have here."""
        return Part(self, layers)


class Part(Layers):
    """Some of a network's layers, which share its weights; layer 0 embeds the time, the last one answers."""

    def __init__(self, network: UNet3d, layers: range) -> None:
        super().__init__()
        first, last = layers.start == 0, layers.stop == network.depth()
        self.time_embedding = network.time_embedding if first else None
        self.encoder, self.middle, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = 0
        for mine, theirs in (
            (self.encoder, network.encoder),
            (self.middle, network.middle),
            (self.decoder, network.decoder),
        ):
            for index, layer in enumerate(theirs):
                if before + index in layers:
                    mine.add_module(str(index), layer)
            before += len(theirs)
        self.normalize = network.normalize if last else None
        self.answer = network.answer if last else None
        self.merge = network.merge
        self.normalizes_together = network.normalizes_together
        self.enters_encoder, self.leaves_encoder = (
            place <= len(network.encoder) for place in (layers.start, layers.stop)
        )

    @override
    def forward(self, state: Sequence[Tensor], way: str = "plain") -> State:
        """Return the state after these layers."""
        return self.go(state, way)


class Steps(Protocol[V]):
    """What the layers do on one of the ways, to volumes as that way holds them."""

    def encode(self, layer: nn.Module, h: V) -> tuple[V, V]:
        """Return what a layer of the encoder makes of h: to go on with, and as the decoder will come by it."""
        ...

    def residual(self, block: ResidualBlock, h: V) -> V:
        """Return what a residual block makes of h."""
        ...

    def upsample(self, layer: Upsample, h: V, skip: V) -> V:
        """Return h on the grid of the next skip."""
        ...

    def merge(self, h: V, skip: V, /) -> V:
        """Return h with the skip, neither of which is needed any more."""
        ...


def walk(layers: Layers, steps: Steps[V], skips: list[V], h: V) -> V:
    """Go through the layers, all but the last normalization and convolution, and return h.

    Args:
        layers: a network or a part of one.
        steps: how a layer is done.
        skips: those that came in; those of the encoder are added, those that the decoder takes are taken out.
        h: what came in.
    """
    for layer in layers.encoder:
        h, skip = steps.encode(layer, h)
        skips.append(skip)
        del skip
    for layer in layers.middle:
        h = steps.residual(_block(layer), h)
    for layer in layers.decoder:
        if isinstance(layer, Upsample):
            h = steps.upsample(layer, h, skips[-1])
        else:
            h = steps.merge(h, skips.pop())
            h = steps.residual(_block(layer), h)
    return h


def _block(layer: nn.Module) -> ResidualBlock:
    assert isinstance(layer, ResidualBlock)  # noqa: S101 - there is nothing else
    return layer


class _Plain:
    """Every layer as torch has it."""

    def __init__(self, embedding: Tensor, merge: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._embedding, self.merge = embedding, merge

    def encode(self, layer: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
        h = layer(h, self._embedding) if isinstance(layer, ResidualBlock) else layer(h)
        return h, h

    def residual(self, block: ResidualBlock, h: Tensor) -> Tensor:
        after: Tensor = block(h, self._embedding)
        return after

    def upsample(self, layer: Upsample, h: Tensor, skip: Tensor) -> Tensor:
        upsampled: Tensor = layer(h, skip.shape[2:])
        return upsampled


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, then two linear layers; shared by all residual blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, 4 * width)
        self.mix = nn.Linear(4 * width, 4 * width)

    @override
    def forward(self, t: Tensor) -> Tensor:
        """Return the embedding of times 1 to T, shape (N,), as shape (N, 4 width)."""
        # The official network counts its times from 0; waves in bfloat16 could not tell time 999 from 1000.
        waves = sinusoids(t.float() - 1, self.widen.in_features).to(self.widen.weight.dtype)
        # Every block begins with a SiLU of the embedding, so it is done here once.
        return functional.silu(self.mix(functional.silu(self.widen(waves))))


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a normalization and SiLU, beside a shortcut; time is added between them."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding_channels: int, normalize: Callable[[int], Norm]
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.normalize_first = normalize(in_channels)
        self.first = nn.Conv3d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(embedding_channels, out_channels)
        self.normalize_second = normalize(out_channels)
        self.second = _zeroed(nn.Conv3d(out_channels, out_channels, 3, padding=1))
        changes = in_channels != out_channels
        self.shortcut = nn.Conv3d(in_channels, out_channels, 1) if changes else nn.Identity()

    @override
    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return shape (N, out_channels, X, Y, Z) for x of shape (N, in_channels, X, Y, Z)."""
        h: Tensor = self.first(silu(self.normalize_first(x)))
        # No convolution needs its own output for its gradient: both additions may be done in place.
        h += self.time(embedding)[:, :, None, None, None]
        h = silu(self.normalize_second(h))
        h = self.second(h)
        h += self.shortcut(x)
        return h


class Upsample(nn.Module):
    """Double the size by repeating voxels, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.convolution = nn.Conv3d(channels, channels, 3, padding=1)

    @override
    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """Return x on a grid of `size`, whose sides are twice those of x or, where the encoder rounded up, one less."""
        # For such sizes "nearest" repeats each voxel, but for the last of an odd side, as doubling and cropping would.
        repeated = functional.interpolate(x, size=size, mode="nearest")
        upsampled: Tensor = self.convolution(repeated)
        return upsampled


def silu(x: Tensor) -> Tensor:
    """Return x sigmoid(x), over x itself where no gradient will ask for x."""
    return functional.silu(x, inplace=not torch.is_grad_enabled())


def average(h: Tensor, skip: Tensor) -> Tensor:
    """Return (h + skip) / 2, over h itself where no gradient is recorded (Bieder et al. 2023, section 2)."""
    return torch.lerp(h, skip, 0.5) if torch.is_grad_enabled() else h.lerp_(skip, 0.5)


def concatenate(h: Tensor, skip: Tensor) -> Tensor:
    """Return the channels of h and, after them, of skip."""
    return torch.cat([h, skip], dim=1)


def sinusoids(times: Tensor, width: int) -> Tensor:
    """Return cosines, then sines, of times at geometric frequencies from 1 down towards 1/10000 (Vaswani et al. 2017).

    Args:
        times: shape (N,), float32.
        width: length of a row; an odd one ends in a zero.

    Returns:
        Shape (N, width), float32.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=times.device) / half)
    angles = times[:, None] * frequencies
    return functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, width % 2))


def _normalization(settings: UNet3dSettings) -> Callable[[int], Norm]:
    if settings.normalization == "channel":
        return ChannelNorm
    return partial(GroupNorm, settings.groups or settings.width)


def _encoder(settings: UNet3dSettings, in_channels: int, block: MakeBlock) -> Iterator[nn.Conv3d | ResidualBlock]:
    channels = settings.width
    yield nn.Conv3d(in_channels, channels, 3, padding=1)
    for level, multiplier in enumerate(settings.multipliers):
        if level > 0:
            yield nn.Conv3d(channels, channels, 3, stride=2, padding=1)
        for _ in range(settings.blocks):
            yield block(channels, multiplier * settings.width)
            channels = multiplier * settings.width


def _decoder(settings: UNet3dSettings, skips: list[int], block: MakeBlock) -> Iterator[ResidualBlock | Upsample]:
    """Yield the way up; `skips` are the channels of each encoder layer and are used up."""
    channels = skips[-1]
    for level, multiplier in reversed(list(enumerate(settings.multipliers))):
        for _ in range(settings.blocks + 1):
            skip = skips.pop()
            if settings.skips == "average":
                # What comes out must be as wide as the skip that it will be averaged with next.
                taken, channels = channels, skips[-1] if skips else settings.width
            else:
                taken, channels = channels + skip, multiplier * settings.width
            yield block(taken, channels)
        if level > 0:
            yield Upsample(channels)


def _zeroed(convolution: nn.Conv3d) -> nn.Conv3d:
    """Return the convolution with zero weights: its residual block begins as its shortcut."""
    nn.init.zeros_(convolution.weight)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
