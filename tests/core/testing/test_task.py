"""What a task owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

import pytest
import torch
from tests.core.testing.tasks import Brightness, Compared, Painter, Pairing, Parts, constant
from torch import Tensor
from typing_extensions import override

from ddmkit import DataError, Example, SetJudge, Task
from ddmkit.definition import Scoring
from ddmkit.testing import check, check_task
from ddmkit_plugins.tasks.brats import Brats
from ddmkit_plugins.tasks.segmentation import SegmentationTask


@pytest.mark.parametrize(
    "task",
    [
        Parts,
        Painter,
        Brats,
        Brats(output="regions", overlap=0.5),
        Brats(output="classes", background=-1),
        Brats(background=0.25, foreground=0.75, threshold=0.1),
        SegmentationTask,
        SegmentationTask(classes=("liver", "left kidney")),
    ],
)
def test_a_task_that_keeps_its_promises_passes(task: Task | type[Task]) -> None:
    check(task)


def test_a_task_that_does_not_know_every_name_of_its_regions_can_say_so() -> None:
    class Synonym(Parts):
        """The reference may call the core something that this task's x_0 does not know."""

        name: ClassVar[str] = "synonym"

        @property
        @override
        def regions(self) -> dict[str, frozenset[str]]:
            return {"core": frozenset({"core", "necrosis"}), "edema": frozenset({"edema"})}

    with pytest.raises(AssertionError, match="finds the region 'core'"):
        check_task(Synonym())
    check_task(Synonym(), classes=["core", "edema"])


def test_a_task_that_answers_coarsely_is_checked_with_coarse_labels_too() -> None:
    check_task(Brats(), classes=["whole", "cavity"])


def test_a_task_that_learns_what_no_region_names_is_caught(refuses: Callable[..., None]) -> None:
    def everything(_: object, example: Example) -> Tensor:
        labels = cast("Tensor", example.labels)
        core = labels == example.classes.index("core")
        return torch.stack([core, (labels > 0) & ~core]).float()

    refuses(
        Parts,
        "Where labels also mean 'something else', which no region of it names: Broken finds the region 'whole' in the "
        r"reference's own x_0 with Dice 0\.8",
        x0=everything,
    )


