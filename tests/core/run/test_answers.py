"""Answers lie where they do no harm, and say what their numbers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ddmkit import ConfigurationError, DataError
from ddmkit.run.answers import NO_RECORD, Answered, Asked, go_on_with, open_asked, read_record, write_answered

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit.configuration import Configuration
    from ddmkit.run.answers import Questions
    from ddmkit.stored_case import StoredCase

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

MADE_BY = {
    "run": "here",
    "seed": 3,
    "sampler": {"name": "ddim", "range": (1, 2)},
    "task": {"name": "brats", "output": "whole"},
}
ANSWERED = {
    "a": Answered(1.5, 7, "test", {"1": "whole"}, 4, settled=True),
    "b": Answered(2.0, 0, None, {"4": "enhancing"}, 15, settled=False),
}


def opened(
    configuration: Configuration, root: Path, target: Path, asked: Asked | None = None, *, skip_bad: bool = False
) -> list[StoredCase]:
    return asked_about(configuration, root, target, asked, skip_bad=skip_bad).cases


def asked_about(
    configuration: Configuration, root: Path, target: Path, asked: Asked | None = None, *, skip_bad: bool = False
) -> Questions:
    return open_asked(configuration, configuration.dataset, root, asked, target, lambda *_: None, skip_bad=skip_bad)


def test_what_is_written_down_about_answers_is_read_again(tmp_path: Path) -> None:
    write_answered(tmp_path, MADE_BY, 10, ANSWERED)
    record = read_record(tmp_path)
    assert (record.cases, record.task) == (ANSWERED, {"name": "brats", "output": "whole"})
    assert read_record(tmp_path / "elsewhere") == NO_RECORD


@pytest.mark.parametrize("task", [None, "brats", ["brats"]])
def test_a_record_without_the_settings_of_a_task_names_none(tmp_path: Path, task: object) -> None:
    write_answered(tmp_path, {**MADE_BY, "task": task}, 10, ANSWERED)
    assert read_record(tmp_path).task is None


def test_a_second_sampling_adds_to_the_answers_of_the_first_or_is_refused(tmp_path: Path) -> None:
    assert go_on_with(tmp_path, MADE_BY) == {}
    write_answered(tmp_path, MADE_BY, 10, ANSWERED)
    assert go_on_with(tmp_path, MADE_BY) == ANSWERED
    with pytest.raises(ConfigurationError, match=r"sampled otherwise \(seed was 3, now 4\): name another --out"):
        go_on_with(tmp_path, {**MADE_BY, "seed": 4})


@pytest.mark.parametrize("content", ["[]", '{"cases": 5}', '{"cases": {"a": {}}}', "no JSON"])
def test_a_record_that_says_no_meanings_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "sample.json").write_text(content)
    with pytest.raises(DataError, match=r"Cannot read .*sample\.json .*--labels") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_answers_never_go_among_the_files_that_they_answer(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path / "data", count=2)
    (tmp_path / "link").symlink_to(root / "BraTS20_Training_002")
    for target in (root / "BraTS20_Training_001", tmp_path / "link"):
        with pytest.raises(ConfigurationError, match="which answers might replace: name another folder"):
            opened(configured(), root, target)
    assert len(opened(configured(), root, root / "answers")) == 2


def test_answers_never_go_where_the_data_lie(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> None:
    root = write_cases(tmp_path / "above" / "data", count=1)
    (tmp_path / "link").symlink_to(root)
    for target in (root, root.parent, root / "nothing" / "..", tmp_path / "link", tmp_path):
        with pytest.raises(
            ConfigurationError, match="is where the data lie, and answers might be taken for them: name"
        ):
            opened(configured(), root, target)
    with pytest.raises(ConfigurationError, match="is where the data lie"):
        opened(configured(), tmp_path / "link", root)
    assert len(opened(configured(), root, tmp_path / "above" / "answers")) == 1


def test_cases_with_a_reference_are_known_to_have_one_though_it_is_not_read(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path / "data", count=3)
    next((root / "BraTS20_Training_002").glob("*_seg.nii.gz")).unlink()
    asked = Asked(["BraTS20_Training_001", "BraTS20_Training_002"], "--cases")
    assert asked_about(configured(), root, tmp_path / "out", asked).labelled == ["BraTS20_Training_001"]


def test_cases_are_opened_by_name_whatever_their_references(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path / "data", count=3)
    (root / "BraTS20_Training_002/BraTS20_Training_002_seg.nii.gz").write_bytes(b"no image")
    asked = Asked(["BraTS20_Training_002", "BraTS20_Training_001", "BraTS20_Training_002"], "--cases")
    found = opened(configured(), root, tmp_path / "out", asked)
    assert [case.name for case in found] == ["BraTS20_Training_001", "BraTS20_Training_002"]
    for names, words in ((["nobody"], "--cases names 'nobody'"), ([], "--cases names no case")):
        with pytest.raises(ConfigurationError, match=words):
            opened(configured(), root, tmp_path / "out", Asked(names, "--cases"))


def test_a_bad_case_is_refused_only_if_it_is_asked_for(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path / "data", count=3)
    image = root / "BraTS20_Training_002/BraTS20_Training_002_t1.nii.gz"
    image.write_bytes(image.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"1 of 3 cases cannot be used\. BraTS20_Training_002: .*--skip-bad"):
        opened(configured(), root, tmp_path / "out")
    assert len(opened(configured(), root, tmp_path / "out", skip_bad=True)) == 2
    assert len(opened(configured(), root, tmp_path / "out", Asked(["BraTS20_Training_001"], "--cases"))) == 1


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    write_answered(tmp_path, MADE_BY, 10, ANSWERED)
    record = json.loads((tmp_path / "sample.json").read_text())
    assert record["cases"]["b"] == {
        "seconds": 2.0,
        "voxels": 0,
        "split": None,
        "answers": {"4": "enhancing"},
        "members": 15,
        "settled": False,
    }
    assert (record["seed"], record["peak_memory"]) == (3, 10)
