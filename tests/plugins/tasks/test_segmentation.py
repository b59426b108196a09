"""Segmentation of any organ."""

from __future__ import annotations

import pytest
import torch

from ddmkit import ConfigurationError, DataError, Example, Window
from ddmkit.assembly import make
from ddmkit_plugins.tasks.segmentation import SegmentationTask

ABDOMEN = ("background", "liver", "left kidney", "vessel", "right kidney")


def x0(task: SegmentationTask, indices: list[int], classes: tuple[str, ...] = ABDOMEN) -> list[list[float]]:
    """Return x_0 of a row of voxels, channel by channel."""
    labels = torch.tensor(indices, dtype=torch.uint8).reshape(-1, 1, 1)
    channels = task.x0(Example(torch.zeros(1, *labels.shape), labels, classes, Window.whole((len(indices), 1, 1))))
    return [channel.flatten().tolist() for channel in channels]


def test_each_class_that_is_named_has_a_mask_and_the_others_are_background() -> None:
    task = SegmentationTask(classes=("right kidney", "liver"))
    assert task.x0_channels == task.answers == ("right kidney", "liver")
    assert x0(task, [0, 1, 2, 3, 4]) == [[0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]


def test_each_class_is_scored_by_itself() -> None:
    assert SegmentationTask(classes=("spleen", "liver")).regions == {"spleen": {"spleen"}, "liver": {"liver"}}


def test_without_settings_there_is_one_image_and_one_foreground() -> None:
    task = SegmentationTask()
    assert task.modalities == ("image",)
    assert task.answers == ("foreground",)


def test_the_reference_is_answered_with_the_classes_named() -> None:
    task = SegmentationTask(classes=("right kidney", "liver"), background=-1)
    channels = torch.tensor(x0(task, [0, 1, 2, 3, 4]))[None, :, :, None, None]
    assert task.answer(task.readout(channels)[0]).flatten().tolist() == [0, 2, 0, 0, 1]


def test_labels_without_a_class_that_is_asked_for_are_refused_with_what_they_have() -> None:
    sentence = r"asks for spleen, but .* only mean liver, left kidney, vessel, right kidney: name some of these, as in "
    with pytest.raises(DataError, match=f"{sentence}-o 'task.classes=liver,left kidney,vessel,right kidney'"):
        x0(SegmentationTask(classes=("liver", "spleen")), [0, 1])


def test_labels_that_mean_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"asks for foreground, but .* only mean nothing: choose the --dataset"):
        x0(SegmentationTask(), [0], ("background",))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ([], "at least 1 item"),
        (["liver", "liver"], "'liver' stands there twice"),
        (["background", "liver"], "classes name 'background', which is what belongs to none of them; leave it out"),
        ([f"part {number}" for number in range(256)], "at most 255 items"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(classes: list[str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        make(SegmentationTask, "task", {"classes": classes})


def test_a_single_class_needs_no_brackets() -> None:
    assert make(SegmentationTask, "task", {"classes": "liver"}).classes == ("liver",)


@pytest.mark.parametrize(
    ("written", "meant"), [("Liver", "liver"), ("peritumoral edema", "edema"), ("NCR", "necrotic"), ("WT", "whole")]
)
def test_a_class_is_named_in_any_spelling_in_which_labels_are_read(written: str, meant: str) -> None:
    assert make(SegmentationTask, "task", {"classes": [written, "spleen"]}).classes == (meant, "spleen")
