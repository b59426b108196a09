"""Each of the paper's experiments, small, from the command line to its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks import answering, ensembling, gallery, pictured, progress, single, steps

from ddmkit import sampling
from ddmkit.sampling import Answer, Model
from ddmkit.stored_case import StoredCase
from tests.benchmarks.looking import ddmkit, written

Main = Callable[[list[str]], None]
SAMPLING = (ensembling, steps, gallery, single)


def asked(place: Path, out: Path, *more: str) -> list[str]:
    return [str(place / "run"), "--data", str(place / "data"), "--out", str(out), *more]


def refused(main: Main, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Return the status of a command that answers with one sentence that has some words."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a case is sampled."""
    for module in (answering, pictured):
        monkeypatch.setattr(module, "answer_case", lambda *_, **__: pytest.fail("a case was sampled again"))


def test_an_ensemble_scores_as_ddmkit_sample_and_evaluate_say(place: Path, tmp_path: Path) -> None:
    ensembling.main(asked(place, tmp_path, "--cases", "1", "--members", "1,2,3"))
    found = written(tmp_path, "ensembling")
    (case,), data = found["runs"]["run"]["cases"], place / "data"
    for one in found["ensembles"]:
        answers, members, scores = tmp_path / f"answers-{one['members']}", str(one["members"]), tmp_path / "scores.json"
        ddmkit("sample", place / "run", "--input", data, "--cases", case, "--ensemble", members, "--out", answers)
        ddmkit("evaluate", answers, "--reference", data, "--json", scores)
        scored = json.loads(scores.read_text("utf-8"))["cases"]
        assert [{name: value for name, value in score.items() if name != "seconds"} for score in one["cases"]] == scored
    assert [one["members"] for one in found["ensembles"]] == [1, 2, 3]


