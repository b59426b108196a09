"""What every component owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
import torch
from pydantic import ConfigDict, Field, PrivateAttr
from torch import Tensor
from typing_extensions import override

from ddmkit import Component, Schedule
from ddmkit.testing import check


class Geometric(Schedule):
    """Every step keeps the same share of the signal."""

    name: ClassVar[str] = "geometric"
    keep: float = Field(default=0.99, gt=0, lt=1, description="Share of the signal's power that a step keeps.")

    @override
    def alphas_bar(self) -> Tensor:
        return self.keep ** torch.arange(self.timesteps + 1, dtype=torch.float64)


class Mapped(Geometric):
    """A setting of names, in any order."""

    name: ClassVar[str] = "mapped"
    shares: dict[str, float] = Field(default={}, description="Shares by name.")


def test_the_order_of_names_which_yaml_sorts_is_no_change() -> None:
    check(Mapped(shares={"b": 0.5, "a": 0.25}))


class NoHelp(Geometric):  # noqa: D101 - the mistake under test
    pass


class NoDescription(Geometric):
    """A setting that nobody explains."""

    secret: int = 1


class Spaced(Geometric):
    """A name that the shell would take apart."""

    name: ClassVar[str] = "two words"


class Mutable(Geometric):
    """Settings that change behind one's back."""

    model_config = ConfigDict(frozen=False)


class Lenient(Geometric):
    """Settings that swallow a misspelling."""

    model_config = ConfigDict(extra="ignore")


class Forgetful(Geometric):
    """A setting that YAML does not bring back."""

    hidden: int = Field(default=1, exclude=True, description="Never written.")


class Counting(Geometric):
    """Counts how often it is asked, which frozen settings do not keep it from."""

    _asked: int = PrivateAttr(default=0)

    @override
    def alphas_bar(self) -> Tensor:
        self._asked += 1
        return super().alphas_bar()


class Growing(Geometric):
    """A setting that grows."""

    seen: list[int] = Field(default=[], description="What it has seen.")

    @override
    def alphas_bar(self) -> Tensor:
        self.seen.append(self.timesteps)
        return super().alphas_bar()


class Writing(Geometric):
    """Writes where frozen settings cannot see it."""

    @override
    def alphas_bar(self) -> Tensor:
        vars(self)["asked"] = True
        return super().alphas_bar()


class Tabled(Geometric):
    """Holds a table from the start, and leaves it alone."""

    _table: Tensor = PrivateAttr(default_factory=lambda: torch.linspace(0, 1, 5))


class Needy(Geometric):
    """A setting without a default."""

    thought: str = Field(description="What came to mind.")


def test_a_component_may_hold_tensors() -> None:
    check(Tabled)


def test_a_class_whose_settings_have_no_defaults_is_checked_once_it_is_made() -> None:
    said = r"^Needy has no default for thought: check it made, as Needy\(thought=…\)\.$"
    with pytest.raises(AssertionError, match=said):
        check(Needy)
    check(Needy(thought="of you"))


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Writing, "Writing changes while it is used"),
        (NoHelp, "NoHelp has no docstring"),
        (NoDescription, r"NoDescription\.secret has no description"),
        (Spaced, r"Spaced\.name is 'two words'"),
        (Mutable, "Mutable can be changed"),
        (Lenient, "Lenient takes a setting it does not have"),
        (Counting, "Counting changes while it is used"),
        (Growing, "Growing changes while it is used"),
        (Forgetful(hidden=2), "Forgetful comes back from YAML changed"),
    ],
)
def test_a_component_without_help_or_frozen_settings_is_caught(
    component: Component | type[Component], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(component, sentence)
