"""Segmentation of brain tumours: whole, by regions and by classes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import pytest
import torch

from ddmkit import DataError, Example, Window
from ddmkit.scoring import told
from ddmkit_plugins.tasks.brats import Brats

CLASSES = ("background", "necrotic", "edema", "enhancing")
Output: TypeAlias = Literal["whole", "regions", "classes"]


def x0(task: Brats, indices: list[int], classes: tuple[str, ...] = CLASSES) -> list[list[float]]:
    """Return x_0 of a row of voxels, channel by channel."""
    labels = torch.tensor(indices, dtype=torch.uint8).reshape(-1, 1, 1)
    images = torch.zeros(4, *labels.shape)
    channels = task.x0(Example(images, labels, classes, Window.whole((len(indices), 1, 1))))
    assert channels.shape == (len(task.x0_channels), *labels.shape)
    return [channel.flatten().tolist() for channel in channels]


def answers(task: Brats, *channels: list[float]) -> list[str]:
    """Return the classes that a row of mean voxels is answered with."""
    answer = task.answer(torch.tensor(channels)[:, :, None, None])
    assert answer.dtype == torch.uint8
    return [("background", *task.answers)[index] for index in answer.flatten().tolist()]


def test_by_default_all_classes_of_a_tumour_are_merged_as_in_the_paper() -> None:
    assert Brats().x0_channels == Brats().answers == ("whole",)
    assert x0(Brats(), [0, 1, 2, 3]) == [[0, 1, 1, 1]]


def test_the_order_of_the_contrasts_is_the_official_codes() -> None:
    assert Brats().modalities == ("t1", "t1ce", "t2", "flair")


def test_regions_are_masks_inside_each_other() -> None:
    task = Brats(output="regions")
    assert task.x0_channels == ("whole", "core", "enhancing")
    assert x0(task, [0, 1, 2, 3]) == [[0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]


def test_classes_have_a_mask_each() -> None:
    task = Brats(output="classes", background=-1)
    assert task.x0_channels == ("necrotic", "edema", "enhancing")
    assert x0(task, [0, 1, 2, 3]) == [[-1, 1, -1, -1], [-1, -1, 1, -1], [-1, -1, -1, 1]]


@pytest.mark.parametrize("output", ["whole", "regions", "classes"])
def test_classes_are_told_by_name_not_by_number(output: Output) -> None:
    task = Brats(output=output)
    turned = ("enhancing", "background", "edema", "necrotic")
    assert x0(task, [turned.index(name) for name in CLASSES], turned) == x0(task, [0, 1, 2, 3])


@pytest.mark.parametrize("output", ["whole", "regions", "classes"])
def test_a_resection_cavity_counts_as_background(output: Output) -> None:
    task = Brats(output=output)
    assert x0(task, [4, 1, 2, 3], (*CLASSES, "cavity")) == x0(task, [0, 1, 2, 3])


def test_labels_of_the_whole_tumour_alone_suffice_for_its_mask() -> None:
    assert x0(Brats(), [0, 1], ("background", "whole")) == [[0, 1]]


@pytest.mark.parametrize("output", ["regions", "classes"])
def test_the_reference_is_answered_with_its_own_classes(output: Output) -> None:
    task = Brats(output=output)
    assert answers(task, *x0(task, [0, 1, 2, 3])) == list(CLASSES)


def test_nested_masks_answer_the_innermost_region_that_lies_inside_all_around_it() -> None:
    masks = [(w, c, e) for w in (0.0, 1.0) for c in (0.0, 1.0) for e in (0.0, 1.0)]
    found = answers(Brats(output="regions"), *map(list, zip(*masks, strict=True)))
    expected = {
        (1.0, 0.0, 0.0): "edema",
        (1.0, 0.0, 1.0): "edema",
        (1.0, 1.0, 0.0): "necrotic",
        (1.0, 1.0, 1.0): "enhancing",
    }
    assert found == [expected.get(mask, "background") for mask in masks]


def test_each_region_has_to_exceed_the_threshold() -> None:
    regions = [[0.5, 0.6, 0.6, 0.9], [0.9, 0.5, 0.6, 0.9], [0.9, 0.9, 0.5, 0.8]]
    assert answers(Brats(output="regions"), *regions) == ["background", "edema", "necrotic", "enhancing"]
    assert answers(Brats(output="regions", threshold=0.85), *regions) == [*["background"] * 3, "necrotic"]


def test_an_ensembles_whole_tumour_is_the_same_mask_with_regions_as_without() -> None:
    means = torch.rand((3, 200, 1, 1), generator=torch.Generator().manual_seed(0))
    by_regions = Brats(output="regions").answer(means)
    assert torch.equal((by_regions > 0).to(torch.uint8), Brats().answer(means[:1]))


@pytest.mark.parametrize(
    ("output", "regions"),
    [("whole", ["whole"]), ("regions", ["whole", "core", "enhancing"]), ("classes", ["whole", "core", "enhancing"])],
)
def test_answers_tell_some_of_the_regions_of_the_challenge(output: Output, regions: list[str]) -> None:
    task = Brats(output=output)
    assert list(told(task.regions, task.answers)) == regions
    assert task.regions == {
        "whole": {"necrotic", "edema", "enhancing", "whole"},
        "core": {"necrotic", "enhancing"},
        "enhancing": {"enhancing"},
    }


@pytest.mark.parametrize(
    ("output", "classes", "untold"),
    [
        ("regions", ("whole",), "core, enhancing"),
        ("regions", ("whole", "cavity"), "core, enhancing"),
        ("regions", ("whole", "enhancing"), "core, enhancing"),
        ("regions", ("edema",), "core, enhancing"),
        ("classes", ("whole",), "necrotic, edema, enhancing"),
        ("classes", ("necrotic", "edema", "enhancing", "whole"), "necrotic, edema, enhancing"),
        ("classes", ("edema", "enhancing"), "necrotic"),
    ],
)
def test_labels_that_tell_the_whole_tumour_only_are_offered_the_whole_output(
    output: Output, classes: tuple[str, ...], untold: str
) -> None:
    sentence = f"asks for {untold}, but .* only mean {', '.join(classes)}: type -o task.output=whole"
    with pytest.raises(DataError, match=sentence):
        x0(Brats(output=output), [0, 1], ("background", *classes))
    assert x0(Brats(), [0, 1], ("background", *classes)) == [[0, 1]]


@pytest.mark.parametrize("output", ["whole", "regions", "classes"])
@pytest.mark.parametrize("classes", [("background",), ("background", "cavity")])
def test_labels_of_no_tumour_cannot_be_learned_from(output: Output, classes: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"only mean (nothing|cavity): choose the --dataset whose labels these are"):
        x0(Brats(output=output), [0], classes)


def test_a_class_that_is_no_tumour_is_named() -> None:
    with pytest.raises(DataError, match=r"does not know the class 'liver': .* or --task segmentation"):
        x0(Brats(), [0, 1], (*CLASSES, "liver"))
