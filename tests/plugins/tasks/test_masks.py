"""What the tasks whose x_0 is masks have in common."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import pytest
import torch

from ddmkit import Component, ConfigurationError, DataError, Example, Task, Window
from ddmkit.assembly import make
from ddmkit.testing import check
from ddmkit_plugins.tasks.brats import Brats
from ddmkit_plugins.tasks.masks import soft_dice_loss
from ddmkit_plugins.tasks.segmentation import SegmentationTask

if TYPE_CHECKING:
    from torch import Tensor

    from ddmkit_plugins.tasks.masks import Masks

Kind: TypeAlias = type[Brats] | type[SegmentationTask]
TASKS: tuple[Kind, ...] = (Brats, SegmentationTask)
EXCLUSIVE: tuple[Masks, ...] = (
    Brats(output="classes"),
    SegmentationTask(classes=("liver", "left kidney", "right kidney")),
)


def example(labels: Tensor | None, classes: tuple[str, ...] = ("background", "whole", "foreground")) -> Example:
    images = torch.linspace(0, 1, 4 * 8).reshape(4, 2, 2, 2)
    return Example(images, labels, classes, Window.whole((2, 2, 2)))


def line(*indices: int) -> Tensor:
    return torch.tensor(indices, dtype=torch.uint8).reshape(-1, 1, 1)


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0), (-0.25, 0.75)])
@pytest.mark.parametrize(
    "task",
    [Brats(), Brats(output="regions"), *EXCLUSIVE, SegmentationTask(images=("t1", "ct"))],
    ids=lambda task: ",".join(task.answers),
)
def test_a_task_keeps_its_promises_whatever_its_masks_stand_for(task: Masks, values: tuple[float, float]) -> None:
    background, foreground = values
    check(task.model_copy(update={"background": background, "foreground": foreground}))


@pytest.mark.parametrize("task", TASKS)
def test_the_images_are_scaled_as_the_official_code_scales_them(task: type[Task]) -> None:
    condition = task().condition(example(None))
    assert condition.shape == (4, 2, 2, 2)
    assert condition.flatten()[[0, -1]].tolist() == [-1, 1]


@pytest.mark.parametrize("task", TASKS)
def test_estimates_are_clipped_as_in_the_paper(task: type[Task]) -> None:
    assert task().clip == (-1, 1)


@pytest.mark.parametrize("task", TASKS)
def test_contrasts_are_what_is_read_and_shown_to_the_network(task: Kind) -> None:
    chosen = task(images=("flair", "t1"))
    assert chosen.modalities == ("flair", "t1")
    assert chosen.condition_channels == 2


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("values", [(-1, 0.5), (0, 1)])
def test_a_mask_may_stand_for_other_values(task: Kind, values: tuple[float, float]) -> None:
    background, foreground = values
    chosen = task(background=background, foreground=foreground)
    name = chosen.answers[0]
    x0 = chosen.x0(example(line(0, 1, 0), ("background", name)))
    assert x0.dtype == torch.float32
    assert x0.flatten().tolist() == [background, foreground, background]
    assert chosen.readout(x0[None]).flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize("task", TASKS)
def test_a_voxel_is_foreground_above_the_threshold(task: Kind) -> None:
    mean = torch.tensor([0.2, 0.5, 0.500001, 1.3, -0.4]).reshape(1, 5, 1, 1)
    answer = task().answer(mean)
    assert answer.dtype == torch.uint8
    assert answer.flatten().tolist() == [0, 0, 1, 1, 0]
    assert task(threshold=0.1).answer(mean).flatten().tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("task", EXCLUSIVE)
def test_of_classes_the_largest_answers_where_all_together_exceed_the_threshold(task: Masks) -> None:
    levels = (-0.1, 0.0, 0.15, 0.2, 0.6)
    means = list(itertools.product(levels, repeat=3))
    answer = task.answer(torch.tensor(means).T.reshape(3, -1, 1, 1)).flatten().tolist()
    assert answer == [1 + mean.index(max(mean)) if sum(mean) > 0.5 else 0 for mean in means]


@pytest.mark.parametrize("task", EXCLUSIVE)
def test_members_that_agree_on_something_but_not_on_what_still_answer(task: Masks) -> None:
    members = torch.eye(3)[[0, 1, 1]].reshape(3, 3, 1, 1, 1)  # one says the first class, two the second
    assert task.answer(members.mean(0)).item() == 2
    assert task.answer(torch.eye(3).mean(0).reshape(3, 1, 1, 1)).item() == 1  # all equal: the first


@pytest.mark.parametrize("task", TASKS)
def test_an_example_without_reference_cannot_be_learned_from(task: type[Task]) -> None:
    with pytest.raises(DataError, match="leave out cases without labels"):
        task().x0(example(None))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"foreground": 0.0}, "task: foreground 0 is not above background 0: raise foreground or lower background."),
        ({"background": 1.0}, "raise foreground or lower background"),
        ({"background": 0.5, "foreground": 0.4}, "raise foreground or lower background"),
        ({"foreground": 2}, "less than or equal to 1"),
        ({"images": []}, "at least 1 item"),
        ({"images": [""]}, "at least 1 character"),
        ({"images": ["t1", "t2", "t1"]}, r"task.images=\['t1', 't2', 't1'\]: 't1' stands there twice; name it"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_settings_that_make_no_sense_are_refused(
    task: type[Component], settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        make(task, "task", settings)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("typed", "meant"), [("CT", "ct"), ("T1Gd", "t1ce"), (" Venous phase ", "venous phase")])
def test_an_image_is_named_in_any_spelling_in_which_data_are_read(task: type[Task], typed: str, meant: str) -> None:
    chosen = make(task, "task", {"images": [typed, "T2"]})
    assert chosen.modalities == (meant, "t2")
    with pytest.raises(ConfigurationError, match=f"'{meant}' stands there twice"):
        make(task, "task", {"images": [typed, meant]})


@pytest.mark.parametrize("task", TASKS)
def test_a_single_contrast_needs_no_brackets(task: type[Task]) -> None:
    assert make(task, "task", {"images": "ct"}).modalities == ("ct",)


def test_soft_dice_is_worked_out_by_hand_for_each_example_and_channel() -> None:
    found = torch.tensor([[1.0, 0.5, 0.0, 2.0], [0.0, 0.0, -1.0, 0.0]]).reshape(2, 1, 4, 1, 1)
    truth = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]).reshape(2, 1, 4, 1, 1)
    first = 1 - (2 * 1.5 + 1) / (2.25 + 2 + 1)  # 2 counts as 1
    assert float(soft_dice_loss(found, truth)) == pytest.approx((first + 0) / 2)
    assert float(soft_dice_loss(truth, truth)) == pytest.approx(0)


def test_a_masks_loss_is_that_of_its_readout() -> None:
    task = Brats(background=-1.0, overlap=0.5)
    estimate, x0 = torch.tensor([1.0, 0.0, -1.0]), torch.tensor([1.0, 1.0, -1.0])
    found, truth = (1 + estimate) / 2, (1 + x0) / 2
    shaped = (1, 1, 3, 1, 1)
    expected = 0.5 * float(soft_dice_loss(found.reshape(shaped), truth.reshape(shaped)))
    assert task.adds_loss
    assert float(task.loss(estimate.reshape(shaped), x0.reshape(shaped))) == pytest.approx(expected)
    assert not Brats().adds_loss
