"""What a task owes is checked."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from ddmkit import DataError, Example, Figure, LabelTask, PairJudge, SetJudge, Task, VolumeTask
from ddmkit.definition import Scoring
from ddmkit.judging import Summary
from ddmkit.scoring import RegionJudge
from ddmkit.testing import check, check_task
from ddmkit_plugins.tasks.brats import Brats
from ddmkit_plugins.tasks.segmentation import SegmentationTask


class Parts(LabelTask):
    """Tell core from edema, by a channel for each."""

    name: ClassVar[str] = "parts"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("core", "edema")

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {"whole": frozenset({"core", "edema"}), "core": frozenset({"core"})}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("edema", "core")

    @override
    def x0(self, example: Example) -> Tensor:
        assert example.labels is not None
        return torch.stack([example.labels == example.classes.index(name) for name in ("core", "edema")]).float()

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images

    @override
    def answer(self, mean: Tensor) -> Tensor:
        core, edema = mean > 0.5
        return torch.where(core, 2, torch.where(edema, 1, 0)).to(torch.uint8)


OFF = Figure("off", "off", higher_is_better=False)


class Brightness(SetJudge):
    """How far the mean brightness of all generated volumes is from that of all real ones."""

    def __init__(self) -> None:
        self._real: list[float] = []
        self._generated: list[float] = []

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (OFF,)

    @override
    def definition(self) -> dict[str, str]:
        return {"off": "absolute difference of mean intensities"}

    @override
    def real(self, case: str, volume: NDArray[np.float32]) -> None:
        self._real.append(float(volume.mean()))

    @override
    def generated(self, case: str, volume: NDArray[np.float32]) -> None:
        self._generated.append(float(volume.mean()))

    @override
    def summary(self) -> Summary:
        there = self._real and self._generated
        off = abs(fmean(self._real) - fmean(self._generated)) if there else None
        return {"all": {"n": len(self._generated), "off": off}}


class Painter(VolumeTask):
    """Make up a FLAIR image to a T1 image."""

    name: ClassVar[str] = "painter"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("flair",)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1", "flair")

    @property
    @override
    def needs_references(self) -> bool:
        return False

    @property
    @override
    def condition_channels(self) -> int:
        return 1

    @override
    def x0(self, example: Example) -> Tensor:
        return 2 * example.images[1:] - 1

    @override
    def condition(self, example: Example) -> Tensor:
        return example.images[:1]

    @override
    def readout(self, x0: Tensor) -> Tensor:
        return (x0 + 1) / 2

    @override
    def judge(self, scoring: Scoring) -> SetJudge | PairJudge:
        return Brightness()


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


def test_labels_that_tell_nothing_prove_nothing(refuses: Callable[..., None]) -> None:
    refuses(
        Parts,
        r"no region that both its answers \(edema, core\) and the labels \(background, cyst\) tell",
        by=lambda task: check_task(task, classes=["cyst"]),
        x0=lambda _, example: torch.zeros(2, *example.window.shape),
    )


def constant(value: object) -> property:
    return property(lambda _self: value)


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


def refusing(_self: Parts, classes: tuple[str, ...]) -> None:
    if "edema" in classes:
        msg = "Edema is no word."
        raise DataError(msg)


class Doubled(RegionJudge):
    """Has Dice twice."""

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return super().figures[:1] * 2


class Spreadless(RegionJudge):
    """Promises the spread of Dice, and has none."""

    @override
    def summary(self) -> Summary:
        return {row: {"n": values["n"], "dice_mean": 1.0} for row, values in super().summary().items()}


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"judge": lambda *_: None}, r"judge returns None, not a RegionJudge"),
        ({"judge": lambda *_: Brightness()}, r"judge returns <.*Brightness object at .*>, not a RegionJudge"),
        ({"judge": lambda self, scoring: Doubled(self.regions, scoring)}, "two figures of one name: dice, dice"),
        ({"judge": lambda self, scoring: Spreadless(self.regions, scoring)}, "no 'dice_std' in the row 'whole' of"),
        (
            {"check_classes": refusing},
            r"check_classes raises DataError: Edema is no word for background, core, edema, w",
        ),
    ],
)
def test_a_task_of_labels_that_judges_otherwise_than_it_says_is_caught(
    methods: dict[str, object], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Parts, sentence, **methods)


def test_a_condition_that_holds_the_image_asked_for_is_caught(refuses: Callable[..., None]) -> None:
    sentence = "condition holds 'flair', which is asked for, as its channel 0; nothing would be left to generate"
    refuses(Painter, sentence, condition=lambda _, example: 1 - example.images[1:] / 3)


def giving_back(_self: Painter, example: Example) -> Tensor:
    return torch.zeros_like(example.images[1:]) if example.labels is None else example.labels[None].float() / 255


def judging(**methods: object) -> Callable[..., SetJudge]:
    """Return a `judge` that gives out the brightness judge, some of its methods replaced."""
    broken = type("Broken", (Brightness,), methods)
    return lambda *_: broken()


SEEN: list[float] = []


class Sharing(Brightness):
    """Keeps what it sees where all others look for it."""

    def __init__(self) -> None:
        super().__init__()
        self._real = SEEN


class Guessing(Brightness):
    """Rolls dice, whose fall it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self._luck = float(np.random.default_rng().random()) / 1000

    @override
    def summary(self) -> Summary:
        (row,) = super().summary().values()
        return {"all": {**row, "off": None if row["off"] is None else row["off"] + self._luck}}


