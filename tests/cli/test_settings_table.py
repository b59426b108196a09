"""The table of settings says what pydantic holds them to."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from ddmkit.component import Settings
from ddmkit_cli.console import out
from ddmkit_cli.settings_table import settings_table


def _fail() -> int:
    msg = "no"
    raise RuntimeError(msg)


class Many(Settings):
    """Settings of all sorts."""

    made: list[int] = Field(default_factory=lambda: [3, 4], description="Made anew.")
    following: int = Field(default_factory=lambda data: data["even"] + 1, description="Made of another one.")
    failing: int = Field(default_factory=_fail, description="Made by nobody.")
    even: int = Field(default=4, ge=0, multiple_of=2, description="Even.")
    code: str = Field(default="ab", pattern="^[a-z]+$", min_length=2, max_length=3, description="A code.")
    short: str = Field(default="", max_length=8, description="Short.")
    two: list[Annotated[int, Field(ge=1)]] = Field(default=[1, 2], min_length=2, max_length=2, description="Two.")
    some: tuple[str, ...] = Field(default=("a",), min_length=1, description="Some.")
    small: float = Field(default=1e-5, description="Small.")
    nothing: int | None = Field(default=None, description="Nothing.")


ROWS = {
    "made": ("list of integer", "3,4"),
    "following": ("integer", "depends"),
    "failing": ("integer", "depends"),
    "even": ("integer ≥ 0 multiple of 2", "4"),
    "code": ("string like ^[a-z]+$ 2 to 3 characters", "ab"),
    "short": ("string ≤ 8 characters", ""),
    "two": ("list of 2 integer ≥ 1", "1,2"),
    "some": ("list of ≥ 1 string", "a"),
    "small": ("number", "1.0e-05"),
    "nothing": ("integer | null", "null"),
}


def test_types_limits_and_defaults_are_told_in_words() -> None:
    table = settings_table("many", Many)
    names, types, defaults, _ = ([str(cell) for cell in column.cells] for column in table.columns)
    assert names == [f"many.{name}" for name in ROWS]
    assert list(zip(types, defaults, strict=True)) == list(ROWS.values())
    with out.capture() as shown:
        out.print(table)
    assert "^[a-z]+$" in shown.get()  # which may look like markup


@pytest.mark.parametrize(
    ("name", "value"),
    [("even", 3), ("code", "a"), ("code", "abcd"), ("code", "A1"), ("two", [1]), ("two", [1, 2, 3]), ("some", [])],
)
def test_what_the_table_rules_out_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Many.model_validate({"failing": 1, "following": 1, name: value})
