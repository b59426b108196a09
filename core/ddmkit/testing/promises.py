"""What all checks are written with."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from ddmkit.component import Component
from ddmkit.errors import named

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C", bound=Component)
T = TypeVar("T")


def require(promise: object, sentence: str) -> None:
    """Raise AssertionError with the sentence where a promise is broken."""
    if not promise:
        raise AssertionError(sentence)


def changed(component: C, **changes: object) -> C:
    """Return the component with some settings changed."""
    return type(component).model_validate({**component.model_dump(), **changes})


def outcome(call: Callable[[], T]) -> T | Exception:
    """Return what a call returns or raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the check says what it should have been
        return error


def described(result: object) -> str:
    """Say in half a sentence what `outcome` found."""
    if isinstance(result, Exception):
        return f"raises {named(result)}".rstrip(".: ")
    return f"returns {result!r}"
