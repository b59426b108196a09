"""Whole runs on cases that are bad, that go bad, that come later, or that do not fit together."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.core.run.whole_runs import SMALL, StopAt, ask_to_stop, assert_same, losses

from ddmkit import DataError, InterruptedRunError
from ddmkit.run.plan import make_plan
from ddmkit.run.trainer import open_cases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.core.run.whole_runs import Runs

    WriteCases = Callable[..., Path]


def image(runs: Runs, name: str) -> Path:
    return runs.data / name / f"{name}_flair.nii.gz"


def cut(path: Path, keep: int = -20) -> None:
    """Cut a file off; by default, behind its header."""
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize("keep", [30, -20], ids=["header", "voxels"])
def test_a_bad_case_stops_a_run_before_it_begins(runs: Runs, keep: int) -> None:
    cut(image(runs, "BraTS20_Training_002"), keep)
    said = (
        r"^1 of 5 cases cannot be used\. BraTS20_Training_002: .*002_flair\.nii\.gz was cut off: .* Mend them, or "
        r"leave them out by adding --skip-bad; ddmkit check .*data --dataset folders shows what each case has\.$"
    )
    with pytest.raises(DataError, match=said):
        runs.start("a")
    assert not runs.folder("a").path.exists()


@pytest.mark.parametrize("keep", [30, -20], ids=["header", "voxels"])
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_bad_case_that_is_skipped_is_written_down_and_the_others_keep_their_split(
    runs: Runs, caplog: pytest.LogCaptureFixture, part: str, keep: int
) -> None:
    whole = runs.start("whole", "training.steps=1")[0]
    assert not (whole.path / "left-out.json").exists()
    bad = whole.split()[part][0]
    cut(image(runs, bad), keep)
    folder, report = runs.start("a", skip_bad=True)
    assert report.status == "completed"
    assert folder.split() == {part: [name for name in names if name != bad] for part, names in whole.split().items()}
    left_out = json.loads((folder.path / "left-out.json").read_text(encoding="utf-8"))
    assert list(left_out) == [bad]
    assert f"{bad}_flair.nii.gz was cut off" in left_out[bad]
    assert [message for message in caplog.messages if message.startswith("Left out")] == [
        f"Left out {bad}: {left_out[bad]}"
    ]
    # It goes on without it, whether it is mended or not.
    runs.resume("a", "training.steps=9")
    assert json.loads((folder.path / "left-out.json").read_text(encoding="utf-8")) == left_out


@pytest.mark.parametrize("part", ["train", "validation"])
def test_skipping_may_not_empty_a_part(runs: Runs, part: str) -> None:
    for case in make_plan(runs.configured(*SMALL), runs.data).splits[part]:
        cut(image(runs, case.name))
    with pytest.raises(DataError, match=f"^Of the {part} cases none is left: mend those that were left out, or choose"):
        runs.start("a", skip_bad=True)
    assert not runs.folder("a").path.exists()


def test_boxes_around_brains_of_different_shapes_share_no_batch_and_are_learned_from(
    runs: Runs, write_cases: WriteCases, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_cases(runs.root / "other", count=1, shape=(14, 12, 9)) / "BraTS20_Training_001"
    shutil.rmtree(runs.data / other.name)
    other.rename(runs.data / other.name)
    brain = ("patch.name=coarse", "preprocessing.frame=brain")
    with caplog.at_level(logging.WARNING):
        folder, report = runs.start("a", *brain)
    assert report.status == "completed"
    assert len(losses(folder)) == 8
    assert [message for message in caplog.messages if "differ in shape" in message] == [
        (
            "The cases differ in shape and so do their windows, such as 9×11×8 and 13×11×8: only windows of one shape "
            "share an evaluation of the network."
        )
    ]
    configuration = runs.configured(*SMALL, *brain)
    opened = open_cases(configuration, make_plan(configuration, runs.data), lambda *_: None)
    assert len({case.region.size for cases in opened.splits.values() for case in cases}) > 1


def test_a_run_over_boxes_around_brains_learns_samples_and_pictures(runs: Runs) -> None:
    folder, report = runs.start("a", "preprocessing.frame=brain", "preprocessing.orientation=RPI")
    assert report.status == "completed"
    assert report.picture is not None
    assert report.picture.image.shape == report.picture.answer.shape == (10, 12, 9)
    assert report.picture.image.any()
    assert len(losses(folder)) == 8


def test_a_run_goes_on_as_it_was_when_a_case_was_added(runs: Runs, write_cases: WriteCases) -> None:
    whole, _ = runs.start("whole")
    runs.registry.register(StopAt(3, ask_to_stop))
    with pytest.raises(InterruptedRunError):
        runs.start("stopped")
    for folder in sorted(write_cases(runs.root / "more", count=7).iterdir())[5:]:
        folder.rename(runs.data / folder.name)
    cut(image(runs, "BraTS20_Training_007"))
    assert_same(whole, runs.resume("stopped")[0])


@pytest.mark.parametrize("keep", [30, -20], ids=["header", "voxels"])
def test_a_run_does_not_go_on_without_a_case_of_its_own(runs: Runs, keep: int) -> None:
    whole, _ = runs.start("whole")
    runs.registry.register(StopAt(3, ask_to_stop))
    with pytest.raises(InterruptedRunError):
        runs.start("stopped")
    bad = image(runs, runs.folder("stopped").split()["train"][0])
    content = bad.read_bytes()
    cut(bad, keep)
    said = r"^The run was split with the case BraTS20_Training_00\d, which cannot be used any more: .* was cut off"
    with pytest.raises(DataError, match=said):
        runs.resume("stopped")
    bad.write_bytes(content)
    assert_same(whole, runs.resume("stopped")[0])
