"""Volumes read plane by plane, so that what lies between two of them is only ever a few planes thick.

A volume's planes are its slices along X. A reader hands them out in order, as many at a time as it is asked for; one
that convolves asks its own source for the planes it lacks and keeps those that the next ones will need. Readers are
chained like a pipeline of line buffers, and only what is held at its end takes a volume's memory.

Slabs have shape (1, C, planes, Y, Z) with the channels of a voxel side by side (torch.channels_last_3d). A slab may be
a view of a held volume: only who made it, or is told that nobody else needs it, writes to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddmkit.arithmetic import multiplies_bfloat16, onednn
from ddmkit.footprint import coarser, joined, stood_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Prologue: TypeAlias = Callable[[Tensor, Tensor], None]
    """Write what a convolution shall see of a slab (first) into another tensor of its shape (second)."""

Size: TypeAlias = tuple[int, int, int]

SLAB_BYTES = {"cpu": 2**21, "cuda": 2**27}
"""How large a slab should be: on a CPU it stays in the cache, a GPU wants enough work for a kernel."""


class Kernel(NamedTuple):
    """What a 3x3x3 convolution multiplies with, in the dtype it calculates in."""

    weight: Tensor
    """Shape (out_channels, in_channels, 3, 3, 3)."""
    bias: Tensor | None = None
    """Shape (out_channels,)."""
    stride: int = 1


def kernel_of(convolution: nn.Module, dtype: torch.dtype, more: Tensor | None = None) -> Kernel:
    """Return a convolution's weights in a dtype, with more, shape (out_channels,), added to its bias."""
    assert isinstance(convolution, nn.Conv3d)  # noqa: S101 - for the type checkers: lists of layers do not tell
    assert convolution.bias is not None  # noqa: S101 - as above
    bias = convolution.bias if more is None else convolution.bias + more
    return Kernel(convolution.weight.to(dtype), bias.to(dtype), convolution.stride[0])


class Reader(ABC):
    """The planes of one volume, in order."""

    channels: int
    size: Size
    dtype: torch.dtype
    device: torch.device
    plane: int
    """Bytes of a plane of this volume or, if larger, of what is read of another one for it."""

    @abstractmethod
    def take(self, planes: int) -> Tensor:
        """Return the next planes, shape (1, channels, planes, Y, Z); there must be as many left."""


class Held(Reader):
    """A volume in memory, shape (1, C, X, Y, Z)."""

    def __init__(self, volume: Tensor) -> None:
        self._volume = volume
        self._next = 0
        _, self.channels, *size = volume.shape
        self.size: Size = (size[0], size[1], size[2])
        self.dtype, self.device = volume.dtype, volume.device
        self.plane = plane_bytes(self.channels, self.size, self.dtype)

    @override
    def take(self, planes: int) -> Tensor:
        self._next += planes
        return self._volume[:, :, self._next - planes : self._next]


class Repeated(Reader):
    """A volume enlarged to `size` by repeating voxels; its sides are twice the source's, or one less."""

    def __init__(self, source: Reader, size: Size) -> None:
        self._source, self.size, self.channels = source, size, source.channels
        self.dtype, self.device = source.dtype, source.device
        self.plane = plane_bytes(self.channels, self.size, self.dtype)
        self._next = 0
        self._last: Tensor | None = None

    @override
    def take(self, planes: int) -> Tensor:
        first, end = self._next // 2, (self._next + planes + 1) // 2
        known = self._next % 2  # half of the plane before is still to come
        pieces = [self._last] if known and self._last is not None else []
        if end > first + known:
            pieces.append(self._source.take(end - first - known))
            self._last = pieces[-1][:, :, -1:].clone()
        repeated = _doubled(_joined(pieces))
        start = self._next - 2 * first
        self._next += planes
        _, y, z = self.size
        return repeated[:, :, start : start + planes, :y, :z].contiguous(memory_format=torch.channels_last_3d)


