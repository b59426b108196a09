"""What all checks are written with."""

from __future__ import annotations

import random
import traceback
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch

from ddmkit.component import Component
from ddmkit.errors import ConfigurationError, DeviceError, PluginError, named, one_line
from ddmkit.origin import innermost

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

C = TypeVar("C", bound=Component)
F = TypeVar("F", bound="Callable[..., None]")
T = TypeVar("T")


def require(promise: object, sentence: str) -> None:
    """Raise AssertionError with the sentence where a promise is broken."""
    if not promise:
        raise AssertionError(sentence)


def in_a_sentence(check: F) -> F:
    """Let a check of a component end with one sentence, whatever the component does.

    What says that the component cannot work here, ConfigurationError or DeviceError, is passed on as it is.
    """

    @wraps(check)
    def checked(component: object, *more: Any, **others: Any) -> None:  # noqa: ANN401 - whatever the check takes
        try:
            check(component, *more, **others)
        except PluginError as error:
            raise AssertionError(one_line(error)) from error
        except (ConfigurationError, DeviceError):
            raise
        except AssertionError as error:
            sentence = one_line(error) or _ends(component, "a bare assert", error)
            if str(error) == sentence:
                raise
            raise AssertionError(sentence) from error
        except (Exception, SystemExit) as error:
            raise AssertionError(_ends(component, named(error), error)) from error

    return cast("F", checked)


def called(checked: object) -> str:
    """Return what is checked, a component or a plugin, as its author calls it."""
    own = checked if isinstance(checked, type | ModuleType) else type(checked)
    return getattr(own, "__qualname__", own.__name__)


def _ends(checked: object, how: str, error: BaseException) -> str:
    """Say how a check ended that should have come to its end."""
    module: str = checked.__name__ if isinstance(checked, ModuleType) else checked.__module__
    own = innermost(error, {module.partition(".")[0]})  # whose author knows that place
    last = own[1] if own else traceback.extract_tb(error.__traceback__)[-1]
    return f"{called(checked)}'s check ends with {how} (in {last.filename}, line {last.lineno})."


def made(component: C | type[C]) -> C:
    """Return a component, a class with its defaults.

    Raises:
        AssertionError: it has a setting without a default.
    """
    if not isinstance(component, type):
        return component
    needed = [field for field, about in component.model_fields.items() if about.is_required()]
    asked = ", ".join(f"{field}=…" for field in needed)
    title = component.__qualname__
    require(not needed, f"{title} has no default for {', '.join(needed)}: check it made, as {title}({asked}).")
    return component()


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


@contextmanager
def untouched_chance(title: str) -> Generator[None]:
    """Check that a block neither seeds nor draws from the random generators that a whole program shares."""
    before = _shared_chance()
    yield
    for whose, state in _shared_chance().items():
        said = f"{title} changes {whose}'s global random generator, which others draw from; use what it is given"
        require(alike(state, before[whose]), f"{said}, or a generator of its own.")


def _shared_chance() -> dict[str, object]:
    state = np.random.get_state()  # noqa: NPY002 - whether others use it is what is asked
    return {"torch": torch.get_rng_state(), "numpy": state, "Python": random.getstate()}


def alike(one: object, other: object) -> bool:
    """Compare what may hold tensors and arrays, whose own comparison has no one answer."""
    match one, other:
        case torch.Tensor(), torch.Tensor():
            return torch.equal(one, other)
        case np.ndarray(), np.ndarray():
            return np.array_equal(one, other)
        case dict(), dict():
            return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
        case ((list() | tuple()), (list() | tuple())):
            return len(one) == len(other) and all(map(alike, one, other))
        case _:
            return bool(one == other)


def misplaced(call: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor) -> str:
    """Say how a function fails that makes tensors on another device than that of what it is given; nothing if not.

    It is tried on "meta", which holds shapes alone: no test of a value can be made there, and that proves nothing.
    """
    answer = outcome(lambda: call(given.to("meta")).device.type)
    if isinstance(answer, NotImplementedError) or "on meta tensors" in str(answer):
        return ""
    how = described(answer) if isinstance(answer, Exception) else f"answers on {answer}"
    return "" if answer == "meta" else f"given tensors on another device, {how}"