def nan_summary(_self: Brightness) -> Summary:
    return {"all": {"n": 2, "off": float("nan")}}


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ({"judge": judging(figures=constant(()))}, "judge has no figures, but the first one chooses the best"),
        ({"judge": judging(definition=lambda _: {})}, "judge does not say what 'off' means"),
        ({"judge": judging(summary=lambda _: {"all": {"n": 1}})}, "judge has no 'off' in the row 'all'"),
        ({"judge": judging(summary=nan_summary)}, "judge has a summary that is no JSON"),
        ({"judge": judging(summary=lambda _: {"all": {"off": 0.5}})}, "judge has no 'n' in the row 'all'"),
        ({"judge": judging(figures=constant((OFF, OFF)))}, "judge has two figures of one name: off, off"),
        (
            {"judge": judging(figures=constant((OFF._replace(by_case=True),)))},
            "judge has no 'off_mean' in the row 'all'",
        ),
        (
            {"judge": lambda *_: Sharing()},
            "judges say two things of the same answers, .*let each keep what it is shown",
        ),
        ({"judge": lambda *_: Guessing()}, "judges say two things of the same answers, .*draw by a seed"),
        (
            {"judge": judging(summary=lambda _: {"all": {"n": 1, "off": float(np.random.default_rng().random())}})},
            "judge sums up one set in two ways, .*draw by a seed",
        ),
        ({"judge": lambda *_: None}, r"judge returns None, not a SetJudge"),
        ({"judge": judging(summary=lambda _: {"all": {"n": 1, "off": 0.5}})}, "finds real volumes no better than inve"),
        (
            {"condition_modalities": constant(("t1", "ct"))},
            "makes its condition of ct, t1, which are none of its mod",
        ),
        ({"condition_modalities": constant(())}, "makes its condition of nothing"),
        ({"needs_references": constant(value=False), "x0": giving_back}, "x0 depends on the reference, but"),
    ],
)
def test_a_broken_task_of_volumes_is_caught(
    methods: dict[str, object], sentence: str, refuses: Callable[..., None]
) -> None:
    refuses(Painter, sentence, **methods)


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


class Compared(PairJudge):
    """Judges case by case."""

    alone: ClassVar[bool] = True

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("error", "error", higher_is_better=False, by_case=self.alone),)

    @override
    def definition(self) -> dict[str, str]:
        return {"error": "mean absolute difference"}

    @override
    def measure(self, real: NDArray[np.float32], generated: NDArray[np.float32]) -> list[float]:
        return [float(np.abs(real - generated).mean())]


class Pairing(Painter):
    """Is judged case by case."""

    name: ClassVar[str] = "pairing"

    @property
    @override
    def condition_modalities(self) -> tuple[str, ...]:
        return ("t1",)

    @override
    def judge(self, scoring: Scoring) -> PairJudge:
        return Compared()


def test_a_task_that_is_judged_case_by_case_may_keep_its_promises() -> None:
    check(Pairing())


def test_a_judge_of_cases_without_figures_of_cases_is_caught(
    refuses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compared, "alone", False)
    refuses(Pairing, "compares case by case, but 'error' does not say by_case=True")


def test_a_condition_that_looks_for_the_target_is_caught(refuses: Callable[..., None]) -> None:
    refuses(Pairing, "condition has shape", condition=lambda _, example: example.images[1:])
