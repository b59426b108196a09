"""Volumes read plane by plane are the volumes that torch makes as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ddmkit.randomness import normal
from ddmkit_plugins.backbones import slabs
from ddmkit_plugins.backbones.slabs import (
    Added,
    Averaged,
    Blended,
    Concatenated,
    Convolved,
    Held,
    Kernel,
    Pointwise,
    Reader,
    Repeated,
    Shared,
    convolve,
    hold,
    rows,
)

if TYPE_CHECKING:
    Size: TypeAlias = tuple[int, int, int]

LAST = torch.channels_last_3d
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4))
CHANNELS = st.integers(1, 3)
DTYPES = st.sampled_from([torch.float32, torch.float64])

unhurried = settings(deadline=None)  # a library's first call may take its time
thickness = pytest.mark.parametrize("slab_bytes", [1, 300, 2**21])


def volume(channels: int, size: Size, name: str = "x", dtype: torch.dtype = torch.float64) -> Tensor:
    return normal((1, channels, *size), 0, name).to(dtype).contiguous(memory_format=LAST)


def kernel(given: int, made: int, stride: int = 1, dtype: torch.dtype = torch.float64, side: int = 3) -> Kernel:
    weight = normal((made, given, side, side, side), 0, "weight") / given**0.5
    return Kernel(weight.to(dtype), normal((made,), 0, "bias").to(dtype), stride)


def convolved(x: Tensor, by: Kernel) -> Tensor:
    return functional.conv3d(x, by.weight, by.bias, by.stride, padding=by.weight.shape[-1] // 2)


def read(reader: Reader, data: st.DataObject) -> Tensor:
    """Read a volume to its end, a few planes at a time."""
    pieces: list[Tensor] = []
    left = reader.size[0]
    while left:
        planes = data.draw(st.integers(1, left), "planes")
        slab = reader.take(planes)
        assert slab.shape == (1, reader.channels, planes, *reader.size[1:])
        assert slab.dtype == reader.dtype
        pieces.append(slab.clone())
        left -= planes
    return torch.cat(pieces, dim=2)


def exponential(slab: Tensor, out: Tensor) -> None:
    out.copy_(slab.exp())


def assert_close(found: Tensor, expected: Tensor) -> None:
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[expected.dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def in_slabs_of(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setitem(slabs.SLAB_BYTES, "cpu", count)


@unhurried
@given(st.data(), SIZES, CHANNELS)
def test_a_held_volume_is_read_as_it_is(data: st.DataObject, size: Size, channels: int) -> None:
    x = volume(channels, size)
    assert torch.equal(read(Held(x), data), x)


@unhurried
@given(st.data(), SIZES, CHANNELS, CHANNELS, st.sampled_from([1, 2]), DTYPES)
def test_a_convolution_is_torchs(
    data: st.DataObject, size: Size, channels: int, made: int, stride: int, dtype: torch.dtype
) -> None:
    x, by = volume(channels, size, dtype=dtype), kernel(channels, made, stride, dtype)
    assert_close(read(Convolved(Held(x), by), data), convolved(x, by))


@unhurried
@given(st.data(), SIZES, st.sampled_from([1, 2]))
def test_a_prologue_is_done_to_the_volume_and_not_to_its_padding(data: st.DataObject, size: Size, stride: int) -> None:
    x, by = volume(2, size), kernel(2, 3, stride)
    reader = Convolved(Held(x), by, exponential)
    assert_close(read(reader, data), convolved(x.exp(), by))


@unhurried
@given(st.data(), SIZES, CHANNELS)
def test_a_repeated_volume_is_torchs_nearest_one_cropped(data: st.DataObject, size: Size, channels: int) -> None:
    x, y, z = size
    source = volume(channels, (-(-x // 2), -(-y // 2), -(-z // 2)))
    expected = functional.interpolate(source, scale_factor=2, mode="nearest")[:, :, :x, :y, :z]
    assert torch.equal(read(Repeated(Held(source), size), data), expected)


@unhurried
@given(st.data(), SIZES, CHANNELS, CHANNELS, DTYPES)
def test_a_pointwise_convolution_is_torchs(
    data: st.DataObject, size: Size, channels: int, made: int, dtype: torch.dtype
) -> None:
    x, by = volume(channels, size, dtype=dtype), kernel(channels, made, dtype=dtype, side=1)
    assert_close(read(Pointwise(Held(x), by), data), convolved(x, by))


@unhurried
@given(st.data(), SIZES)
def test_two_volumes_become_their_sum_mean_difference_or_both(data: st.DataObject, size: Size) -> None:
    one, other = volume(2, size, "one"), volume(2, size, "other")
    kept = other.clone()
    first, second = one.clone(), Held(other)
    assert torch.equal(read(Added(Held(first), second), data), one + other)
    first, second = one.clone(), Held(other)
    assert_close(read(Averaged(Held(first), second), data), (one + other) / 2)
    assert torch.equal(read(Blended(Held(one), Held(other), torch.sub), data), one - other)
    narrow = other[:, :1]
    assert torch.equal(read(Concatenated(Held(one), Held(narrow)), data), torch.cat([one, narrow], dim=1))
    assert torch.equal(other, kept)


@unhurried
@given(st.data(), st.integers(1, 12), st.integers(1, 3))
def test_every_tap_of_a_shared_reader_reads_the_whole_volume_at_its_own_pace(
    data: st.DataObject, planes: int, taps: int
) -> None:
    x = volume(2, (planes, 2, 3))
    shared = Shared(Held(x))
    readers = [shared.tap() for _ in range(taps)]
    read_by: list[list[Tensor]] = [[] for _ in readers]
    left = [planes] * taps
    while any(left):
        which = data.draw(st.sampled_from([number for number in range(taps) if left[number]]), "tap")
        taken = data.draw(st.integers(1, left[which]), "planes")
        read_by[which].append(readers[which].take(taken))
        left[which] -= taken
    for pieces in read_by:
        assert torch.equal(torch.cat(pieces, dim=2), x)


@unhurried
@given(st.data(), SIZES)
def test_readers_in_a_chain_are_the_operations_one_after_the_other(data: st.DataObject, size: Size) -> None:
    x, halve, keep = volume(2, size), kernel(2, 2, stride=2), kernel(2, 2)
    shared = Shared(Convolved(Held(x), keep))
    straight, beside = shared.tap(), shared.tap()
    chain = Added(Convolved(Repeated(Convolved(straight, halve), size), keep), beside)
    once = convolved(x, keep)
    half = convolved(once, halve)
    x_size, y, z = size
    doubled = functional.interpolate(half, scale_factor=2, mode="nearest")[:, :, :x_size, :y, :z]
    assert_close(read(chain, data), convolved(doubled, keep) + once)


class _Counted(Held):
    """A held volume that knows how many of its planes were asked for."""

    asked = 0

    @override
    def take(self, planes: int) -> Tensor:
        self.asked += planes
        return super().take(planes)


def test_a_chain_reads_no_further_ahead_than_its_convolutions_must() -> None:
    source = _Counted(volume(1, (40, 2, 2)))
    chain = Convolved(Convolved(Convolved(source, kernel(1, 1)), kernel(1, 1)), kernel(1, 1))
    for done in range(10, 40, 10):
        chain.take(10)
        assert source.asked == min(done + 3, 40)


@thickness
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (9, 4, 5)])
def test_what_is_held_is_the_whole_volume_with_channels_side_by_side(
    size: Size, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_slabs_of(monkeypatch, slab_bytes)
    x, by = volume(3, size), kernel(3, 2)
    held = hold(Convolved(Held(x), by))
    assert_close(held, convolved(x, by))
    assert held.is_contiguous(memory_format=LAST)


@thickness
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 1), (9, 4, 5)])
def test_a_volume_may_be_overwritten_by_what_is_read_of_it(
    size: Size, slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_slabs_of(monkeypatch, slab_bytes)
    by, one, other = kernel(2, 2), volume(2, size, "one"), volume(2, size, "other")
    expected = (
        convolved(one, by),
        convolved(one, by) + other,
        (one + other) / 2,
        convolved(convolved(one, by), by) + one,
    )
    places = [one.clone() for _ in expected]
    shared = Shared(Held(places[3]))
    straight, beside = shared.tap(), shared.tap()
    twice = Convolved(Convolved(straight, by), by)
    readers: list[Reader] = [
        Convolved(Held(places[0]), by),
        Added(Convolved(Held(places[1]), by), Held(other)),
        Averaged(Held(places[2]), Held(other)),
        Added(twice, beside),
    ]
    for reader, into, whole in zip(readers, places, expected, strict=True):
        assert hold(reader, into) is into
        assert_close(into, whole)


@thickness
def test_a_watcher_sees_every_slab_once_it_is_held(slab_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    in_slabs_of(monkeypatch, slab_bytes)
    x, seen = volume(2, (7, 3, 2)), list[Tensor]()
    held = hold(Convolved(Held(x), kernel(2, 2)), watch=lambda slab: seen.append(slab.clone()))
    assert torch.equal(torch.cat(seen, dim=2), held)


@pytest.mark.parametrize(("slab_bytes", "thick"), [(1, 1), (2 * 240, 2), (3 * 240 - 1, 2), (10**6, 7)])
def test_a_slab_is_as_thick_as_it_may_be_and_never_thinner_than_a_plane(
    slab_bytes: int, thick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_slabs_of(monkeypatch, slab_bytes)
    x = volume(2, (7, 3, 5))  # 240 bytes a plane
    spans = [span for span, _ in slabs.slabs(Held(x))]
    assert {len(span) for span in spans[:-1]} <= {thick}
    assert len(spans[0]) == thick
    assert [place for span in spans for place in span] == list(range(7))


@unhurried
@given(SIZES, CHANNELS)
def test_rows_are_the_same_memory_with_z_and_channels_side_by_side(size: Size, channels: int) -> None:
    x = volume(channels, size)
    seen = rows(x)
    assert torch.equal(seen, x.permute(0, 2, 3, 4, 1).reshape(size[0] * size[1], size[2] * channels))
    assert seen.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("side", [2, 40])
def test_a_bfloat16_convolution_is_rounded_once(side: int) -> None:
    x, by = volume(3, (side, 3, 4), dtype=torch.bfloat16), kernel(3, 2, dtype=torch.bfloat16)
    assert by.bias is not None
    wide = functional.conv3d(x.double(), by.weight.double(), by.bias.double(), padding=1)
    found = convolve(x, by, (1, 1, 1))
    assert found.dtype == torch.bfloat16
    assert ((found.double() - wide).abs() <= wide.abs() / 256 + 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_volumes_without_memory_are_read_for_their_shapes(dtype: torch.dtype) -> None:
    x = torch.empty(1, 3, 255, 256, 257, dtype=dtype, device="meta")
    by = Kernel(torch.empty(4, 3, 3, 3, 3, dtype=dtype, device="meta"), None, 2)
    held = hold(Convolved(Held(x), by))
    assert held.shape == (1, 4, 128, 128, 129)
    assert (held.device.type, held.dtype) == ("meta", dtype)


def test_planes_are_counted_with_those_that_are_read_for_them() -> None:
    x, bytes_of_a_plane = volume(8, (4, 6, 6), dtype=torch.float32), 8 * 6 * 6 * 4
    narrowing, halving = (Convolved(Held(x), kernel(8, 1, stride, torch.float32)) for stride in (1, 2))
    assert narrowing.plane == bytes_of_a_plane
    assert halving.plane == 2 * bytes_of_a_plane
