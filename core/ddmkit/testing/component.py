"""What every component owes, whatever its kind."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from ddmkit.testing.promises import alike, changed, in_a_sentence, made, require

if TYPE_CHECKING:
    from ddmkit.component import Component


@in_a_sentence
def check_component(component: Component | type[Component]) -> None:
    """Check what holds for every kind: frozen, helpful, and the same after a trip through YAML.

    Raises:
        AssertionError: it breaks a promise.
    """
    own = made(component)
    cls = type(own)
    title = cls.__qualname__
    for attribute in ("kind", "name"):
        word = getattr(cls, attribute, None)
        typed = isinstance(word, str) and word != "" and not any(letter.isspace() for letter in word)
        require(typed, f"{title}.{attribute} is {word!r}, but a user types it: one word without spaces.")
    require(cls.__dict__.get("__doc__"), f"{title} has no docstring, and that is its help.")
    for field, about in cls.model_fields.items():
        require(about.description, f"{title}.{field} has no description, and that is its help.")
    require(cls.model_config.get("frozen"), f"{title} can be changed after it is made; keep frozen=True.")
    require(not _accepts_a_misspelling(own), f"{title} takes a setting it does not have; keep extra='forbid'.")
    settings = yaml.safe_load(yaml.safe_dump(own.tree()))
    require(settings.pop("name") == own.name, f"{title}.tree() does not begin with its name.")
    back = cls.model_validate(settings)
    same = all(alike(getattr(back, field), getattr(own, field)) for field in cls.model_fields)
    require(same, f"{title} comes back from YAML changed: {settings}.")


def kept_state(component: Component) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a component holds as a copy to compare with later: its settings, what is cached, what is private."""
    private = component.__pydantic_private__ or {}
    return copy.deepcopy(vars(component)), copy.deepcopy(private)


def _accepts_a_misspelling(component: Component) -> bool:
    try:
        changed(component, no_such_setting=1)
    except ValidationError:
        return False
    return True