class Windows:
    """The planes that a 3x3x3 convolution sees of its source, zero padding along X included.

    Args:
        source: read in order.
        dtype: of the convolution.
        stride: of the convolution.
        prologue: what is done to planes before they are seen.
    """

    def __init__(self, source: Reader, dtype: torch.dtype, stride: int = 1, prologue: Prologue | None = None) -> None:
        self._source, self._dtype, self._stride, self._prologue = source, dtype, stride, prologue or _copied
        self._next = self._pulled = 0
        self._kept: Tensor | None = None

    def take(self, planes: int) -> Tensor:
        """Return what the next planes of the answer come from, shape (1, C, stride (planes - 1) + 3, Y, Z)."""
        stride, sides = self._stride, self._source.size
        first = self._next * stride - 1
        seen = self._seen(first, first + (planes - 1) * stride + 3)
        self._next += planes
        # The next slab begins where this one's last window ends, less what windows share.
        last = self._next * stride >= sides[0]
        self._kept = None if last else seen[:, :, -(3 - stride) :].clone()
        return seen

    def _seen(self, first: int, end: int) -> Tensor:
        """Return planes first to end of the padded source, after the prologue."""
        x, y, z = self._source.size
        seen = empty((1, self._source.channels, end - first, y, z), self._dtype, self._source.device)
        filled = 0
        if self._kept is not None:
            filled = self._kept.shape[2]
            seen[:, :, :filled] = self._kept
        elif first < 0:
            filled = 1
            seen[:, :, :1] = 0
        wanted = min(end, x) - self._pulled
        if wanted > 0:
            self._prologue(self._source.take(wanted), seen[:, :, filled : filled + wanted])
            self._pulled += wanted
            filled += wanted
        seen[:, :, filled:] = 0
        return seen


class Convolved(Reader):
    """A convolution with zero padding 1 of what a prologue makes of its source."""

    def __init__(self, source: Reader, kernel: Kernel, prologue: Prologue | None = None) -> None:
        self._windows = Windows(source, kernel.weight.dtype, kernel.stride, prologue)
        self._kernel = kernel
        self.channels = len(kernel.weight)
        self.size = strided(source.size, kernel.stride)
        self.dtype, self.device = kernel.weight.dtype, source.device
        self.plane = max(plane_bytes(self.channels, self.size, self.dtype), kernel.stride * source.plane)
        self.seen = torch.empty(0)
        """What the planes last taken came from: after the prologue, with the padding along X."""

    @override
    def take(self, planes: int) -> Tensor:
        self.seen = self._windows.take(planes)
        return convolve(self.seen, self._kernel, (0, 1, 1))


class Added(Reader):
    """The sum of two volumes, written over the slabs of the first, which nobody else may need."""

    def __init__(self, first: Reader, second: Reader) -> None:
        self._first, self._second = first, second
        self.channels, self.size, self.dtype, self.device = first.channels, first.size, first.dtype, first.device
        self.plane = max(first.plane, second.plane)

    @override
    def take(self, planes: int) -> Tensor:
        second = self._second.take(planes)
        return self._first.take(planes).add_(second)


class Averaged(Added):
    """The mean of two volumes, written over the slabs of the first, which nobody else may need."""

    @override
    def take(self, planes: int) -> Tensor:
        second = self._second.take(planes)
        return self._first.take(planes).lerp_(second, 0.5)


class Concatenated(Reader):
    """The channels of one volume and, after them, those of another."""

    def __init__(self, first: Reader, second: Reader) -> None:
        self._readers = first, second
        self.channels = first.channels + second.channels
        self.size, self.dtype, self.device = first.size, first.dtype, first.device
        self.plane = first.plane + second.plane

    @override
    def take(self, planes: int) -> Tensor:
        return torch.cat([reader.take(planes) for reader in self._readers], dim=1)


class Pointwise(Reader):
    """A 1x1x1 convolution."""

    def __init__(self, source: Reader, kernel: Kernel) -> None:
        self._source, self._kernel = source, kernel
        self.channels, self.dtype = len(kernel.weight), kernel.weight.dtype
        self.size, self.device = source.size, source.device
        self.plane = max(plane_bytes(self.channels, self.size, self.dtype), source.plane)

    @override
    def take(self, planes: int) -> Tensor:
        return convolve(self._source.take(planes), self._kernel, (0, 0, 0))


def beside(shortcut: nn.Module, source: Reader, dtype: torch.dtype) -> Reader:
    """Read what goes past the convolutions of a residual block: 1x1x1 convolved where channels change."""
    return source if isinstance(shortcut, nn.Identity) else Pointwise(source, kernel_of(shortcut, dtype))


class Shared:
    """One reader for several that read at different paces; planes wait for the slowest."""

    def __init__(self, source: Reader) -> None:
        self._source = source
        self._waiting: list[deque[Tensor]] = []

    def tap(self) -> Reader:
        """Return a reader of the source from its first plane; make all before one is read."""
        waiting: deque[Tensor] = deque()
        self._waiting.append(waiting)
        return _Tap(self._source, waiting, self._pull)

    def _pull(self, planes: int) -> None:
        slab = self._source.take(planes)
        for waiting in self._waiting:
            waiting.append(slab)


