"""What a task owes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch

from ddmkit.definition import Scoring
from ddmkit.errors import DataError
from ddmkit.randomness import generator, normal
from ddmkit.scoring import Segmentation, blurs, score_case, told
from ddmkit.task import Example, LabelTask, VolumeTask, given
from ddmkit.testing.judge import check_region_judge, check_set_judge
from ddmkit.testing.promises import described, in_a_sentence, misplaced, outcome, require
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from ddmkit.task import Task

_INDICES = 256
"""How many classes uint8 tells apart."""
_FOREIGN = "something else"
"""A class of labels that no task knows."""
_ALIKE = 1 - 1e-6
"""A correlation between volumes of noise that means that they are one volume."""


@in_a_sentence
def check_task(task: Task, classes: Sequence[str] | None = None) -> None:
    """Check shapes and ranges, that the condition hides the reference, and that a perfect sample scores perfectly.

    With the default classes it must do so too where labels mean something more that no region names, unless the task
    refuses such labels by a DataError, in `check_classes` or `x0`.
    What is read out, and a loss, must be worked out where the sample lies. The judge's figures must have names,
    meanings and their numbers in its summary; one of volumes must find real ones best, and say the same twice.

    Args:
        task: its settings.
        classes: what labels may mean beside background; by default, the classes that the regions name, apart from
            those that stand for a region and leave another untold.

    Raises:
        AssertionError: it breaks a promise.
    """
    _check_words(task)
    own = _clear_classes(task) if isinstance(task, LabelTask) else ["foreground"]
    known = tuple(own if classes is None else classes)
    coarse = Window((2, 0, 4), (8, 6, 9), (12, 8, 14), factor=2)
    for names, window in ((known, Window.whole((5, 6, 7))), (known[::-1], coarse)):
        example = _example(task, ("background", *names), window)
        _check_part(task, "x0", task.x0, len(task.x0_channels), example)
        _check_part(task, "condition", task.condition, task.condition_channels, given(task, example))
        _check_range(task, example)
        _check_readout(task, example)
        _check_secrecy(task, example)
        _check_classes(task, example.classes)
        if isinstance(task, LabelTask):
            _check_answer(task, example)
            _check_scores(task, example)
        if task.adds_loss:
            _check_loss(task, example)
    if isinstance(task, VolumeTask):
        check_set_judge(task)
    elif isinstance(task, LabelTask) and classes is None:
        _check_foreign(task, known)


def _check_words(task: Task) -> None:
    """Check that modalities, channels, regions and answers fit together."""
    title = type(task).__qualname__
    require(task.modalities, f"{title} has no modalities, but a case is read by them.")
    require(task.x0_channels, f"{title} names no channels of x_0, but has to generate something.")
    named = sorted(set(task.condition_modalities))
    require(
        named and {*named} <= {*task.modalities},
        f"{title} makes its condition of {', '.join(named) or 'nothing'}, which are none of its modalities.",
    )
    _check_once(title, {"reads a modality": task.modalities, "has a channel": task.x0_channels})
    is_either = isinstance(task, LabelTask | VolumeTask)
    require(is_either, f"{title} is neither a LabelTask nor a VolumeTask, so that nobody knows what it answers with.")
    if isinstance(task, LabelTask):
        require(task.needs_references, f"{title} answers with labels, but says that it needs no references.")
        _check_answers(task, title)
        _check_regions(task, title)


def _check_once(title: str, words: Mapping[str, Sequence[str]]) -> None:
    for what, names in words.items():
        require(len(set(names)) == len(names), f"{title} {what} twice: {', '.join(names)}.")


def _check_answers(task: LabelTask, title: str) -> None:
    _check_once(title, {"has an answer": task.answers})
    count = len(task.answers)
    require(count < _INDICES, f"{title} has {count} answers, but beside background uint8 tells {_INDICES - 1} apart.")
    require("background" not in task.answers, f"{title} lists background among its answers; it goes without saying.")
    for region, members in task.regions.items():
        require("background" not in members, f"{title} counts background to the region {region!r}.")


def _check_regions(task: LabelTask, title: str) -> None:
    """Check that answers can be scored."""
    some = told(task.regions, task.answers)
    answers, regions = ", ".join(task.answers) or "nothing", ", ".join(task.regions)
    require(some, f"{title} answers with {answers}, which tells none of the regions {regions}.")
    for name in task.answers:
        scored = any(name in members for members in task.regions.values())
        require(scored, f"{title} answers with {name!r}, which belongs to no region.")


def _clear_classes(task: LabelTask) -> list[str]:
    """Return the classes that the regions name and that leave none untold."""
    names = sorted(frozenset[str]().union(*task.regions.values()))
    return [name for name in names if not any(blurs(name, region, task.regions) for region in task.regions)]


def _example(task: Task, names: tuple[str, ...], window: Window) -> Example:
    """Return an example in which every class lies scattered."""
    random = generator(0, "example")
    classes = np.arange(np.prod(window.shape)) % len(names)
    labels = random.permutation(classes.astype(np.uint8)).reshape(window.shape)
    images = random.random((len(task.modalities), *window.shape), dtype=np.float32)
    return Example(torch.from_numpy(images), torch.from_numpy(labels), names, window)


def _check_part(task: Task, what: str, compute: Callable[[Example], Tensor], channels: int, example: Example) -> None:
    title = f"{type(task).__qualname__}.{what}"
    images, labels = example.images.clone(), _labels(example).clone()
    part = compute(example)
    untouched = torch.equal(example.images, images) and torch.equal(_labels(example), labels)
    require(untouched, f"{title} writes into the example it is given.")
    shape, promised = tuple(part.shape), (channels, *example.window.shape)
    require(shape == promised, f"{title} has shape {shape} over {example.window}, not {promised}.")
    require(part.dtype == torch.float32, f"{title} is {part.dtype}, not float32.")
    require(part.isfinite().all(), f"{title} holds numbers that are not finite.")
    require(torch.equal(compute(example), part), f"{title} gives two answers to one example.")


def _check_range(task: Task, example: Example) -> None:
    if task.clip is not None:
        (low, high), x0 = task.clip, task.x0(example)
        inside = low <= float(x0.min()) and float(x0.max()) <= high
        title = type(task).__qualname__
        require(inside, f"{title} clips samples to {low:g} … {high:g}, but its x_0 is {x0.min():g} … {x0.max():g}.")


def _check_readout(task: Task, example: Example) -> None:
    title, samples = type(task).__qualname__, _samples(task, example)
    promised = tuple(samples.shape)
    readout = task.readout(samples.clone())
    shape = tuple(readout.shape)
    require(shape == promised, f"{title}.readout turns shape {promised} into {shape}.")
    require(readout.isfinite().all(), f"{title}.readout gives numbers that are not finite.")
    alone = task.readout(samples[:1].clone())
    require(torch.allclose(alone, readout[:1], atol=1e-5), f"{title}.readout mixes the members of an ensemble.")
    fault = misplaced(task.readout, samples)
    require(not fault, f"{title}.readout, {fault}; make its tensors where the samples are.")


def _samples(task: Task, example: Example) -> Tensor:
    """Return a good sample and a bad one."""
    x0 = task.x0(example)
    return torch.stack([x0, normal(tuple(x0.shape), 0, "sample")])


def _check_answer(task: LabelTask, example: Example) -> None:
    """Check the way from samples, good or bad, to an answer."""
    title = type(task).__qualname__
    for mean in task.readout(_samples(task, example)):
        answer = task.answer(mean)
        shape, promised = tuple(answer.shape), example.window.shape
        require(shape == promised, f"{title}.answer has shape {shape}, not {promised}.")
        require(answer.dtype == torch.uint8, f"{title}.answer gives {answer.dtype}, not uint8.")
        largest = int(answer.max())
        require(
            largest <= len(task.answers),
            f"{title} answers with the index {largest}, but has {len(task.answers)} answers.",
        )


def _check_loss(task: Task, example: Example) -> None:
    """Check that a task's own loss is a mean over examples that a network can learn the reference by."""
    title, x0 = f"{type(task).__qualname__}.loss", task.x0(example)
    truth = torch.stack([x0, x0])
    estimates = (truth + normal(tuple(truth.shape), 0, "estimate") / 4).requires_grad_()
    loss = task.loss(estimates, truth)
    promised = loss.shape == () and loss.dtype == torch.float32
    require(promised, f"{title} is of shape {tuple(loss.shape)} and {loss.dtype}, not a float32 scalar.")
    alone = torch.stack([task.loss(estimates[i : i + 1], truth[i : i + 1]) for i in range(2)]).mean()
    require(torch.allclose(loss, alone, rtol=1e-4), f"{title} of two examples is not the mean of each one's.")
    require(float(task.loss(truth, truth)) < float(loss.detach()), f"{title} is no smaller at x_0 than beside it.")
    (gradient,) = torch.autograd.grad(loss, estimates) if loss.requires_grad else (torch.zeros(1),)
    learns = bool(gradient.isfinite().all()) and bool(gradient.any())
    require(learns, f"{title} has no finite gradient that a network could learn by.")
    fault = misplaced(lambda x: task.loss(x, x.clone()), truth)
    require(not fault, f"{title}, {fault}; make its tensors where the estimates are.")