@pytest.mark.parametrize("in_advance", [False, True])
def test_a_task_that_refuses_labels_it_does_not_know_passes(
    *, in_advance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(classes: tuple[str, ...]) -> None:
        if not {*classes} <= {"background", "core", "edema"}:
            msg = "These labels are none of mine."
            raise DataError(msg)

    def careful(_: Parts, example: Example) -> Tensor:
        if not in_advance:
            look(example.classes)
        labels = cast("Tensor", example.labels)
        core = labels == example.classes.index("core")
        return torch.stack([core, (labels > 0) & ~core]).float()  # all others are edema

    monkeypatch.setattr(Parts, "x0", careful)
    if in_advance:
        monkeypatch.setattr(Parts, "check_classes", lambda _, classes: look(classes))
    check_task(Parts())


def test_labels_that_tell_nothing_prove_nothing(refuses: Callable[..., None]) -> None:
    refuses(
        Parts,
        r"no region that both its answers \(edema, core\) and the labels \(background, cyst\) tell",
        by=lambda task: check_task(task, classes=["cyst"]),
        x0=lambda _, example: torch.zeros(2, *example.window.shape),
    )


@pytest.mark.parametrize(
    ("attribute", "value", "sentence"),
    [
        ("modalities", (), "has no modalities"),
        ("modalities", ("t1", "t1"), "reads a modality twice: t1, t1"),
        ("x0_channels", (), "names no channels of x_0"),
        ("x0_channels", ("core", "core"), "has a channel twice: core, core"),
        ("x0_channels", ("core",), r"x0 has shape \(2, 5, 6, 7\) over .* not \(1, 5, 6, 7\)"),
        ("answers", ("background", "core"), "lists background among its answers"),
        ("answers", tuple(map(str, range(256))), "has 256 answers, but beside background uint8 tells 255 apart"),
        ("answers", ("core", "core"), "has an answer twice: core, core"),
        ("answers", ("cyst",), "answers with cyst, which tells none of the regions whole, core"),
        ("answers", (), "answers with nothing, which tells none of the regions whole, core"),
        ("answers", ("core", "cyst"), "answers with 'cyst', which belongs to no region"),
        ("regions", {"all": frozenset({"background", "core"})}, "counts background to the region 'all'"),
        ("clip", (0.0, 0.5), r"clips samples to 0 … 0\.5, but its x_0 is 0 … 1"),
        ("condition_channels", 3, r"condition has shape \(2, 5, 6, 7\) over .* not \(3, 5, 6, 7\)"),
    ],
)
def test_a_task_whose_words_do_not_fit_together_is_caught(
    attribute: str, value: object, sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Parts, sentence, **{attribute: constant(value)})


def by_number(_self: Parts, example: Example) -> Tensor:
    assert example.labels is not None
    return torch.stack([example.labels == 1, example.labels == 2]).float()


def overwriting(self: Parts, example: Example) -> Tensor:
    assert example.labels is not None
    x0 = Parts.x0(self, example)
    example.labels.zero_()
    return x0


@pytest.mark.parametrize(
    ("x0", "sentence"),
    [
        (lambda self, example: Parts.x0(self, example)[:1], r"x0 has shape \(1, 5, 6, 7\)"),
        (lambda self, example: Parts.x0(self, example).double(), r"x0 is torch\.float64, not float32"),
        (lambda self, example: Parts.x0(self, example) / 0, "x0 holds numbers that are not finite"),
        (lambda self, example: Parts.x0(self, example) * torch.rand(1), "x0 gives two answers to one example"),
        (overwriting, "x0 writes into the example it is given"),
        (by_number, r"finds the region 'core' in the reference's own x_0 with Dice 0 and"),
    ],
)
def test_a_broken_x0_is_caught(x0: Callable[..., Tensor], sentence: str, refuses: Callable[..., None]) -> None:
    refuses(Parts, sentence, x0=x0)


def giving_away(self: Parts, example: Example) -> Tensor:
    shown = torch.zeros_like(example.images[:1]) if example.labels is None else example.labels[None].float()
    return torch.cat([Parts.condition(self, example)[:1], shown])


def peeping(self: Parts, example: Example) -> Tensor:
    """Give labels away where there are some."""
    none = example.labels is None or not example.labels.any()
    return Parts.condition(self, example) if none else giving_away(self, example)


def hinting(self: Parts, example: Example) -> Tensor:
    return Parts.condition(self, example) * (0.5 if example.labels is None else 1)


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        (lambda _, example: example.images[:, :4], r"condition has shape \(2, 4, 6, 7\)"),
        (lambda _, example: example.images.mul_(2), "condition writes into the example it is given"),
        (giving_away, "condition depends on the reference"),
        (peeping, "condition depends on the reference"),
        (hinting, "condition depends on the reference"),
    ],
)
def test_a_broken_condition_is_caught(
    condition: Callable[..., Tensor], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Parts, sentence, condition=condition)


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"readout": lambda _, x0: x0[:, :1]}, r"readout turns shape \(2, 2, 5, 6, 7\) into \(2, 1, 5, 6, 7\)"),
        ({"readout": lambda _, x0: x0 - x0.mean(0)}, "readout mixes the members of an ensemble"),
        ({"readout": lambda _, x0: x0.log()}, "readout gives numbers that are not finite"),
        (
            {"readout": lambda _, x0: x0 * torch.ones(x0.shape)},
            "readout, given tensors on another device, raises RuntimeError: .*; make its tensors where the samples are",
        ),
        ({"answer": lambda _, mean: mean.to(torch.uint8)}, r"answer has shape \(2, 5, 6, 7\), not \(5, 6, 7\)"),
        ({"answer": lambda self, mean: Parts.answer(self, mean).long()}, r"answer gives torch\.int64, not uint8"),
        ({"answer": lambda self, mean: 2 * Parts.answer(self, mean)}, "answers with the index 4, but has 2 answers"),
        ({"answer": lambda self, mean: Parts.answer(self, mean - 1)}, r"with Dice 0 and HD95 10\.5, not with 1 and 0"),
    ],
)
def test_a_broken_way_from_samples_to_an_answer_is_caught(
    methods: dict[str, Callable[..., Tensor]], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Parts, sentence, **methods)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda _, estimate, x0: (estimate - x0).abs(), r"loss is of shape \(2, 2, 5, 6, 7\) and torch.float32, not a"),
        (
            lambda _, estimate, x0: (estimate - x0).double().square().mean(),
            "loss is of shape .* and torch.float64, not",
        ),
        (lambda _, estimate, x0: (estimate - x0).square().sum(), "loss of two examples is not the mean of each one's"),
        (lambda _, estimate, x0: -(estimate - x0).square().mean(), "loss is no smaller at x_0 than beside it"),
        (lambda _, estimate, x0: (estimate.detach() - x0).square().mean(), "loss has no finite gradient"),
        (
            lambda _, estimate, x0: ((estimate - x0).square() * torch.ones(x0.shape)).mean(),
            "loss, given tensors on another device, raises RuntimeError: .* make its tensors where the estimates are",
        ),
    ],
)
def test_a_broken_loss_is_caught(loss: Callable[..., Tensor], sentence: str, refuses: Callable[..., None]) -> None:
    refuses(Parts, sentence, loss=loss, adds_loss=property(lambda _: True))


