"""A run's folder: nothing half-written is read, nothing needed is dropped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ddmkit import CheckpointError, ConfigurationError, Registry, StorageError
from ddmkit.run.folder import Best, RunFolder, State, read_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def save_weights(path: Path) -> None:
    (path / "weights").write_text("weights", encoding="utf-8")


def save(folder: RunFolder, step: int, best: Best | None = None) -> Path:
    return folder.save_checkpoint(State(step, best), save_weights)


def kept(folder: RunFolder) -> list[str]:
    return sorted(path.name for path in folder.checkpoints.iterdir())


def pointer(folder: RunFolder, name: str) -> str:
    return (folder.checkpoints / name).read_text(encoding="utf-8")


def test_a_new_run_has_a_configuration_that_can_be_read_back(
    folder: RunFolder, configured: Configured, registry: Registry
) -> None:
    configuration = configured("training.steps=7", "training.learning_rate=1e-4")
    folder.create(configuration, {"train": ["a"], "test": []})
    assert folder.configuration(registry) == configuration
    environment = json.loads((folder.path / "environment.json").read_text(encoding="utf-8"))
    assert environment["ddmkit"]
    assert environment["torch"]
    assert folder.split() == {"train": ["a"], "test": []}


def test_an_empty_folder_may_become_a_run(folder: RunFolder, configured: Configured) -> None:
    folder.path.mkdir()
    folder.create(configured(), {})
    assert folder.configuration_file.is_file()


def test_what_a_start_cut_short_left_behind_may_become_a_run(folder: RunFolder, configured: Configured) -> None:
    folder.create(configured(), {"train": ["a"]})
    folder.configuration_file.unlink()
    folder.create(configured(), {"train": ["b"]})
    assert folder.split() == {"train": ["b"]}


def test_cases_that_are_left_out_are_written_down_with_the_reason(folder: RunFolder, configured: Configured) -> None:
    left_out = {"b": "b was cut off.", "ü": "ü is a folder."}
    folder.create(configured(), {"train": ["a"]}, left_out)
    assert json.loads((folder.path / "left-out.json").read_text(encoding="utf-8")) == left_out


def test_where_none_is_left_out_nothing_says_so_not_even_what_a_start_cut_short_left_behind(
    folder: RunFolder, configured: Configured
) -> None:
    folder.create(configured(), {"train": ["a"]}, {"b": "b was cut off."})
    folder.configuration_file.unlink()
    folder.create(configured(), {"train": ["a", "b"]})
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.yaml", "environment.json", "split.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"train": 5}'])
def test_a_damaged_split_is_one_sentence(folder: RunFolder, configured: Configured, content: str) -> None:
    folder.create(configured(), {})
    (folder.path / "split.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"Cannot read .*split\.json"):
        folder.split()


def test_a_folder_that_holds_something_is_refused_and_left_alone(folder: RunFolder, configured: Configured) -> None:
    folder.path.mkdir()
    (folder.path / "mine.txt").touch()
    with pytest.raises(ConfigurationError, match=r"is not empty: go on with it by --resume .*run, or choose another"):
        folder.create(configured(), {})
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_place_of_a_folder_is_refused(folder: RunFolder, configured: Configured) -> None:
    folder.path.touch()
    with pytest.raises(ConfigurationError, match="is not empty"):
        folder.create(configured(), {})


def test_a_folder_that_is_no_run_says_how_runs_are_made(folder: RunFolder, registry: Registry) -> None:
    with pytest.raises(ConfigurationError, match=r"is no run folder: .* ddmkit train --run DIR"):
        folder.configuration(registry)


def test_a_checkpoint_holds_what_was_saved_and_last_names_it(folder: RunFolder) -> None:
    path = save(folder, 12)
    assert path == folder.path / "checkpoints" / "step-00000012"
    assert (path / "weights").read_text(encoding="utf-8") == "weights"
    assert read_state(path) == State(12, None, 0)
    assert pointer(folder, "last") == "step-00000012\n"
    assert not (folder.checkpoints / "best").exists()
    for which in ("last", "12"):
        assert folder.find_checkpoint(which) == path
        assert folder.has_checkpoint(which)


def test_the_last_the_one_before_and_the_best_checkpoint_are_kept(folder: RunFolder) -> None:
    save(folder, 1)
    save(folder, 2)
    save(folder, 3)
    assert kept(folder) == ["last", "previous", "step-00000002", "step-00000003"]
    best = Best(3, 0.5)
    folder.update_state(State(3, best, 3))
    assert pointer(folder, "best") == "step-00000003\n"
    for step in (4, 5, 6):
        save(folder, step, best)
    assert kept(folder) == ["best", "last", "previous", "step-00000003", "step-00000005", "step-00000006"]
    assert folder.find_checkpoint("best") == folder.checkpoint(3)
    folder.update_state(State(6, Best(6, 0.6), 6))
    save(folder, 7, Best(6, 0.6))
    assert kept(folder) == ["best", "last", "previous", "step-00000006", "step-00000007"]
    assert read_state(folder.find_checkpoint("best")) == State(6, Best(6, 0.6), 6)


def test_weights_that_no_loss_was_computed_with_can_be_distrusted(folder: RunFolder) -> None:
    save(folder, 1)
    folder.update_state(State(1, Best(1, 0.5), 1))
    save(folder, 2, Best(1, 0.5))
    folder.update_state(State(2, Best(2, 0.6), 2))
    folder.distrust_last(1)  # not the last: nothing happens
    assert folder.find_checkpoint("last") == folder.checkpoint(2)
    folder.distrust_last(2)
    assert folder.find_checkpoint("last") == folder.find_checkpoint("best") == folder.checkpoint(1)
    assert not folder.checkpoint(2).exists()


def test_an_only_checkpoint_is_not_taken_away(folder: RunFolder) -> None:
    save(folder, 1)
    folder.distrust_last(1)
    assert folder.find_checkpoint("last") == folder.checkpoint(1)


def test_a_worse_validation_leaves_best_where_it_is(folder: RunFolder) -> None:
    save(folder, 1)
    folder.update_state(State(1, Best(1, 0.5), 1))
    save(folder, 2, Best(1, 0.5))
    folder.update_state(State(2, Best(1, 0.5), 2))
    assert pointer(folder, "best") == "step-00000001\n"
    assert read_state(folder.find_checkpoint("last")) == State(2, Best(1, 0.5), 2)


def test_a_pointer_that_a_kill_left_behind_is_put_right_when_the_run_goes_on(folder: RunFolder) -> None:
    save(folder, 1)
    folder.update_state(State(1, Best(1, 0.5), 1))
    save(folder, 2, Best(1, 0.5))
    # As if killed between the two writes of update_state: the state knows the new best, the pointer does not.
    (folder.checkpoint(2) / "state.json").write_text(
        json.dumps({"step": 2, "best": {"step": 2, "value": 0.6}, "validated": 2}), encoding="utf-8"
    )
    folder.take_up(read_state(folder.find_checkpoint("last")))
    assert folder.find_checkpoint("best") == folder.checkpoint(2)


def test_a_checkpoint_whose_writing_fails_leaves_the_one_before_it(folder: RunFolder) -> None:
    def fail(path: Path) -> None:
        save_weights(path)
        msg = "full"
        raise StorageError(msg)

    save(folder, 1)
    with pytest.raises(StorageError):
        folder.save_checkpoint(State(2, None), fail)
    assert kept(folder) == ["last", "previous", "step-00000001"]
    assert folder.find_checkpoint("last") == folder.checkpoint(1)


def test_what_a_killed_process_left_half_written_goes_with_the_next_checkpoint(folder: RunFolder) -> None:
    save(folder, 1)
    (folder.checkpoints / ".123-step-00000002").mkdir()
    save(folder, 2)
    assert kept(folder) == ["last", "previous", "step-00000001", "step-00000002"]


@pytest.mark.parametrize("which", ["best", "last", "7", "step-7"])
def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(folder: RunFolder, which: str) -> None:
    with pytest.raises(CheckpointError, match=rf"has no checkpoint '{which}'; it has none yet\."):
        folder.find_checkpoint(which)
    save(folder, 3)
    folder.update_state(State(3, Best(3, 0.5), 3))
    if which not in ("best", "last"):
        with pytest.raises(CheckpointError, match=rf"has no checkpoint '{which}'; it has step-00000003\."):
            folder.find_checkpoint(which)


def test_a_pointer_into_the_void_is_no_checkpoint(folder: RunFolder) -> None:
    save(folder, 3)
    (folder.checkpoints / "last").write_text("step-00000009\n", encoding="utf-8")
    assert not folder.has_checkpoint("last")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"step": 3, "best": 5, "validated": 0}', '{"step": "x", "best": null, "validated": 0}'],
)
def test_a_damaged_state_is_one_sentence(folder: RunFolder, content: str) -> None:
    path = save(folder, 3)
    (path / "state.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"step-00000003 is damaged: its state.json cannot be read") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


def test_a_missing_state_is_one_sentence(folder: RunFolder) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(folder.checkpoint(1))


def step(number: int) -> dict[str, Any]:
    return {"kind": "step", "step": number, "loss": 0.1 * number}


def test_metrics_come_back_as_they_were_written(folder: RunFolder) -> None:
    assert folder.metrics() == []
    folder.path.mkdir()
    for number in (1, 2):
        folder.append_metrics(step(number))
    assert folder.metrics() == [step(1), step(2)]


def test_a_line_that_a_kill_cut_short_is_passed_over_and_then_forgotten(folder: RunFolder) -> None:
    folder.path.mkdir()
    folder.append_metrics(step(1))
    with folder.metrics_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(step(2))[:-5])
    assert folder.metrics() == [step(1)]
    folder.forget_after(State(1, None, 1))
    folder.append_metrics(step(2))
    assert folder.metrics() == [step(1), step(2)]


def test_forgetting_drops_later_steps_and_the_final_test_and_keeps_the_rest(folder: RunFolder) -> None:
    folder.path.mkdir()
    validation, final = {"kind": "validation", "step": 2}, {"kind": "test", "step": 2}
    for record in (step(1), step(2), validation, final, step(3), {"kind": "validation", "step": 3}):
        folder.append_metrics(record)
    folder.forget_after(State(2, None, 2))
    assert folder.metrics() == [step(1), step(2), validation]


def test_a_validation_that_its_checkpoint_does_not_know_of_is_forgotten(folder: RunFolder) -> None:
    folder.path.mkdir()
    for record in (step(1), step(2), {"kind": "validation", "step": 2}):
        folder.append_metrics(record)
    folder.forget_after(State(2, None, 0))
    assert folder.metrics() == [step(1), step(2)]


def test_metrics_that_cannot_be_written_say_how_to_go_on(folder: RunFolder) -> None:
    with pytest.raises(StorageError, match=r"Cannot write .*metrics.jsonl: .* Go on later with --resume"):
        folder.append_metrics(step(1))