def _check_secrecy(task: Task, example: Example) -> None:
    """Check that the condition does not give away what is asked, and that what needs no reference looks at none."""
    title, condition, x0 = type(task).__qualname__, task.condition(given(task, example)), task.x0(example)
    labelled = _labels(example)
    for labels in (torch.zeros_like(labelled), labelled.roll(1, 0), labelled.flip(2), None):
        without = example._replace(labels=labels)
        same = torch.equal(task.condition(given(task, without)), condition)
        require(same, f"{title}.condition depends on the reference, which no case has that is sampled.")
        alike = task.needs_references or torch.equal(task.x0(without), x0)
        require(alike, f"{title}.x0 depends on the reference, but {title} says that it needs none.")
    for (channel, shown), (name, asked) in product(enumerate(condition), zip(task.x0_channels, x0, strict=True)):
        told = f"{title}.condition holds {name!r}, which is asked for, as its channel {channel}"
        require(not _same_up_to_scale(shown, asked), f"{told}; nothing would be left to generate.")


def _same_up_to_scale(one: Tensor, other: Tensor) -> bool:
    """Tell whether one of two volumes follows from the other by a scale and an offset."""
    correlation = float(torch.corrcoef(torch.stack([one, other]).double().flatten(1))[0, 1])
    return abs(correlation) > _ALIKE


