"""What is typed after -o: a name where a setting is due, and one word where several are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from pydantic import Field
from tests.core.conftest import Tiny

from ddmkit import Backbone, Component, ConfigurationError, Registry, UnknownComponentError, hookimpl
from ddmkit.assembly import component

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]


class Listing(Tiny):
    """A network that is told several things."""

    name: ClassVar[str] = "listing"
    words: tuple[str, ...] = Field(default=(), description="Words.")
    pair: tuple[int, int] = Field(default=(1, 2), description="Two numbers.")
    levels: list[int] | None = Field(default=None, description="Numbers.")
    rows: tuple[tuple[int, ...], ...] = Field(default=(), description="Rows of numbers.")


class _Listing:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Listing]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Listing())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "backbone=tinny",
            "-o backbone=tinny: No backbone is named 'tinny'. Did you mean 'tiny'? Installed: listing, tiny. Choose by",
        ),
        (
            "backbone=listing",
            "-o backbone=listing sets nothing: choose listing by --backbone listing, and its settings by -o KIND.",
        ),
        (" patch = box", "-o  patch = box sets nothing: choose box by --patch box, and "),
        ("tracker=tensorbord", "-o tracker=tensorbord: No tracker is named 'tensorbord'. Installed: none. "),
    ],
)
def test_a_name_given_for_a_setting_is_answered_with_how_components_are_chosen(
    configured: Configured, option: str, said: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        configured(option)
    assert str(error.value).startswith(said)


def test_a_name_that_nothing_has_is_an_unknown_component_wherever_it_is_typed(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError, match="Did you mean 'listing'"):
        component(registry, Backbone, "tiny", ["backbone=listin"])


@pytest.mark.parametrize("option", ["training=5", "backbone=", "backbone", "=tiny"])
def test_what_names_no_component_is_answered_with_what_an_option_looks_like(
    configured: Configured, option: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"^-o takes KIND\.FIELD=VALUE, such as "):
        configured(option)


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("words=t1", "words", ("t1",)),
        ("words=t1,t2", "words", ("t1", "t2")),
        ("words=[]", "words", ()),
        ("levels=3", "levels", [3]),
        ("levels=null", "levels", None),
    ],
)
def test_one_word_stands_for_a_list_of_it(registry: Registry, option: str, field: str, value: object) -> None:
    made = component(registry, Backbone, "listing", [f"backbone.{option}"])
    assert getattr(made, field) == value


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("pair=3", r"backbone\.pair=3: it should be a list, which is typed a,b,c\."),
        ("words={a: 1}", r"backbone\.words=\{'a': 1\}: it should be a list"),
        ("levels=three", r"backbone\.levels='three': it should be a list"),
        ("rows=1,2", r"backbone\.rows=1: it should be a list"),
    ],
)
def test_what_makes_no_list_by_itself_is_refused_as_it_was_typed(registry: Registry, option: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{said}"):
        component(registry, Backbone, "listing", [f"backbone.{option}"])