def test_an_experiment_that_was_stopped_goes_on_where_it_was(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = asked(place, tmp_path / "stopped", "--members", "1,3")
    sampled: list[str] = []
    answer_case = sampling.answer_case

    def stopped_at_second(model: Model, case: StoredCase, **more: Any) -> Answer:  # noqa: ANN401 - handed on
        if len(sampled) == 1:
            sampled.append("stopped")
            raise KeyboardInterrupt
        sampled.append(case.name)
        return answer_case(model, case, **more)

    monkeypatch.setattr(answering, "answer_case", stopped_at_second)
    with pytest.raises(SystemExit) as ended:
        ensembling.main(arguments)
    assert ended.value.code == 1
    kept = tmp_path / "stopped" / "kept" / "scores.jsonl"
    kept.write_text(kept.read_text("utf-8") + '{"key": "cut sh', "utf-8")
    ensembling.main(arguments)
    ensembling.main(arguments)
    first, stop, second = sampled
    assert (first != second, stop) == (True, "stopped")
    monkeypatch.setattr(answering, "answer_case", answer_case)
    ensembling.main(asked(place, tmp_path / "whole", "--members", "1,3"))
    went_on, whole = (written(tmp_path / name, "ensembling")["ensembles"] for name in ("stopped", "whole"))
    assert [one["summary"] for one in went_on] == [one["summary"] for one in whole]


def test_steps_are_combined_with_members_and_the_runs_own_steps_are_ensemblings(
    place: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    steps.main(asked(place, tmp_path, "--steps", "1,2", "--members", "1,2"))
    by_steps = {(one["steps"], one["members"]): one for one in written(tmp_path, "steps")["ensembles"]}
    assert list(by_steps) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    request.getfixturevalue("no_network")
    ensembling.main(asked(place, tmp_path, "--members", "1,2"))
    (one, two) = written(tmp_path, "ensembling")["ensembles"]
    assert one == {**by_steps[2, 1], "run": "run"}
    assert two == by_steps[2, 2]


def test_runs_are_compared_and_stand_beside_the_papers_methods(place: Path, tmp_path: Path) -> None:
    single.main([str(place / "coarse"), *asked(place, tmp_path, "--members", "1,2", "--cases", "2")])
    found = written(tmp_path, "single")
    assert [(one["run"], one["members"]) for one in found["ensembles"]] == [
        ("coarse", 1),
        ("coarse", 2),
        ("run", 1),
        ("run", 2),
    ]
    assert [run["method"] for run in found["runs"].values()] == ["HalfRes", "PatchDDM"]
    table = next(tmp_path.glob("single-*.md")).read_text("utf-8")
    assert "| the paper's | PatchDDM | whole | 15 | 0.899 | 7.34 |" in table


def test_progress_is_what_the_run_validated(place: Path, tmp_path: Path) -> None:
    progress.main([str(place / "run"), str(place / "coarse"), "--out", str(tmp_path)])
    found = written(tmp_path, "progress")
    lines = map(json.loads, (place / "run" / "metrics.jsonl").read_text("utf-8").splitlines())
    validated = {line["step"]: line["summary"] for line in lines if line["kind"] == "validation"}
    assert {one["step"]: one["summary"] for one in found["runs"]["run"]["validations"]} == validated
    assert list(validated) == [3, 6]


def test_a_gallery_shows_members_and_is_not_sampled_again(
    place: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gallery.main(asked(place, tmp_path, "--members", "2"))
    found = written(tmp_path, "gallery")
    assert [len(case["members"]) for case in found["cases"]] == [2, 2]
    request.getfixturevalue("no_network")
    gallery.main(asked(place, tmp_path, "--members", "2"))
    assert written(tmp_path, "gallery") == found


def test_the_first_member_of_a_gallery_scores_as_an_ensemble_of_one(place: Path, tmp_path: Path) -> None:
    gallery.main(asked(place, tmp_path, "--members", "2"))
    ensembling.main(asked(place, tmp_path, "--members", "1,2"))
    (one, two), cases = written(tmp_path, "ensembling")["ensembles"], written(tmp_path, "gallery")["cases"]
    for ensemble, scores in (
        (one, [case["members"][0][0] for case in cases]),
        (two, [case["ensemble"][0] for case in cases]),
    ):
        assert [score["dice"] for score in ensemble["cases"]] == [score["dice"] for score in scores]


@pytest.mark.parametrize("experiment", SAMPLING)
def test_a_folder_that_is_no_run_is_refused(
    experiment: object, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Main = getattr(experiment, "main")  # noqa: B009 - a module's type has no attributes
    arguments = [str(place / "data"), "--data", str(place / "data"), "--out", str(tmp_path)]
    assert refused(main, arguments, "is no run folder", capsys) == 2
    assert not list(tmp_path.iterdir())


def test_mistakes_are_answered_with_a_sentence(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copytree(place / "run", place / "unlike")
    settings = (place / "unlike" / "config.yaml").read_text("utf-8")
    (place / "unlike" / "config.yaml").write_text(settings.replace("hd95: pooled", "hd95: mean"), "utf-8")
    for more, said, status in (
        (["--cases", "a,b"], "'a'", 2),
        (["--data", str(empty)], "No dataset recognises", 1),
        (["--data", str(place / "run")], "No dataset recognises", 1),
        (["-o", "backbone.width=8"], "does not fit a trained network", 2),
    ):
        assert refused(ensembling.main, asked(place, tmp_path / "out", *more), said, capsys) == status
    assert refused(steps.main, asked(place, tmp_path, "--steps", "1,2000"), "1000", capsys) == 2
    assert refused(progress.main, [str(empty), "--out", str(tmp_path)], "is no run folder", capsys) == 2
    unlike = [str(place / "unlike"), *asked(place, tmp_path)]
    assert refused(single.main, unlike, "score by different definitions", capsys) == 2
    (tmp_path / "file").touch()
    assert refused(ensembling.main, asked(place, tmp_path / "file"), "Cannot write", capsys) == 1
    twice = [str(place / "run"), *asked(place, tmp_path)]
    assert refused(single.main, twice, "is named twice", capsys) == 2


@pytest.mark.parametrize("text", ["0,1", "a", "", "1,,2"])
def test_numbers_that_are_none_are_refused(
    text: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ensembling.main(asked(place, tmp_path, "--members", text))
    assert ended.value.code == 2
    assert "no numbers from 1" in capsys.readouterr().err
