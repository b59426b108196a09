"""Tensors on their way from one process to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed

from ddmkit import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit.stages import State

_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.bool)
DATA, _FORMS = 1, 2
"""Tags that tell apart what goes from one process to another in the same group."""
_MOST = 1024
"""Numbers that say of a state what tensors it has: enough for some 120 volumes."""


class Form(NamedTuple):
    """What has to be known of a tensor before it comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    @classmethod
    def of(cls, tensor: Tensor) -> Form:
        """Return that of a tensor."""
        last = tensor.dim() == 5 and tensor.is_contiguous(memory_format=torch.channels_last_3d)  # noqa: PLR2004 - N, C, X, Y, Z
        return cls(tuple(tensor.shape), tensor.dtype, last and not tensor.is_contiguous())

    def empty(self, device: torch.device) -> Tensor:
        """Return a tensor to be filled."""
        return torch.empty(self.shape, dtype=self.dtype, device=device, memory_format=self._layout)

    def laid_out(self, tensor: Tensor) -> Tensor:
        """Return a tensor of this shape as it is to lie in memory."""
        return tensor.contiguous(memory_format=self._layout)

    @property
    def _layout(self) -> torch.memory_format:
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format


class Pending:
    """Tensors that are on their way, and stay in memory until they have arrived."""

    def __init__(self) -> None:
        self._under_way: list[tuple[distributed.Work, Tensor]] = []

    def add(self, work: distributed.Work | None, tensor: Tensor) -> None:
        """Take note of one more."""
        if work is not None:
            self._under_way.append((work, tensor))

    def wait(self) -> None:
        """Wait until all have arrived."""
        while self._under_way:
            self._under_way.pop(0)[0].wait()


class Channel:
    """Sends tensors to other processes, and receives theirs in the order in which they were sent.

    Args:
        group: of all processes.
        device: where tensors are and come to.
        direct: whether the group carries what lies on the device; else it goes by the memory of the host.
        tag: of what is sent, where other things are sent in the group too.
    """

    def __init__(self, group: distributed.ProcessGroup, device: torch.device, *, direct: bool, tag: int = 0) -> None:
        self._group, self._device, self._tag = group, device, tag
        self._carrier = device if direct else torch.device("cpu")

    def send(self, tensor: Tensor, to: int, pending: Pending) -> None:
        """Begin to send a tensor, whose form is known there."""
        flat = _flat(tensor.detach().to(self._carrier))
        pending.add(distributed.isend(flat, dst=to, group=self._group, tag=self._tag), flat)

    def receive(self, form: Form, sender: int) -> Tensor:
        """Return a tensor once it has come."""
        tensor = form.empty(self._carrier)
        work = distributed.irecv(_flat(tensor), src=sender, group=self._group, tag=self._tag)
        assert work is not None  # noqa: S101 - this process is in the group
        work.wait()
        return tensor.to(self._device)


def send_forms(state: State, to: int, pending: Pending, group: distributed.ProcessGroup) -> None:
    """Begin to send what tensors a state has.

    Raises:
        ConfigurationError: there are too many, or some of a type that is not sent.
    """
    numbers = written(list(map(Form.of, state)))
    told = torch.zeros(_MOST, dtype=torch.int64)
    told[: len(numbers)] = torch.tensor(numbers)
    pending.add(distributed.isend(told, dst=to, group=group, tag=_FORMS), told)


def receive_forms(sender: int, group: distributed.ProcessGroup) -> list[Form]:
    """Return what tensors a state has that will come."""
    told = torch.empty(_MOST, dtype=torch.int64)
    distributed.recv(told, src=sender, group=group, tag=_FORMS)
    return _read(told.tolist())


def written(forms: Sequence[Form]) -> list[int]:
    """Return numbers that say what tensors a state has.

    Raises:
        ConfigurationError: there are too many, or some of a type that is not sent.
    """
    if other := next((form.dtype for form in forms if form.dtype not in _TYPES), None):
        msg = f"The network passes tensors of {other} from stage to stage, which is not sent: make them torch.float32."
        raise ConfigurationError(msg)
    numbers = [len(forms)]
    for form in forms:
        numbers += [_TYPES.index(form.dtype), int(form.channels_last), len(form.shape), *form.shape]
    if len(numbers) > _MOST:
        msg = (
            f"The network passes {len(forms)} tensors from stage to stage at once, more than can be told: type "
            "other -o engine.cuts=…"
        )
        raise ConfigurationError(msg)
    return numbers


def _read(numbers: Sequence[int]) -> list[Form]:
    forms: list[Form] = []
    place = 1
    for _ in range(numbers[0]):
        dtype, last, dimensions = numbers[place : place + 3]
        shape = numbers[place + 3 : place + 3 + dimensions]
        forms.append(Form(tuple(shape), _TYPES[dtype], bool(last)))
        place += 3 + dimensions
    return forms


def _flat(tensor: Tensor) -> Tensor:
    """Return a tensor's bytes as they lie in memory, of one that is laid out oddly a copy."""
    if Form.of(tensor).channels_last:
        tensor = tensor.permute(0, 2, 3, 4, 1)
    return tensor.contiguous().view(-1).view(torch.uint8)
