"""What an evaluation of a network takes, from shapes alone: it is run on tensors without memory, and all are counted.

The code that is counted is the code that will run, so the count follows it by itself. What no tensor shows is missing:
the workspace of a library and memory that an allocator keeps back.
"""

from __future__ import annotations

import copy
import weakref
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from ddmkit.shapes import answer, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

_LOWERED = {
    *(nn.functional.linear, torch.conv1d, torch.conv2d, torch.conv3d, torch.matmul, Tensor.matmul, Tensor.__matmul__),
    *(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d, torch.bmm, torch.mm, torch.addmm),
    *(torch.baddbmm, torch.einsum, nn.functional.scaled_dot_product_attention),
}
"""What autocast lowers of what networks for volumes are made of."""
_PIECES = 4
"""As many pieces of a volume are looked at for all of them."""


class Footprint(NamedTuple):
    """What some work takes."""

    peak: int
    """Bytes at the worst moment, beyond what was there before."""
    operations: int
    """Floating-point operations of convolutions and matrix products, multiplications and additions counted apart."""


class Work(NamedTuple):
    """One evaluation of a network."""

    shape: tuple[int, ...]
    """Of the inputs: (N, in_channels, X, Y, Z)."""
    precision: torch.dtype
    """Arithmetic, by autocast: float32 is without it."""
    training: bool
    """Whether gradients are taken."""
    way: str | None = None
    """One of the network's ways; None for its plain forward."""


@runtime_checkable
class Foretelling(Protocol):
    """A network whose evaluation is not counted from outside."""

    def footprint(self, work: Work, device: torch.device) -> Footprint:
        """Return what an evaluation will take."""
        ...


def footprint(network: nn.Module, work: Work, device: torch.device) -> Footprint:
    """Count what one evaluation will take on a device, which need not be there.

    Args:
        network: with or without memory; it is copied without.
        work: to be counted. The inputs (float32) and the weights are not, the output and the gradients are.
        device: where it will run.
    """
    if isinstance(network, Foretelling):
        return network.footprint(work, device)
    copied = countable(network, work)
    inputs, times = given_to(work)
    options: dict[str, Any] = {} if work.way is None else {"way": work.way}

    def run() -> None:
        with calculating(work, device):
            output = copied(inputs, times, **options)
        if work.training:
            output.float().square().mean().backward()

    return count(run, device, [inputs, times, *copied.parameters(), *copied.buffers()])


def countable(network: nn.Module, work: Work) -> nn.Module:
    """Return a copy of a network that can be counted at some work."""
    copied = without_memory(network).train(work.training)
    if _lowered_by_hand(work):
        for weights in copied.parameters():  # buffers, such as tables over the times, stay as autocast leaves them
            weights.data = weights.data.to(work.precision)
    return copied


def given_to(work: Work) -> tuple[Tensor, Tensor]:
    """Return inputs and times without memory."""
    inputs, times = torch.empty(work.shape, device="meta"), torch.ones(work.shape[0], device="meta")
    return inputs.to(work.precision) if _lowered_by_hand(work) else inputs, times


@contextmanager
def calculating(work: Work, device: torch.device) -> Generator[None]:
    """Take gradients if the work does, in its precision."""
    lowered = work.precision != torch.float32
    by_hand = _Lowering(work.precision) if _lowered_by_hand(work) else nullcontext()
    with torch.set_grad_enabled(work.training), _autocast(device.type, work.precision, enabled=lowered), by_hand:
        yield


class _Lowering(TorchFunctionMode):
    """Lowers what convolutions and matrix products are given, as autocast does, such as times in float32."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self._precision = precision

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _LOWERED:
            args, given = tuple(map(self._lower, args)), {name: self._lower(value) for name, value in given.items()}
        return func(*args, **given)

    def _lower(self, value: object) -> object:
        return value.to(self._precision) if isinstance(value, Tensor) and value.is_floating_point() else value


def _lowered_by_hand(work: Work) -> bool:
    """Tell whether torch would lower weights and inputs by itself, but for autocast, which knows no "meta"."""
    return work.precision != torch.float32 and work.way in {None, "plain"}


def count(run: Callable[[], object], device: torch.device, given: Iterable[Tensor] = ()) -> Footprint:
    """Count what a function does with tensors on the device "meta", as if they were on another.

    Args:
        run: the function.
        device: the other device.
        given: tensors that were there before and do not count.
    """
    ledger = _Ledger(device, given)
    token = _counting.set(ledger)
    try:
        with ledger:
            run()
    finally:
        _counting.reset(token)
    return Footprint(ledger.peak, ledger.operations)


def stood_for(device: torch.device) -> torch.device:
    """Return the device that tensors without memory stand for (a CPU unless they are counted), else the device."""
    ledger = _counting.get()
    if ledger is not None:
        return ledger.device
    return torch.device("cpu") if device.type == "meta" else device


def coarser(pieces: float) -> int:
    """Return how many pieces of a volume to join to one: none, but where they are only counted.

    Args:
        pieces: that a volume is worked through in, one after the other.
    """
    return 1 if _counting.get() is None else max(1, round(pieces / _PIECES))


@contextmanager
def joined(pieces: int) -> Generator[None]:
    """Count what is made in a block as a share of itself, since it is as large as so many of what it stands for."""
    ledger = _counting.get()
    if ledger is None:
        yield
        return
    ledger.scale = pieces
    try:
        yield
    finally:
        ledger.scale = 1


def without_memory(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose weights are shapes alone."""
    tensors = [*network.parameters(), *network.buffers()]
    known = {id(tensor): _shape_of(tensor) for tensor in tensors}
    return copy.deepcopy(network, known)


@contextmanager
def _autocast(kind: str, precision: torch.dtype, *, enabled: bool) -> Generator[None]:
    """Say that autocast is on for a kind of device, which torch.autocast does not where there is no such device."""
    before = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    torch.set_autocast_enabled(kind, enabled)
    torch.set_autocast_dtype(kind, precision if enabled else before[1])
    try:
        yield
    finally:
        torch.set_autocast_enabled(kind, before[0])
        torch.set_autocast_dtype(kind, before[1])


def _shape_of(tensor: Tensor) -> Tensor:
    bare = tensor.detach().to("meta")
    return nn.Parameter(bare, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else bare


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it so
    """Counts memory that comes and goes, and operations."""

    def __init__(self, device: torch.device, given: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.device = device
        self.scale = 1
        self.peak = self.operations = self._current = 0
        self._known = {identity(tensor.untyped_storage()) for tensor in given}

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = answer(func, args, kwargs)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self._note(tensor)
        cost = flop_registry.get(func._overloadpacket)  # noqa: SLF001 - as torch's own flop counter does
        if cost is not None:
            self.operations += cost(*args, **kwargs, out_val=result)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = identity(storage)
        if key in self._known or tensor.device.type != "meta":
            return
        self._known.add(key)
        size = storage.nbytes() // self.scale
        self._current += size
        self.peak = max(self.peak, self._current)
        weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._current -= size


_counting: ContextVar[_Ledger | None] = ContextVar("counting", default=None)
