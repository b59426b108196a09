"""The U-Net's layers with gradients in bounded memory: those of the plain way, to rounding.

A layer keeps the volumes that it convolves as they are before normalization and SiLU, both of which are cheap to do
again, and goes back slab by slab (see `slabs`): nothing else of a volume's size is made but the gradients that are
handed on. With `recompute` a residual block keeps its input alone and does its first convolution again.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from typing_extensions import override

from ddmkit.footprint import stood_for
from ddmkit_plugins.backbones.activation import activation, moments_of, needs_moments, watching
from ddmkit_plugins.backbones.slabs import (
    Added,
    Blended,
    Convolved,
    Held,
    Repeated,
    beside,
    empty,
    hold,
    kernel_of,
    slabs,
    strided,
)
from ddmkit_plugins.backbones.unet3d_network import Layers, ResidualBlock, State, Upsample, average, walk
from ddmkit_plugins.backbones.way_back import ActivatedBack, ConvolutionBack, ShortcutBack, UpsampledBack
from ddmkit_plugins.backbones.weight_gradient import input_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ddmkit_plugins.backbones.activation import Moments
    from ddmkit_plugins.backbones.normalization import Norm

    _Gradients: TypeAlias = tuple[Tensor | None, ...]


def go(layers: Layers, state: Sequence[Tensor], dtype: torch.dtype, *, recompute: bool) -> State:
    """Return what `layers.go(state, "plain")` does, ready for its gradients.

    Args:
        layers: whose weights are used; their gradients have their dtype.
        state: volumes of shape (N, C, X, Y, Z), any dtype and memory layout.
        dtype: arithmetic of the convolutions.
        recompute: do the first convolution of each residual block again on the way back.
    """
    with torch.autocast(stood_for(state[0].device).type, enabled=False):
        embedding, skips, h = layers.enter(state)
        skips = [skip.to(dtype=dtype, memory_format=torch.channels_last_3d) for skip in skips]
        entered_by_skip = bool(skips) and layers.enters_encoder
        h = skips[-1] if entered_by_skip else h.to(dtype=dtype, memory_format=torch.channels_last_3d)
        h = walk(layers, _Learning(embedding, layers.merge, recompute=recompute), skips, h)
        if layers.answer is not None and layers.normalize is not None:
            last = layers.normalize, layers.answer
            h = _apply(_Answered, *last, h, *(weight for layer in last for weight in layer.parameters()))
        return layers.leave(embedding, skips, h)


class _Learning:
    """Every layer with a way back of its own."""

    def __init__(self, embedding: Tensor, merge: Callable[[Tensor, Tensor], Tensor], *, recompute: bool) -> None:
        self._embedding, self._merge, self._recompute = embedding, merge, recompute

    def encode(self, layer: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(layer, ResidualBlock):
            h = self.residual(layer, h)
        else:
            h = _apply(_Convolution, layer, h, *layer.parameters())
        return h, h

    def residual(self, block: ResidualBlock, h: Tensor) -> Tensor:
        return _apply(_Residual, block, self._recompute, h, block.time(self._embedding), *_weights(block))

    def upsample(self, layer: Upsample, h: Tensor, skip: Tensor) -> Tensor:
        return _apply(_Upsampled, layer, skip.shape[2:], h, *layer.convolution.parameters())

    def merge(self, h: Tensor, skip: Tensor) -> Tensor:
        return _apply(_Average, h, skip) if self._merge is average else self._merge(h, skip)


def _apply(function: type[torch.autograd.Function], *arguments: object) -> Tensor:
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]  # torch leaves it so
    return result


def _weights(block: ResidualBlock) -> list[nn.Parameter]:
    parts = [block.normalize_first, block.first, block.normalize_second, block.second, block.shortcut]
    return [weight for part in parts for weight in part.parameters()]


def _way_back(backward: Callable[[Any, Tensor], _Gradients]) -> Callable[[Any, Tensor], _Gradients]:
    """Decorate a backward that asks for one gradient, in the usual layout, and is to be rid of any autocast."""

    @wraps(backward)
    def shielded(ctx: Any, gradient: Tensor) -> _Gradients:  # noqa: ANN401 - torch gives its contexts no type
        with torch.autocast(stood_for(gradient.device).type, enabled=False):
            return backward(ctx, gradient.contiguous(memory_format=torch.channels_last_3d))

    once: Callable[[Any, Tensor], _Gradients] = once_differentiable(shielded)
    return once


def _keep(ctx: Any, tensors: list[Tensor], weights: tuple[Tensor, ...]) -> None:  # noqa: ANN401 - as above
    ctx.save_for_backward(*tensors, *weights)
    ctx.count = len(tensors)


def _kept(ctx: Any, weights: list[nn.Parameter]) -> list[Tensor]:  # noqa: ANN401 - as above
    """Return the tensors that were kept; the weights are read from the modules, and must be those of the way there."""
    saved = ctx.saved_tensors  # where torch sees whether one was changed since
    if any(now.data_ptr() != then.data_ptr() for now, then in zip(weights, saved[ctx.count :], strict=True)):
        msg = (
            "The network's weights were exchanged between an evaluation and its way back: take gradients while they "
            'are in place, or evaluate with way="plain".'
        )
        raise RuntimeError(msg)
    return list(saved[: ctx.count])


class _Convolution(torch.autograd.Function):
    """A convolution by itself, of stride 1 or 2."""

    @staticmethod
    @override
    def forward(ctx: Any, layer: nn.Conv3d, x: Tensor, *weights: Tensor) -> Tensor:
        kernel = kernel_of(layer, x.dtype)
        size = strided((x.shape[2], x.shape[3], x.shape[4]), kernel.stride)
        out = empty((len(x), layer.out_channels, *size), x.dtype, x.device)
        for place in _members(x):
            hold(Convolved(Held(x[place]), kernel), out[place])
        ctx.layer = layer
        _keep(ctx, [x], weights)
        return out

    @staticmethod
    @override
    @_way_back
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        weights = list(ctx.layer.parameters())
        (x,) = _kept(ctx, weights)
        kernel, learned = kernel_of(ctx.layer, x.dtype), _Sums()
        for place in _members(x):
            back = ConvolutionBack(Held(gradient[place]), kernel, Held(x[place]))
            for _ in slabs(back):
                pass
            learned.add(back.weight, back.bias)
        to_x = input_gradient(x, gradient, kernel) if ctx.needs_input_grad[1] else None
        return None, to_x, *learned.like(weights)


class _Residual(torch.autograd.Function):
    """A residual block of the network."""

    @staticmethod
    @override
    def forward(ctx: Any, block: ResidualBlock, recompute: bool, x: Tensor, shift: Tensor, *weights: Tensor) -> Tensor:
        out = empty((len(x), block.out_channels, *x.shape[2:]), x.dtype, x.device)
        middle = out if recompute else torch.empty_like(out)
        ctx.moments = []
        for place in _members(x):
            first, second = _moments(block.normalize_first, x[place]), watching(block.normalize_second)
            before = activation(block.normalize_first, first)
            kernel = kernel_of(block.first, x.dtype, shift[place][0])
            hold(Convolved(Held(x[place]), kernel, before), middle[place], second.add if second else None)
            between = activation(block.normalize_second, second)
            after = Convolved(Held(middle[place]), kernel_of(block.second, x.dtype), between)
            hold(Added(after, beside(block.shortcut, Held(x[place]), x.dtype)), out[place])
            ctx.moments.append((first, second))
        ctx.block = block
        _keep(ctx, [x, shift] if recompute else [x, shift, middle], weights)
        return out

    @staticmethod
    @override
    @_way_back
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        block: ResidualBlock = ctx.block
        weights = _weights(block)
        x, shift, *kept = _kept(ctx, weights)
        to_x, to_shift = torch.empty_like(x), torch.empty_like(shift)
        learned = _Sums()
        for place, moments in zip(_members(x), ctx.moments, strict=True):
            before = activation(block.normalize_first, moments[0])
            between = activation(block.normalize_second, moments[1])
            if kept:
                middle = kept[0][place]
            else:
                middle = hold(Convolved(Held(x[place]), kernel_of(block.first, x.dtype, shift[place][0]), before))
            # The gradient in the block's input takes the place of that between its convolutions where it fits.
            room = to_x[place] if to_x.shape[1] == block.out_channels else None
            second = ActivatedBack(Held(gradient[place]), kernel_of(block.second, x.dtype), between, Held(middle))
            within = hold(second, room)
            normalized = between.finish()
            first = ActivatedBack(
                Blended(Held(within), Held(middle), normalized.through),
                kernel_of(block.first, x.dtype),
                before,
                Held(x[place]),
            )
            hold(first, to_x[place])
            del within, middle
            entered = before.finish()
            past = ShortcutBack(block, Held(gradient[place]), Held(x[place]))
            hold(Added(Blended(Held(to_x[place]), Held(x[place]), entered.through), past), to_x[place])
            to_shift[place] = first.bias
            past_weights = [] if past.weight is None else [past.weight, second.bias]
            learned.add(
                entered.weight,
                entered.bias,
                first.weight,
                first.bias,
                normalized.weight,
                normalized.bias,
                second.weight,
                second.bias,
                *past_weights,
            )
        return None, None, to_x, to_shift, *learned.like(weights)


class _Answered(torch.autograd.Function):
    """The end of the network: normalization, SiLU and a convolution."""

    @staticmethod
    @override
    def forward(ctx: Any, normalize: Norm, answer: nn.Conv3d, x: Tensor, *weights: Tensor) -> Tensor:
        out = empty((len(x), len(answer.weight), *x.shape[2:]), x.dtype, x.device)
        ctx.moments = [_moments(normalize, x[place]) for place in _members(x)]
        for place, moments in zip(_members(x), ctx.moments, strict=True):
            prologue = activation(normalize, moments)
            hold(Convolved(Held(x[place]), kernel_of(answer, x.dtype), prologue), out[place])
        ctx.normalize, ctx.answer = normalize, answer
        _keep(ctx, [x], weights)
        return out

    @staticmethod
    @override
    @_way_back
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        normalize: Norm = ctx.normalize
        answer: nn.Conv3d = ctx.answer
        weights = [*normalize.parameters(), *answer.parameters()]
        (x,) = _kept(ctx, weights)
        to_x, learned = torch.empty_like(x), _Sums()
        for place, moments in zip(_members(x), ctx.moments, strict=True):
            prologue = activation(normalize, moments)
            back = ActivatedBack(Held(gradient[place]), kernel_of(answer, x.dtype), prologue, Held(x[place]))
            hold(back, to_x[place])
            normalized = prologue.finish()
            hold(Blended(Held(to_x[place]), Held(x[place]), normalized.through), to_x[place])
            learned.add(normalized.weight, normalized.bias, back.weight, back.bias)
        return None, None, to_x, *learned.like(weights)


class _Upsampled(torch.autograd.Function):
    """Voxels repeated, then convolved; keeps the volume as it is before."""

    @staticmethod
    @override
    def forward(ctx: Any, layer: Upsample, size: torch.Size, x: Tensor, *weights: Tensor) -> Tensor:
        out = empty((len(x), layer.out_channels, *size), x.dtype, x.device)
        for place in _members(x):
            repeated = Repeated(Held(x[place]), (size[0], size[1], size[2]))
            hold(Convolved(repeated, kernel_of(layer.convolution, x.dtype)), out[place])
        ctx.layer = layer
        _keep(ctx, [x], weights)
        return out

    @staticmethod
    @override
    @_way_back
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        convolution: nn.Conv3d = ctx.layer.convolution
        weights = list(convolution.parameters())
        (x,) = _kept(ctx, weights)
        to_x, learned = torch.empty_like(x), _Sums()
        for place in _members(x):
            back = UpsampledBack(Held(gradient[place]), kernel_of(convolution, x.dtype), Held(x[place]))
            hold(back, to_x[place])
            learned.add(back.weight, back.bias)
        return None, None, to_x, *learned.like(weights)


class _Average(torch.autograd.Function):
    """(h + skip) / 2, whose two gradients are one tensor."""

    @staticmethod
    @override
    def forward(ctx: Any, h: Tensor, skip: Tensor) -> Tensor:
        return torch.lerp(h, skip, 0.5)

    @staticmethod
    @override
    @_way_back
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator makes ctx positional
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        half = gradient / 2
        return half, half


class _Sums:
    """Gradients in weights, added up over the members of a batch."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def add(self, *gradients: Tensor) -> None:
        pairs = zip(self._sums, gradients, strict=True)
        self._sums = [total + gradient for total, gradient in pairs] if self._sums else list(gradients)

    def like(self, weights: list[nn.Parameter]) -> list[Tensor]:
        return [total.to(weight.dtype) for total, weight in zip(self._sums, weights, strict=True)]


def _members(x: Tensor) -> list[slice]:
    return [slice(member, member + 1) for member in range(len(x))]


def _moments(norm: Norm, x: Tensor) -> Moments | None:
    return moments_of(Held(x)) if needs_moments(norm) else None
