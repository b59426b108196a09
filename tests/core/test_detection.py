"""Which layout a path has is told by asking every dataset, and said when it cannot be told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field
from typing_extensions import override

from ddmkit import Component, DataError, Dataset, Registry, Survey, hookimpl
from ddmkit.detection import recognise


class Marked(Dataset):
    """A folder with a file of a name that says so."""

    name: ClassVar[str] = "marked"
    looked_for: ClassVar[str] = "a file MARK"
    mark: str = Field(default="MARK", description="Which file.")

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])

    @override
    def recognises(self, root: Path) -> bool:
        return (root / self.mark).exists()


class Text(Marked):
    """A folder with a text."""

    name: ClassVar[str] = "text"
    looked_for: ClassVar[str] = "any text.txt"
    mark: str = Field(default="text.txt", description="Which file.")


class Named(Dataset):
    """Chosen by its name alone."""

    name: ClassVar[str] = "named"
    looked_for: ClassVar[str] = "nothing in particular"

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])


class Failing(Marked):
    """Never comes back from a look."""

    name: ClassVar[str] = "failing"

    @override
    def recognises(self, root: Path) -> bool:
        msg = "no such\nindex"
        raise ValueError(msg)


class Demanding(Marked):
    """Cannot be made without a setting."""

    name: ClassVar[str] = "demanding"
    path: str = Field(description="Where.")


class Silent(Dataset):
    """Forgot to say what it looks for."""

    name: ClassVar[str] = "silent"

    @override
    def survey(self, root: Path) -> Survey:
        return Survey([])


class Offer:
    """A plugin in hand."""

    def __init__(self, *components: type[Component]) -> None:
        self.components = components

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return list(self.components)


def registry(*components: type[Component]) -> Registry:
    return Registry(Offer(*components))


def refusal(found: Registry, root: Path, preferred: Dataset | None = None) -> str:
    with pytest.raises(DataError) as caught:
        recognise(found, root, preferred)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_one_that_recognises_a_path_is_returned_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch()
    assert recognise(registry(Marked, Text, Named), tmp_path) == Text()


def test_where_none_does_each_says_what_it_looks_for(tmp_path: Path) -> None:
    message = refusal(registry(Text, Marked, Named), tmp_path)
    assert str(tmp_path) in message
    looks = "marked looks for a file MARK; named looks for nothing in particular; text looks for any text.txt"
    assert looks in message
    assert "--dataset NAME, or describe your own in a ddmkit.yaml (docs/own-data.md)" in message
    assert "none is installed" in refusal(registry(), tmp_path)


def test_where_several_do_they_are_named(tmp_path: Path) -> None:
    for mark in ("MARK", "text.txt"):
        (tmp_path / mark).touch()
    message = refusal(registry(Text, Marked, Named), tmp_path)
    assert str(tmp_path) in message
    assert "marked and as text" in message
    assert "--dataset marked or --dataset text" in message


class Described(Marked):
    """Looks for what a user wrote."""

    name: ClassVar[str] = "described"
    described: ClassVar[bool] = True
    mark: str = Field(default="mine.yaml", description="Which file.")


def test_one_that_the_user_described_wins_over_likenesses(tmp_path: Path) -> None:
    for mark in ("MARK", "text.txt", "mine.yaml"):
        (tmp_path / mark).touch()
    assert recognise(registry(Text, Marked, Described), tmp_path) == Described()


def test_the_preferred_one_wins_with_its_settings_if_it_recognises_the_path(tmp_path: Path) -> None:
    for mark in ("MARK", "text.txt", "mine"):
        (tmp_path / mark).touch()
    preferred = Marked(mark="mine")
    assert recognise(registry(Text, Marked), tmp_path, preferred) is preferred


def test_another_wins_where_the_preferred_one_does_not_recognise_the_path(tmp_path: Path) -> None:
    for mark in ("MARK", "text.txt"):
        (tmp_path / mark).touch()
    assert recognise(registry(Text, Marked), tmp_path, Marked(mark="mine")) == Text()
    (tmp_path / "text.txt").unlink()
    assert "marked looks for a file MARK; text looks" in refusal(registry(Text, Marked), tmp_path, Marked(mark="mine"))


def test_one_that_fails_is_told_of_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.txt").touch()
    with caplog.at_level(logging.WARNING, "ddmkit"):
        assert recognise(registry(Failing, Text), tmp_path) == Text()
    (failing,) = (record.getMessage() for record in caplog.records)
    assert failing == (
        f"The dataset failing ({__name__}.Failing, this program) fails to look at {tmp_path}: "
        "ValueError: no such index; going on without it."
    )


def test_one_without_defaults_is_not_asked_but_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert "demanding looks for a file MARK" in refusal(registry(Demanding), tmp_path)
    assert not caplog.records


def test_one_that_does_not_say_what_it_looks_for_is_listed_too(tmp_path: Path) -> None:
    assert "silent looks for files it does not tell of" in refusal(registry(Silent), tmp_path)


def test_a_preferred_one_that_fails_is_asked_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.txt").touch()
    with caplog.at_level(logging.WARNING, "ddmkit"):
        assert recognise(registry(Failing, Text), tmp_path, Failing()) == Text()
    assert len(caplog.records) == 1


def test_a_path_that_cannot_be_read_is_told_apart_from_one_nobody_knows(tmp_path: Path) -> None:
    for preferred in (None, Marked()):
        message = refusal(registry(Marked), tmp_path / "nowhere", preferred)
        assert message.startswith(f"There is nothing at {tmp_path}/nowhere that can be read")