def _check_classes(task: Task, classes: tuple[str, ...]) -> None:
    refused = outcome(lambda: task.check_classes(classes))
    told = f"{type(task).__qualname__}.check_classes {described(refused)} for {', '.join(classes)}"
    require(refused is None, f"{told}, whose x_0 is told.")


def _check_foreign(task: LabelTask, known: tuple[str, ...]) -> None:
    """Check that a class which no region names is background to x_0 as it is to the scores, or is refused."""
    example = _example(task, ("background", *known, _FOREIGN), Window.whole((5, 6, 7)))
    try:
        task.check_classes(example.classes)
        _check_scores(task, example)
    except DataError:
        return
    except AssertionError as error:
        msg = f"Where labels also mean {_FOREIGN!r}, which no region of it names: {error}"
        raise AssertionError(msg) from error


def _check_scores(task: LabelTask, example: Example) -> None:
    """Check that the reference's own x_0, read out and answered, is the reference."""
    answer = task.answer(task.readout(task.x0(example)[None])[0]).numpy()
    prediction = Segmentation(answer, ("background", *task.answers))
    reference = Segmentation(_labels(example).numpy(), example.classes)
    regions, title = told(task.regions, task.answers, example.classes), type(task).__qualname__
    both = f"its answers ({', '.join(task.answers)}) and the labels ({', '.join(sorted(example.classes))})"
    require(regions, f"{title} has no region that both {both} tell; give the check other classes.")
    for score in score_case("of the check", prediction, reference, regions, (1.0, 1.0, 1.0), Scoring()):
        perfect = score.dice == 1 and score.hd95 == 0
        say = f"{title} finds the region {score.region!r} in the reference's own x_0"
        require(perfect, f"{say} with Dice {score.dice:.3g} and HD95 {score.hd95:.3g}, not with 1 and 0.")
    check_region_judge(task, prediction, reference)


def _labels(example: Example) -> Tensor:
    """Return the labels of an example that has them."""
    assert example.labels is not None  # noqa: S101 - `_example` made it
    return example.labels
