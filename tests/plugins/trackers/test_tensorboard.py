"""Event files as TensorBoard's own reader sees them."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import plugin_data_pb2
from tests.plugins.trackers.told import MEANS, step, validation, write_steps, write_validation

from ddmkit import ConfigurationError
from ddmkit.configuration import Configuration
from ddmkit.events import Report, Run
from ddmkit.run.folder import RunFolder
from ddmkit.testing import check, check_tracker
from ddmkit_plugins.trackers.event_file import steps_held
from ddmkit_plugins.trackers.tensorboard import TensorBoard
from ddmkit_plugins.trackers.tensorboard_writer import TensorBoardWriter


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Return the points of a curve that stand in the files, as TensorBoard's fast loader shows them: all."""
    loaders = [EventFileLoader(str(path)) for path in sorted(folder.glob("*tfevents*"))]
    values = [(event.step, value) for loader in loaders for event in loader.Load() for value in event.summary.value]
    return [(step, value.tensor.float_val[0]) for step, value in values if value.tag == tag]


def draw(run: Run, name: str, shade: float) -> bytes:
    """Write a picture of the run, and return its bytes."""
    path = run.folder / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    matplotlib.image.imsave(path, np.full((20, 30, 3), shade))
    return path.read_bytes()


@contextmanager
def files_no_larger_than(size: int) -> Generator[None]:
    """Let files grow up to a size and no further, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_tensorboard_tracker_keeps_its_promises(quick: Configuration) -> None:
    check(TensorBoard)
    check_tracker(TensorBoard(), quick)


def test_every_number_of_steps_and_validations_is_read_back(make_run: Callable[..., Run]) -> None:
    run = make_run()
    writer = TensorBoardWriter(run)
    for number in (1, 2):
        writer.ddmkit_step_done(step(number, loss=1 / number))
    writer.ddmkit_validated(validation(2))
    events = run.folder / "tensorboard"  # of a run that goes on: nothing is closed yet
    assert curve(events, "train/loss") == [(1, 1.0), (2, 0.5)]
    told = {"gradient_norm": 1.5, "learning_rate": 1e-4, "seconds": 0.25, "peak_memory": 1e6}
    assert {name: curve(events, f"train/{name}")[1][1] for name in told} == pytest.approx(told)
    assert {name: curve(events, f"validation/whole/{name}") for name in MEANS} == {
        name: [(2, value)] for name, value in MEANS.items()
    }
    writer.ddmkit_run_ended(run, Report("failed", 2))


def test_the_configuration_is_there_as_text_and_as_hyperparameters(
    make_run: Callable[..., Run], quick: Configuration
) -> None:
    run = make_run()
    TensorBoardWriter(run).ddmkit_run_ended(run, Report("failed", 0))
    events = read(run.folder / "tensorboard")
    text = events.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert "".join(line.removeprefix("    ") for line in text.splitlines(keepends=True)) == (
        run.folder / "config.yaml"
    ).read_text(encoding="utf-8")
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    messages: Any = plugin_data_pb2  # whose classes are made at run time
    told = messages.HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["training.learning_rate"].number_value == quick.training.learning_rate
    assert told["backbone.name"].string_value == quick.backbone.name
    assert told["training.betas"].string_value == "[0.9, 0.999]"


def test_what_comes_again_after_a_run_was_killed_replaces_what_was_told(make_run: Callable[..., Run]) -> None:
    killed = TensorBoardWriter(make_run())
    for number in (1, 2, 3, 4):
        killed.ddmkit_step_done(step(number, loss=1.0))
    run = make_run(first_step=2)
    resumed = TensorBoardWriter(run)
    for number in (3, 4, 5):
        resumed.ddmkit_step_done(step(number, loss=0.5))
    assert curve(run.folder / "tensorboard", "train/loss") == [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5), (5, 0.5)]
    resumed.ddmkit_run_ended(run, Report("completed", 5))
    killed.ddmkit_run_ended(run, Report("failed", 4))


def test_the_end_of_a_run_that_went_on_replaces_its_earlier_end(make_run: Callable[..., Run]) -> None:
    for steps, first_step, shade in ((2, 0, 0.25), (4, 2, 0.75)):
        run = make_run(first_step=first_step)
        writer = TensorBoardWriter(run)
        writer.ddmkit_validated(validation(2, "test"))
        drawn = draw(run, "case-1", shade)
        writer.ddmkit_run_ended(run, Report("completed", steps))
    end = run.folder / "tensorboard" / "end"
    assert [event.step for event in EventFileLoader(str(*end.iterdir())).Load() if event.summary.value] == [2, 4]
    assert {name: curve(end, f"test/whole/{name}") for name in MEANS} == {
        name: [(2, value)] for name, value in MEANS.items()
    }
    (picture,) = read(end).Images("pictures/case-1")
    assert (picture.step, picture.width, picture.height) == (4, 30, 20)
    assert picture.encoded_image_string == drawn


def test_a_tracker_that_is_chosen_late_tells_what_came_before(make_run: Callable[..., Run]) -> None:
    run = make_run(first_step=2)
    folder = RunFolder(run.folder)
    write_steps(folder, step(1, loss=1.0), step(2))
    write_validation(folder, validation(2))
    writer = TensorBoardWriter(run)
    writer.ddmkit_step_done(step(3))
    assert curve(run.folder / "tensorboard", "train/loss") == [(1, 1.0), (2, 0.5), (3, 0.5)]
    assert curve(run.folder / "tensorboard", "validation/whole/dice") == [(2, MEANS["dice"])]
    writer.ddmkit_run_ended(run, Report("failed", 3))


def test_a_tracker_that_was_left_out_for_a_while_tells_what_it_missed_and_nothing_twice(
    make_run: Callable[..., Run],
) -> None:
    run = make_run()
    folder = RunFolder(run.folder)
    writer = TensorBoardWriter(run)
    for number in (1, 2):
        write_steps(folder, step(number, loss=1.0))
        writer.ddmkit_step_done(step(number, loss=1.0))
    writer.ddmkit_run_ended(run, Report("interrupted", 2))
    write_steps(folder, step(3, loss=0.25), step(4, loss=0.25))  # by --resume --tracker none
    write_validation(folder, validation(4))
    again = make_run(first_step=4)
    writer = TensorBoardWriter(again)
    writer.ddmkit_step_done(step(5))
    writer.ddmkit_run_ended(again, Report("interrupted", 5))
    expected = [(1, 1.0), (2, 1.0), (3, 0.25), (4, 0.25), (5, 0.5)]
    assert points(run.folder / "tensorboard", "train/loss") == expected
    assert curve(run.folder / "tensorboard", "train/loss") == expected
    assert curve(run.folder / "tensorboard", "validation/whole/dice") == [(4, MEANS["dice"])]


def test_what_a_later_file_took_back_is_told_again_where_it_was_missed(make_run: Callable[..., Run]) -> None:
    run = make_run()
    folder = RunFolder(run.folder)
    killed = TensorBoardWriter(run)
    for number in (1, 2, 3, 4):
        killed.ddmkit_step_done(step(number, loss=1.0))
    killed.ddmkit_run_ended(run, Report("failed", 4))
    write_steps(folder, step(1, loss=1.0))
    resumed = make_run(first_step=1)  # killed again before its first step, and gone on with untracked
    TensorBoardWriter(resumed).ddmkit_run_ended(resumed, Report("failed", 1))
    write_steps(folder, step(2, loss=0.25), step(3, loss=0.25))
    last = make_run(first_step=3)
    TensorBoardWriter(last).ddmkit_run_ended(last, Report("failed", 3))
    assert curve(run.folder / "tensorboard", "train/loss") == [(1, 1.0), (2, 0.25), (3, 0.25)]


def test_a_file_that_a_kill_cut_short_is_read_up_to_there(make_run: Callable[..., Run]) -> None:
    run = make_run()
    killed = TensorBoardWriter(run)
    for number in (1, 2):
        killed.ddmkit_step_done(step(number))
    killed.ddmkit_run_ended(run, Report("failed", 2))
    (path,) = (path for path in (run.folder / "tensorboard").iterdir() if path.is_file())
    whole = path.read_bytes()
    for cut, held in ((0, 2), (1, 2), (20, 1), (len(whole) - 5, None)):
        path.write_bytes(whole[: len(whole) - cut])
        assert steps_held(run.folder / "tensorboard").get("train") == held


def test_a_picture_that_is_none_leaves_the_files_closed(make_run: Callable[..., Run]) -> None:
    run = make_run()
    draw(run, "a-case", 0.5)
    (run.folder / "pictures" / "b-case.png").write_bytes(b"cut short")
    writer = TensorBoardWriter(run)
    with pytest.raises(struct.error):
        writer.ddmkit_run_ended(run, Report("completed", 2))
    with pytest.raises(ValueError, match="closed file"):
        writer.ddmkit_step_done(step(3))
    assert len(read(run.folder / "tensorboard" / "end").Images("pictures/a-case")) == 1


def test_what_a_full_disk_does_not_take_spoils_nothing_that_comes_after(make_run: Callable[..., Run]) -> None:
    run = make_run()
    writer = TensorBoardWriter(run)
    writer.ddmkit_step_done(step(1))
    (path,) = (run.folder / "tensorboard").iterdir()
    whole = path.read_bytes()
    for room in (0, 50):
        with files_no_larger_than(len(whole) + room), pytest.raises(OSError, match=r"File too large|No space left"):
            writer.ddmkit_step_done(step(2))
        assert path.read_bytes() == whole
    writer.ddmkit_step_done(step(3))
    assert curve(run.folder / "tensorboard", "train/loss") == [(1, 0.5), (3, 0.5)]
    writer.ddmkit_run_ended(run, Report("failed", 3))


def test_a_missing_library_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddmkit_plugins.trackers.libraries.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs tensorboard, which is not installed: type pip install tensorb"):
        TensorBoard().check()