class _Tap(Reader):
    def __init__(self, source: Reader, waiting: deque[Tensor], pull: Callable[[int], None]) -> None:
        self._waiting, self._pull = waiting, pull
        self.channels, self.size, self.dtype, self.device = source.channels, source.size, source.dtype, source.device
        self.plane = source.plane

    @override
    def take(self, planes: int) -> Tensor:
        lacking = planes - sum(slab.shape[2] for slab in self._waiting)
        if lacking > 0:
            self._pull(lacking)
        pieces: list[Tensor] = []
        while planes > 0:
            slab = self._waiting.popleft()
            if slab.shape[2] > planes:
                self._waiting.appendleft(slab[:, :, planes:])
                slab = slab[:, :, :planes]
            pieces.append(slab)
            planes -= slab.shape[2]
        return _joined(pieces)


class Blended(Reader):
    """A function of two volumes of one shape, voxel by voxel."""

    def __init__(self, first: Reader, second: Reader, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._first, self._second, self._function = first, second, function
        self.channels, self.size, self.dtype, self.device = first.channels, first.size, first.dtype, first.device
        self.plane = max(first.plane, second.plane)

    @override
    def take(self, planes: int) -> Tensor:
        return self._function(self._first.take(planes), self._second.take(planes))


def strided(size: Size, stride: int) -> Size:
    """Return the sides of what a convolution with padding 1 makes of a volume."""
    x, y, z = size
    return -(-x // stride), -(-y // stride), -(-z // stride)


def plane_bytes(channels: int, size: Size, dtype: torch.dtype) -> int:
    """Return what one plane of a volume takes."""
    _, y, z = size
    return channels * y * z * dtype.itemsize


def slabs(reader: Reader) -> Iterator[tuple[range, Tensor]]:
    """Yield which planes and the planes, from a reader at its beginning to its end."""
    planes = reader.size[0]
    usual = SLAB_BYTES["cpu" if stood_for(reader.device).type == "cpu" else "cuda"]
    thickness = max(1, usual // reader.plane)
    times = coarser(planes / thickness)
    for first in range(0, planes, thickness * times):
        span = range(first, min(first + thickness * times, planes))
        with joined(times):
            yield span, reader.take(len(span))


def hold(reader: Reader, into: Tensor | None = None, watch: Callable[[Tensor], None] | None = None) -> Tensor:
    """Read a whole volume into memory.

    Args:
        reader: at its beginning.
        into: shape (1, C, X, Y, Z); may be what the reader reads, if it reads each plane before it answers for it.
        watch: told each slab once it is held.
    """
    if into is None:
        into = empty((1, reader.channels, *reader.size), reader.dtype, reader.device)
    for span, slab in slabs(reader):
        place = into[:, :, span.start : span.stop]
        place.copy_(slab)
        if watch is not None:
            watch(place)
    return into


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an uninitialised slab or volume of the usual memory layout."""
    return torch.empty(shape, dtype=dtype, device=device, memory_format=torch.channels_last_3d)


def rows(slab: Tensor) -> Tensor:
    """View a slab as rows of (z, channel).

    Channels alone are too few for a vector unit: with its Z side by side, a row is worked through in one go.
    """
    _, channels, _, _, z = slab.shape
    return slab.permute(0, 2, 3, 4, 1).view(-1, z * channels)


def convolve(x: Tensor, kernel: Kernel, padding: tuple[int, int, int]) -> Tensor:
    """Convolve a slab; on a CPU with oneDNN, which torch leaves for something slower where a volume is small."""
    weight, bias, stride = kernel
    if x.is_cpu and _convolved_by_onednn(x.dtype):
        return torch.mkldnn_convolution(x, weight, bias, padding, [stride] * 3, [1] * 3, 1)
    return torch.conv3d(x, weight, bias, stride, padding).contiguous(memory_format=torch.channels_last_3d)


def _convolved_by_onednn(dtype: torch.dtype) -> bool:
    return onednn() and (dtype == torch.float32 or (dtype == torch.bfloat16 and multiplies_bfloat16("cpu")))


def _copied(slab: Tensor, out: Tensor) -> None:
    out.copy_(slab)


def _doubled(slab: Tensor) -> Tensor:
    """Return a slab of twice the sides, in which each voxel stands eight times."""
    _, channels, x, y, z = slab.shape
    doubled = empty((1, channels, 2 * x, 2 * y, 2 * z), slab.dtype, slab.device)
    places = doubled.permute(0, 2, 3, 4, 1).view(x, 2, y, 2, z, 2, channels)
    places.copy_(slab[0].permute(1, 2, 3, 0)[:, None, :, None, :, None])
    return doubled


def _joined(pieces: list[Tensor]) -> Tensor:
    if len(pieces) == 1:
        return pieces[0]
    _, channels, _, y, z = pieces[0].shape
    planes = sum(piece.shape[2] for piece in pieces)
    joined = empty((1, channels, planes, y, z), pieces[0].dtype, pieces[0].device)
    return torch.cat(pieces, dim=2, out=joined)
