"""What plugins answer, looked at where a run uses it, so that a mistake has a name.

Only what costs next to nothing, such as shapes; what takes longer to find out is the business of `ddmkit.testing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral
from typing import TYPE_CHECKING, Any, cast, overload

from ddmkit.errors import PluginError
from ddmkit.judging import Judge, PairJudge, SetJudge
from ddmkit.origin import package_of
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ddmkit.backbone import Backbone
    from ddmkit.component import Component
    from ddmkit.definition import Scoring
    from ddmkit.encoding import Encoding
    from ddmkit.judging import Summary
    from ddmkit.patch import Patch
    from ddmkit.sampler import Denoise, Draw, Sampler
    from ddmkit.schedule import Schedule
    from ddmkit.scoring import RegionJudge
    from ddmkit.task import Example, LabelTask, Task, VolumeTask
    from ddmkit.window import Shape


def fault(component: Component, does: str) -> PluginError:
    """Return the error of a component that does not keep what its interface promises.

    Args:
        component: which.
        does: what it does, in words that go on from its name.
    """
    kind, name = component.kind, component.name
    return PluginError(
        f"The {kind} {name!r} of {package_of(type(component))} {does}: choose another --{kind}; its author learns more "
        f"from ddmkit plugins check {name}."
    )


def checked_alphas_bar(schedule: Schedule) -> Tensor:
    """Return a schedule's alpha-bar_t: shape (T + 1,), float64, falling from 1, never below 0.

    Raises:
        PluginError: it answers with something else.
    """
    levels = _tensor(schedule, "alphas_bar", schedule.alphas_bar(), (schedule.timesteps + 1,))
    falling = bool(levels[0] == 1) and bool((levels[1:] < levels[:-1]).all()) and bool(levels[-1] > 0)  # not so for NaN
    if not falling:
        raise fault(schedule, "answers alphas_bar() with numbers that do not fall from 1 to above 0")
    return levels.double().cpu()


def checked_size(patch: Patch, frame: Shape) -> Shape:
    """Return the sides of a strategy's windows of a frame, in full-resolution voxels.

    Raises:
        PluginError: it answers with something else.
    """
    size = patch.size(frame)
    if not (_is_shape(size) and min(size) >= 1):
        raise fault(patch, f"answers size() with {size!r}, not three whole numbers from 1")
    return size


def checked_window(
    patch: Patch, frame: Shape, random: np.random.Generator, locations: Callable[[], NDArray[np.integer]]
) -> Window:
    """Return a window of a frame that a strategy draws for training.

    Raises:
        PluginError: it is none, or not of the size that the strategy says, or not inside the frame.
    """
    window = cast("object", patch.window_of(frame, random, locations))
    if not isinstance(window, Window):
        raise fault(patch, f"answers window_of() with {_brief(window)}, not a Window")
    size = checked_size(patch, frame)
    if (window.size, window.frame, window.factor) != (size, frame, patch.factor):
        promised = Window(window.start, size, frame, patch.factor)
        raise fault(patch, f"answers window_of() with {window}, not {promised}")
    last = [side - length for side, length in zip(frame, size, strict=True)]
    if not (
        _is_shape(window.start) and all(0 <= start <= most for start, most in zip(window.start, last, strict=True))
    ):
        raise fault(patch, f"draws {window}, which reaches out of its frame")
    return window


def checked_encoding(encoding: Encoding, window: Window) -> Tensor:
    """Return the channels of an encoding over a window: shape (channels, *window.shape), float32.

    Raises:
        PluginError: it answers with something else.
    """
    return _tensor(encoding, "encode", encoding.encode(window), (encoding.channels, *window.shape))


def checked_x0(task: Task, example: Example) -> Tensor:
    """Return what is learned to be generated: shape (len(x0_channels), *window.shape), float32.

    Raises:
        PluginError: the task answers with something else.
        DataError: the example does not tell what is asked.
    """
    return _tensor(task, "x0", task.x0(example), (len(task.x0_channels), *example.window.shape))


def checked_condition(task: Task, example: Example) -> Tensor:
    """Return what the network is given: shape (condition_channels, *window.shape), float32.

    Raises:
        PluginError: the task answers with something else.
    """
    return _tensor(task, "condition", task.condition(example), (task.condition_channels, *example.window.shape))


def checked_readout(task: Task, x0: Tensor) -> Tensor:
    """Return samples in the units that are averaged and written: shape (N, C, X, Y, Z) kept.

    Raises:
        PluginError: the task answers with something else.
    """
    return _tensor(task, "readout", task.readout(x0), x0.shape)


def checked_answer(task: LabelTask, mean: Tensor) -> Tensor:
    """Return the labels that a read-out of shape (C, X, Y, Z) comes to: shape (X, Y, Z), uint8.

    Raises:
        PluginError: the task answers with something else, or with labels that it has no names for.
    """
    import torch

    labels = _tensor(task, "answer", task.answer(mean), mean.shape[1:])
    if labels.dtype != torch.uint8 or int(labels.max()) > len(task.answers):
        got = f"{labels.dtype} up to {labels.max().item()}"
        raise fault(task, f"answers answer() with {got}, not torch.uint8 up to {len(task.answers)}, its classes")
    return labels


@overload
def checked_judge(task: LabelTask, scoring: Scoring) -> RegionJudge: ...
@overload
def checked_judge(task: VolumeTask, scoring: Scoring) -> SetJudge | PairJudge: ...
@overload
def checked_judge(task: Task, scoring: Scoring) -> RegionJudge | SetJudge | PairJudge: ...
def checked_judge(task: Task, scoring: Scoring) -> Judge:
    """Return a new judge of a task's answers: a `RegionJudge` of labels, of volumes a `SetJudge` or a `PairJudge`.

    Raises:
        PluginError: the task has another one, or one without figures.
    """
    from ddmkit.scoring import RegionJudge
    from ddmkit.task import LabelTask

    judge = cast("object", task.judge(scoring))
    promised = (RegionJudge,) if isinstance(task, LabelTask) else (SetJudge, PairJudge)
    if not isinstance(judge, promised):
        names = " or a ".join(kind.__name__ for kind in promised)
        raise fault(task, f"answers judge() with {_brief(judge)}, not a {names}")
    if not judge.figures:
        raise fault(task, f"has a judge, {type(judge).__qualname__}, without figures")
    return judge


def checked_summary(task: Task, judge: Judge) -> Summary:
    """Return what a judge's answers come to: in each row "n", and each figure, finite or None.

    Raises:
        PluginError: something is missing, or is no such number.
    """
    summary = judge.summary()
    for row, values in summary.items():
        if wrong := [key for key in ("n", *(figure.key for figure in judge.figures)) if key not in values]:
            raise fault(task, f"is judged without {', '.join(wrong)} in the row {row!r} of the summary")
        if wrong := [key for key, value in values.items() if isinstance(value, float) and not isfinite(value)]:
            raise fault(
                task, f"is judged with {wrong[0]} = {values[wrong[0]]} in the row {row!r}, not a number or None"
            )
    return summary


def checked_network(backbone: Backbone, in_channels: int, out_channels: int) -> nn.Module:
    """Build a network, which then looks at its own answers each time it is called as a whole.

    Raises:
        PluginError: the backbone builds no network; or, when it is called: it answers with no tensor of the promised
            shape.
    """
    from torch import nn

    network = cast("object", backbone.build(in_channels, out_channels))
    if not isinstance(network, nn.Module):
        raise fault(backbone, f"answers build() with {_brief(network)}, not a torch.nn.Module")
    network.register_forward_hook(_Watch(backbone, out_channels))
    return network


def checked_sample(sampler: Sampler, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    """Return a sample of x_0, of the noise's shape.

    Raises:
        PluginError: the sampler answers with something else.
    """
    return _tensor(sampler, "sample", sampler.sample(denoise, noise, alphas_bar, draw), noise.shape)


@dataclass(frozen=True)
class _Watch:
    """A hook that can be sent to other processes with its network."""

    backbone: Backbone
    out_channels: int

    def __call__(self, _network: nn.Module, given: tuple[Any, ...], answered: object) -> None:
        x: Tensor = given[0]
        _tensor(self.backbone, "", answered, (x.shape[0], self.out_channels, *x.shape[2:]))


def _tensor(component: Component, method: str, answered: object, shape: Sequence[int]) -> Tensor:
    """Return a component's answer, a tensor of a shape."""
    from torch import Tensor

    answers = f"answers {method}() with" if method else "answers with"
    if not isinstance(answered, Tensor):
        raise fault(component, f"{answers} {_brief(answered)}, not a tensor of shape {tuple(shape)}")
    if answered.shape != tuple(shape):
        raise fault(component, f"{answers} shape {tuple(answered.shape)}, not {tuple(shape)}")
    return answered


def _is_shape(size: object) -> bool:
    return isinstance(size, tuple) and len(size) == 3 and all(isinstance(side, Integral) for side in size)  # noqa: PLR2004 - X, Y, Z


def _brief(answered: object) -> str:
    return "None" if answered is None else f"an object of type {type(answered).__qualname__}"
