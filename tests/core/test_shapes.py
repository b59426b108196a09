"""What operations answer to tensors without memory, beside what torch says when it is asked itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ddmkit.shapes import answer, identity

ATEN = torch.ops.aten
META = torch.device("meta")


def bare(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(size, dtype=dtype, device=META)


VOLUME, NUMBERS = (2, 6, 4, 5, 3), (3, 2)
LAST = bare(*VOLUME).contiguous(memory_format=torch.channels_last_3d)
STATISTICS = bare(2, 3)
CONVOLUTION: tuple[Any, ...] = ([1, 1, 1], [1, 1, 1], [1, 1, 1], False, [0, 0, 0], 1)
NORM: tuple[Any, ...] = (2, 6, 60, 3)
QUESTIONS: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "a sum of whole numbers": (ATEN.add.Tensor, (bare(*NUMBERS, dtype=torch.int64), 1), {}),
    "the same with a fraction": (ATEN.add.Tensor, (bare(*NUMBERS, dtype=torch.int64), 1.0), {}),
    "of truths": (ATEN.add.Tensor, (bare(*NUMBERS, dtype=torch.bool), True), {}),
    "of truths and a whole number": (ATEN.add.Tensor, (bare(*NUMBERS, dtype=torch.bool), 1), {}),
    "another type": (ATEN._to_copy.default, (bare(*NUMBERS),), {"dtype": torch.bfloat16}),  # noqa: SLF001 - its name
    "channels last": (ATEN.silu.default, (LAST,), {}),
    "channels first": (ATEN.silu.default, (bare(*VOLUME),), {}),
    "turned": (ATEN.neg.default, (bare(*NUMBERS).T,), {}),
    "strides of nothing": (ATEN.neg.default, (bare(3, 1).expand(3, 2),), {}),
    "a list of tensors": (ATEN.cat.default, ([bare(*VOLUME), LAST], 1), {}),
    "a convolution": (ATEN.convolution.default, (bare(*VOLUME), bare(5, 6, 3, 3, 3), None, *CONVOLUTION), {}),
    "gradients that are not all wanted": (
        ATEN.convolution_backward.default,
        (bare(2, 5, 4, 5, 3), LAST, bare(5, 6, 3, 3, 3), None, *CONVOLUTION, [False, True, False]),
        {},
    ),
    "a normalization": (ATEN.native_group_norm.default, (bare(*VOLUME), bare(6), bare(6), *NORM, 1e-5), {}),
    "its gradients": (
        ATEN.native_group_norm_backward.default,
        (bare(*VOLUME), bare(*VOLUME), STATISTICS, STATISTICS, bare(6), *NORM, [True, True, False]),
        {},
    ),
    "pieces of a tensor": (ATEN.split.Tensor, (bare(*VOLUME), 3, 1), {}),
    "nothing but a size": (ATEN.zeros.default, ([2, 3],), {"device": META}),
}


def looks(answered: Tensor | tuple[Tensor | None, ...]) -> list[object]:
    """Return all that can be seen of tensors."""
    return [
        None if one is None else (one.shape, one.stride(), one.dtype, one.device, one.untyped_storage().nbytes())
        for one in (answered if isinstance(answered, tuple | list) else [answered])
    ]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_looks_as_torch_s_own_whatever_was_asked_before(question: str) -> None:
    for func, args, kwargs in QUESTIONS.values():
        answer(func, args, kwargs)
    func, args, kwargs = QUESTIONS[question]
    found, expected = answer(func, args, kwargs), func(*args, **kwargs)
    assert isinstance(found, tuple) == isinstance(expected, tuple)
    assert looks(found) == looks(expected)


def test_what_is_made_shares_nothing_and_what_is_a_view_or_written_to_shares_all() -> None:
    given = bare(*NUMBERS)
    first, second = (answer(ATEN.neg.default, (given,), {}) for _ in range(2))
    assert len({identity(tensor.untyped_storage()) for tensor in (given, first, second)}) == 3
    assert answer(ATEN.neg_.default, (given,), {}) is given
    for _ in range(2):
        view = answer(ATEN.t.default, (given,), {})
        assert identity(view.untyped_storage()) == identity(given.untyped_storage())


def test_tensors_with_memory_are_calculated_with() -> None:
    for value in (1.0, 2.0):
        assert answer(ATEN.neg.default, (torch.tensor([value]),), {}).tolist() == [-value]
        mixed = answer(ATEN.mul.Tensor, (bare(2, dtype=torch.int64), torch.tensor(value)), {})
        assert mixed.dtype == torch.float32


def test_torch_is_asked_once_for_layers_that_are_alike() -> None:
    asked: list[torch.Size] = []

    class Norm:
        _schema = ATEN.native_group_norm.default._schema  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as torch's own modes do

        def __call__(self, *args: Any) -> Any:  # noqa: ANN401 - whatever torch has
            asked.append(args[0].shape)
            return ATEN.native_group_norm.default(*args)

    norm = Norm()
    for sides in ((4, 5, 3), (4, 5, 3), (5, 4, 3)):
        for _layer in range(3):
            made = answer(norm, (bare(2, 6, *sides), bare(6), bare(6), *NORM, 1e-5), {})
            assert made[0].shape == (2, 6, *sides)
    assert asked == [(2, 6, 4, 5, 3), (2, 6, 5, 4, 3)]
