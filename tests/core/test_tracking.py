"""Trackers in a configuration: any number, each with settings of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import Field
from typing_extensions import override

from ddmkit import ConfigurationError, Registry, Tracker, UnknownComponentError, hookimpl
from ddmkit.assembly import assemble, build, options_of, write_tree
from ddmkit.configuration import Configuration
from ddmkit.events import Run
from ddmkit.run.folder import RunFolder
from ddmkit.tracking import refuse_unusable

Assembled = Callable[..., Configuration]


class Diary(Tracker):
    """Writes a diary."""

    name: ClassVar[str] = "diary"
    pages: int = Field(default=10, ge=1, description="Of paper.")
    colours: tuple[str, ...] = Field(default=(), description="Of ink.")

    @override
    def listen(self, run: Run) -> object:
        return object()


class Ticker(Diary):
    """Ticks."""

    name: ClassVar[str] = "ticker"
    rate: float = Field(default=1.0, description="Per second.")


class _Offer:
    @hookimpl
    def ddmkit_components(self) -> list[type[Tracker]]:
        return [Diary, Ticker]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Offer())


@pytest.fixture
def assembled(configured: Callable[..., Configuration], registry: Registry) -> Assembled:
    """Return `assembled(names, *options, tracker=…)`: --tracker, -o and what a file says."""
    tree = configured().tree()

    def assembled(names: str | None = None, *options: str, tracker: Any = None) -> Configuration:  # noqa: ANN401 - of YAML
        base = [tree] if tracker is None else [tree, {"tracker": tracker}]
        return assemble(registry, base=base, names={} if names is None else {"tracker": names}, options=options)

    return assembled


def test_a_run_has_no_tracker_unless_it_is_asked_for(assembled: Assembled) -> None:
    assert assembled().tracker == ()
    assert assembled().tree()["tracker"] == {}


def test_trackers_are_named_together_and_each_has_settings(assembled: Assembled) -> None:
    configuration = assembled("diary, ticker", "tracker.diary.pages=3", "tracker.ticker.colours=red,blue")
    assert configuration.tracker == (Diary(pages=3), Ticker(colours=("red", "blue")))
    assert options_of(configuration.tracker[0]) == {"pages": "tracker.diary.pages=3"}


def test_trackers_written_as_yaml_are_read_back_the_same(assembled: Assembled, registry: Registry) -> None:
    configuration = assembled("ticker,diary", "tracker.diary.pages=3")
    again = build(registry, yaml.safe_load(write_tree(configuration.tree())))
    assert again.tracker == (Ticker(), Diary(pages=3))


def test_names_are_all_trackers_there_are_and_those_that_stay_keep_their_settings(assembled: Assembled) -> None:
    file = {"diary": {"pages": 3}, "ticker": None}
    assert assembled(tracker=file).tracker == (Diary(pages=3), Ticker())
    assert assembled("diary", tracker=file).tracker == (Diary(pages=3),)
    assert assembled("none", tracker=file).tracker == ()
    assert assembled(None, "tracker.diary.colours=red,blue", tracker=file).tracker[0] == Diary(
        pages=3, colours=("red", "blue")
    )


@pytest.mark.parametrize(
    ("names", "option", "error"),
    [
        ("dairy", None, "No tracker is named 'dairy'. Did you mean 'diary'?"),
        (None, "tracker.diary.pages=3", "no tracker 'diary' is chosen; add --tracker diary."),
        ("ticker", "tracker.diary.pages=3", "add --tracker ticker,diary."),
        ("diary", "tracker.dairy.pages=3", "did you mean tracker.diary.pages?"),
        ("diary", "tracker.pages=3", "is typed tracker.NAME.FIELD=VALUE"),
        ("diary", "tracker.diary.page=3", "tracker.diary.page is no setting of diary. Did you mean 'pages'?"),
        ("diary", "tracker.diary.rate=3", "It is one of ticker"),
        ("diary", "tracker.diary.pages=0", "tracker.diary.pages=0: Input should be greater than or equal to 1."),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    assembled: Assembled, names: str | None, option: str | None, error: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        assembled(names, *filter(None, [option]))
    assert error in str(caught.value)


@pytest.mark.parametrize("part", ["diary", ["diary"], {"diary": 3}, 3])
def test_a_file_that_says_it_otherwise_is_told_how(assembled: Assembled, part: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a mapping of names to settings, such as"):
        assembled(tracker=part)


def test_a_run_is_read_where_its_trackers_are_not_installed(
    tmp_path: Path, assembled: Assembled, parts: object, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    configuration = assembled("diary")
    folder.create(configuration, {})
    assert folder.configuration(registry) == configuration
    with caplog.at_level(logging.WARNING):
        assert folder.configuration(Registry(parts)) == assembled()
    assert "The run's trackers diary are not installed here" in caplog.text
    (folder.path / "environment.json").write_text('{"components": {"tracker/diary": "acme-diary 2.0"}}')
    with caplog.at_level(logging.WARNING):
        folder.configuration(Registry(parts))
    assert "The run's trackers diary of acme-diary 2.0 are not installed here" in caplog.text
    with pytest.raises(UnknownComponentError):
        build(Registry(parts), configuration.tree())


class Careless(Diary):
    """Has a check that fails as nobody expected."""

    name: ClassVar[str] = "careless"
    fails: str = Field(default="", description="How.")

    @override
    def check(self) -> None:
        if self.fails == "by ending the program":
            raise SystemExit(3)
        if self.fails == "as it may":
            msg = "Type pip install ink."
            raise ConfigurationError(msg)
        [1].index(2)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("by mistake", r"its check\(\) fails with ValueError: 2 is not in list; leave careless out of --tracker"),
        ("by ending the program", r"fails with SystemExit: 3; leave"),
        ("as it may", r"^Type pip install ink\.$"),
    ],
)
def test_a_tracker_whose_check_fails_is_refused_in_a_sentence_that_names_it(how: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        refuse_unusable([Diary(), Careless(fails=how)])
    if how != "as it may":
        assert str(caught.value).startswith("The tracker careless of this program cannot be used: ")
    assert "\n" not in str(caught.value)