def test_a_condition_that_holds_the_image_asked_for_is_caught(refuses: Callable[..., None]) -> None:
    sentence = "condition holds 'flair', which is asked for, as its channel 0; nothing would be left to generate"
    refuses(Painter, sentence, condition=lambda _, example: 1 - example.images[1:] / 3)


def giving_back(_self: Painter, example: Example) -> Tensor:
    return torch.zeros_like(example.images[1:]) if example.labels is None else example.labels[None].float() / 255


@pytest.mark.parametrize(("names", "said"), [(("t1", "ct"), "ct, t1, which are none of its mod"), ((), "nothing")])
def test_a_condition_of_what_is_not_read_is_caught(
    names: tuple[str, ...], said: str, refuses: Callable[..., None]
) -> None:
    refuses(Painter, f"makes its condition of {said}", condition_modalities=constant(names))


def test_a_task_that_needs_no_reference_and_looks_at_one_is_caught(refuses: Callable[..., None]) -> None:
    said = "x0 depends on the reference, but"
    refuses(Painter, said, needs_references=constant(value=False), x0=giving_back)


def test_a_task_that_answers_with_neither_labels_nor_volumes_is_caught(refuses: Callable[..., None]) -> None:
    class Neither(Task):
        """Says nothing about its answers."""

        name: ClassVar[str] = "neither"

        @property
        @override
        def x0_channels(self) -> tuple[str, ...]:
            return ("flair",)

        @property
        @override
        def modalities(self) -> tuple[str, ...]:
            return ("flair",)

        @override
        def x0(self, example: Example) -> Tensor:
            return example.images

        @override
        def condition(self, example: Example) -> Tensor:
            return example.images

        @override
        def judge(self, scoring: Scoring) -> SetJudge:
            return Brightness()

    refuses(Neither, "is neither a LabelTask nor a VolumeTask")


def test_a_task_that_is_judged_case_by_case_may_keep_its_promises() -> None:
    check(Pairing())


def test_a_judge_of_cases_without_figures_of_cases_is_caught(
    refuses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compared, "alone", False)
    refuses(Pairing, "compares case by case, but 'error' does not say by_case=True")


def test_a_condition_that_looks_for_the_target_is_caught(refuses: Callable[..., None]) -> None:
    refuses(Pairing, "condition has shape", condition=lambda _, example: example.images[1:])
