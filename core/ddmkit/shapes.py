"""What torch's operations answer to tensors without memory, asked for once.

Torch finds the shapes of many answers by a walk through Python, a thousand times slower than the tensors are made. The
layers of a network, and the parts that one may be cut into, ask the same again and again.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

_MANY = 2**12
"""Answers that are kept: those of some dozens of networks and sizes."""


def answer(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - as torch has it
    """Return what `func(*args, **kwargs)` does, an operation's answer, as a dispatch mode is asked for it."""
    if not _makes_its_own(func):
        return func(*args, **kwargs)
    try:
        shapes = _shapes(func, _frozen(args), _frozen(kwargs.items()))
    except TypeError:  # of something that has no hash, or memory
        shapes = None
    if shapes is None:
        return func(*args, **kwargs)
    made = tuple(None if shape is None else shape.empty() for shape in shapes)
    return made if len(func._schema.returns) > 1 else made[0]  # noqa: SLF001 - as torch's own modes do


def identity(storage: torch.UntypedStorage) -> int:
    """Return what all views of one piece of memory share; a tensor without memory has no address."""
    shared: int = storage._cdata  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no public name
    return shared


class _Shape(NamedTuple):
    """All there is to a tensor without memory that shares nothing with another one."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def empty(self) -> Tensor:
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device="meta")


class _Exactly(NamedTuple):
    """A value that only equals those of its type: of 1, 1.0 and True each makes something else of a tensor."""

    kind: type
    value: Any


@cache
def _makes_its_own(func: Any) -> bool:  # noqa: ANN401 - as torch has it
    """Tell whether an operation makes tensors of tensors, writes into none, and hands out no part of one."""
    schema = func._schema  # noqa: SLF001 - as torch's own modes do
    own = all(str(made.type) == "Tensor" and made.alias_info is None for made in schema.returns)
    given = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return own and given and bool(schema.returns) and not schema.is_mutable


@lru_cache(_MANY)
def _shapes(func: Any, args: tuple[Any, ...], kwargs: tuple[Any, ...]) -> tuple[_Shape | None, ...] | None:  # noqa: ANN401 - as torch has it
    """Return the shapes of what an operation answers, None for a tensor that it leaves out.

    Args:
        func: the operation.
        args: what it is given, frozen.
        kwargs: names and values, frozen.

    Returns:
        The shapes; None if there is more to the tensors than these.
    """
    given = _thawed(args)
    found = func(*given, **dict(_thawed(kwargs)))
    tensors = found if isinstance(found, tuple) else (found,)
    there = [tensor for tensor in tensors if tensor is not None]
    shapes = tuple(None if tensor is None else _shape_of(tensor) for tensor in tensors)
    apart = len({identity(tensor.untyped_storage()) for tensor in there}) == len(there)
    return shapes if apart and all(map(_is_all_of_itself, there)) else None


def _is_all_of_itself(tensor: Tensor) -> bool:
    """Tell whether a tensor is the whole of what it lies in."""
    whole = _shape_of(tensor).empty().untyped_storage().nbytes()
    return tensor.device.type == "meta" and tensor.untyped_storage().nbytes() == whole


def _shape_of(tensor: Tensor) -> _Shape:
    return _Shape(tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _frozen(values: Iterable[Any]) -> tuple[Any, ...]:
    """Return values as something that has a hash.

    Raises:
        TypeError: a tensor has memory.
    """
    return tuple(map(_frozen_one, values))


def _frozen_one(value: Any) -> Any:  # noqa: ANN401 - whatever an operation is given
    if isinstance(value, Tensor):
        if value.device.type != "meta":
            msg = "What is in a tensor may matter, too."
            raise TypeError(msg)
        return _shape_of(value)
    return _frozen(value) if isinstance(value, list | tuple) else _Exactly(type(value), value)


def _thawed(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(map(_thawed_one, values))


def _thawed_one(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, _Shape):
        return value.empty()
    return value.value if isinstance(value, _Exactly) else _thawed(value)
