"""A component is typed on a command line as it would be read there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from ddmkit import Component, Dataset, Registry, Survey, hookimpl
from ddmkit.assembly import component, typed


class Told(Dataset):
    """A layout with settings of every kind."""

    name: ClassVar[str] = "told"
    file: Path | None = None
    words: tuple[str, ...] = ()
    text: str = "text"
    sides: tuple[int, int] = (1, 2)
    share: float = 0.5
    on: bool = False

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"file": Path("my data/a,b.yaml"), "words": ("one", "two, three"), "sides": (7, 8), "share": 1e-7, "on": True},
        {"text": "yes", "words": ("null",)},
        {"text": "2020-01-01", "words": ("ä: b",)},
        {"text": "a: b: c"},
        {"text": "[", "file": Path("~/5")},
        {"text": ""},
        {"text": " padded, and listed "},
    ],
)
def test_what_a_component_is_typed_as_builds_it_again(settings: dict[str, Any]) -> None:
    told = Told(**settings)
    kind, name, *rest = typed(told)
    assert (kind, name) == ("--dataset", "told")
    assert rest[::2] == ["-o"] * (len(rest) // 2)
    assert len(rest[1::2]) == len(settings)
    assert component(Registry(_Layouts()), Dataset, "told", rest[1::2]) == told


class _Layouts:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Told]


def test_plain_settings_are_typed_plainly() -> None:
    told = Told(file=Path("mine.yaml"), sides=(3, 4))
    assert typed(told)[2:] == ["-o", "dataset.file=mine.yaml", "-o", "dataset.sides=[3, 4]"]
