"""Whole-tumour segmentation."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from ddmkit import DataError, Example, Window
from ddmkit_plugins.tasks.brats import Brats

CLASSES = ("background", "core", "edema", "enhancing")


def example(labels: Tensor | None, classes: tuple[str, ...] = CLASSES) -> Example:
    images = torch.linspace(0, 1, 4 * 8).reshape(4, 2, 2, 2)
    return Example(images, labels, classes, Window.whole((2, 2, 2)))


def line(*indices: int) -> Tensor:
    return torch.tensor(indices, dtype=torch.uint8).reshape(-1, 1, 1)


def test_all_classes_of_a_tumour_are_merged() -> None:
    x0 = Brats().x0(example(line(0, 1, 2, 3)))
    assert x0.shape == (1, 4, 1, 1)
    assert x0.dtype == torch.float32
    assert x0.flatten().tolist() == [0, 1, 1, 1]


def test_classes_are_told_by_name_not_by_number() -> None:
    x0 = Brats().x0(example(line(0, 1, 2), ("whole", "background", "edema")))
    assert x0.flatten().tolist() == [1, 0, 1]


def test_the_mask_may_stand_for_other_values() -> None:
    x0 = Brats(background=-1, foreground=0.5).x0(example(line(0, 3)))
    assert x0.flatten().tolist() == [-1, 0.5]


def test_the_images_are_scaled_as_the_official_code_scales_them() -> None:
    condition = Brats().condition(example(None))
    assert condition.shape == (Brats().condition_channels, 2, 2, 2)
    assert condition.flatten()[[0, -1]].tolist() == [-1, 1]


def test_the_order_of_the_modalities_is_the_official_codes() -> None:
    assert Brats().modalities == ("t1", "t1ce", "t2", "flair")


def test_estimates_are_clipped_as_in_the_paper() -> None:
    assert Brats().clip == (-1, 1)


@pytest.mark.parametrize("task", [Brats(), Brats(background=-1), Brats(background=-0.25, foreground=0.75)])
def test_reference_read_out_and_answered_is_the_reference(task: Brats) -> None:
    labels = line(0, 1, 0, 2, 3)
    readout = task.readout(task.x0(example(labels))[None])
    assert readout.flatten().tolist() == [0, 1, 0, 1, 1]
    answer = task.answer(readout[0])
    assert answer.dtype == torch.uint8
    assert torch.equal(answer, (labels > 0).to(torch.uint8))


def test_a_voxel_is_tumour_above_the_threshold() -> None:
    mean = torch.tensor([0.2, 0.5, 0.500001, 1.3, -0.4]).reshape(1, 5, 1, 1)
    assert Brats().answer(mean).flatten().tolist() == [0, 0, 1, 1, 0]
    assert Brats(threshold=0.1).answer(mean).flatten().tolist() == [1, 1, 1, 1, 0]


def test_answers_belong_to_the_region_that_is_scored() -> None:
    task = Brats()
    assert task.answers == {1: "whole"}
    assert set(task.answers.values()) <= task.regions["whole"]


def test_an_example_without_reference_cannot_be_learned_from() -> None:
    with pytest.raises(DataError, match="leave out cases without labels"):
        Brats().x0(example(None))


def test_a_class_that_is_no_tumour_is_named() -> None:
    with pytest.raises(DataError, match="does not know the class 'cavity'"):
        Brats().x0(example(line(0, 1), (*CLASSES, "cavity")))


@pytest.mark.parametrize("settings", [{"foreground": 0.0}, {"background": 1.0}, {"background": 0.5, "foreground": 0.4}])
def test_foreground_must_be_above_background(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="raise foreground or lower background"):
        Brats.model_validate(settings)


def test_values_outside_the_clipping_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Brats(foreground=2)
