"""What no component may be: one sentence says what is wrong with it and what to write instead."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field, PlainSerializer
from torch import Tensor
from typing_extensions import override

import ddmkit
from ddmkit import Component, Denoise, Draw, Encoding, Sampler, Tracker
from ddmkit.kinds import KINDS
from ddmkit.soundness import wrong


class Whole(Sampler):
    """A sampler that gives the noise back."""

    name: ClassVar[str] = "whole"

    @override
    def sample(self, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
        return noise


class Underived(Component):
    """Says that it is a sampler."""

    kind: ClassVar[str] = "sampler"
    name: ClassVar[str] = "underived"


class Misspelt(Underived):
    """Means to be a sampler."""

    kind: ClassVar[str] = "smapler"


class Kindless(Component):
    """Is of no kind."""

    name: ClassVar[str] = "kindless"


class Coffee(Whole):
    """Is a sampler, and says that it is none."""

    kind: ClassVar[str] = "coffee"


class Numbered(Underived):
    """Has a kind that is no word."""

    kind: ClassVar[str] = 3  # type: ignore[assignment]  # the mistake under test


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (Underived, "whose kind is 'sampler', but which is not derived from ddmkit.Sampler; derive it from ddmkit.Sa"),
        (Misspelt, "whose kind 'smapler' is none; derive it from ddmkit.Sampler, which says the kind; "),
        (Kindless, "which has no kind; derive it from the interface of its kind, which says the kind; "),
        (Coffee, "whose kind 'coffee' is none; derive it from ddmkit.Sampler, which says the kind; "),
        (Numbered, "whose kind 3 is none; derive it from the interface of its kind, which says the kind; "),
    ],
)
def test_a_component_of_no_kind_is_told_its_interface_and_the_kinds(component: type[Component], said: str) -> None:
    sentence = wrong(component)
    assert sentence.startswith(f"offers {component.__module__}.{component.__name__}, {said}")
    for kind, interface in KINDS.items():
        assert f"{kind} (ddmkit.{interface.__name__})" in sentence


def test_every_interface_is_of_the_kind_that_it_says() -> None:
    exported = [
        part
        for part in (getattr(ddmkit, name) for name in ddmkit.__all__)
        if isinstance(part, type) and Component in part.__bases__
    ]
    assert {interface.kind: interface for interface in exported if issubclass(interface, Component)} == KINDS
    assert wrong(Whole) == ""


@pytest.mark.parametrize("name", ["Bad One", "a,b", "", "a.b", "ümlaut", "-a", "a--b", "3d", "a=b", "++", "a\n"])
def test_a_name_that_no_command_line_takes_is_refused(name: str) -> None:
    component = type("Odd", (Whole,), {"__doc__": "Odd.", "name": name, "__annotations__": {"name": ClassVar[str]}})
    assert re.search(
        r", whose name .* is none that can be typed anywhere; give small letters, .* such as my-sampler$",
        wrong(component),
    )


@pytest.mark.parametrize("name", ["a", "unet3d-avg", "dpm-solver++", "brats2023", "none"])
def test_names_as_the_field_has_them_are_taken(name: str) -> None:
    component = type("Even", (Whole,), {"__doc__": "Even.", "name": name, "__annotations__": {"name": ClassVar[str]}})
    assert wrong(component) == ""


def test_no_tracker_may_be_called_as_none_is() -> None:
    class Nobody(Tracker):
        """Follows nothing."""

        name: ClassVar[str] = "none"

        @override
        def listen(self, run: object) -> object:
            return object()

    class Nowhere(Encoding):
        """Encodes nothing, which is called none too."""

        name: ClassVar[str] = "none"
        channels: ClassVar[int] = 0

        @override
        def encode(self, window: object) -> Any:
            raise NotImplementedError

    assert wrong(Nobody).endswith("whose name is what is typed for no tracker, --tracker none; choose another")
    assert wrong(Nowhere) == ""


@pytest.mark.filterwarnings("ignore:Field name")
def test_a_forgotten_classvar_is_told_as_it_is_written() -> None:
    class Second(Whole):
        """A sampler of second order."""

        order: int = 2  # type: ignore[misc]  # the mistake under test

    class Titled(Whole):
        """A sampler whose name is a setting."""

        name: str = "titled"  # type: ignore[misc]  # the mistake under test

    class Meant(Whole):
        """A sampler with a setting that has to be called otherwise."""

        order: int = Field(default=2, description="How exact.")  # type: ignore[misc]  # likewise

    assert wrong(Second).endswith(
        "whose setting order hides what every sampler has under that name; write order: ClassVar[int] = 2"
    )
    assert wrong(Titled).endswith("; write name: ClassVar[str] = 'titled'")
    assert wrong(Meant).endswith("; rename the setting")


class Beyond(Whole):
    """A default that its own range does not allow."""

    keep: float = Field(default=2.0, lt=1, description="Share.")


class Strange(Whole):
    """A default of a type that is not read back as it is written."""

    table: Annotated[int, PlainSerializer(lambda number: f"no. {number}")] = Field(default=1, description="A number.")


def test_a_default_out_of_its_own_range_is_told_to_come_into_it_and_a_strange_type_to_be_plain() -> None:
    assert wrong(Beyond).endswith("(Input should be less than 1); give it a default that its own type and range allow")
    assert wrong(Strange).endswith("give it a type of numbers, words, lists or mappings")


def test_an_instance_in_place_of_a_class_is_told_to_go_without_parentheses() -> None:
    assert wrong(Whole()) == (
        "offers an instance of Whole, which is not a Component class; give the class: Whole, without ()"
    )
    assert "list classes derived from ddmkit.Sampler or its like" in wrong(3)
