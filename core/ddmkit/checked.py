"""What plugins answer, looked at where a run uses it, so that a mistake has a name.

Only what costs next to nothing, such as shapes; what takes longer to find out is the business of `ddmkit.testing`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, cast, overload

from ddmkit.errors import PluginError, one_line
from ddmkit.judging import Judge, PairJudge, SetJudge
from ddmkit.origin import package_of
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

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


def fault(component: Component, does: str, package: str = "") -> PluginError:
    """Return the error of a component that does not keep what its interface promises.

    Args:
        component: which.
        does: what it does, in words that go on from its name.
        package: that it comes from; by default, what this process knows.
    """
    kind, name, source = component.kind, component.name, package or package_of(type(component))
    return PluginError(
        f"The {kind} {name!r} of {source} {does}: choose another --{kind}; its author learns more "
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
    summary = cast("object", judge.summary())
    if not (isinstance(summary, Mapping) and all(isinstance(row, Mapping) for row in summary.values())):
        raise fault(task, f"is judged by the summary {summary!r}, not by rows, each with its figures by their names")
    promised = ["n", *chain.from_iterable(figure.keys for figure in judge.figures)]
    for name, row in summary.items():
        if missing := [key for key in promised if key not in row]:
            raise fault(task, f"is judged without {', '.join(missing)} in the row {name!r} of the summary")
        for key in ("n", *(figure.key for figure in judge.figures)):
            if not (row[key] is None or (isinstance(row[key], int | float) and isfinite(row[key]))):
                raise fault(task, f"is judged with {key} = {row[key]!r} in the row {name!r}, not a number or None")
    try:
        json.dumps(summary, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise fault(task, f"is judged by a summary that is no JSON, {one_line(error)}") from error
    return cast("Summary", summary)


def checked_measures(
    task: Task, judge: PairJudge, real: NDArray[np.float32], generated: NDArray[np.float32]
) -> list[float]:
    """Return what a judge says of a generated volume beside the real one: a finite number for each of its figures.

    Raises:
        PluginError: it says something else.
    """
    measured = cast("object", judge.measure(real, generated))
    names = ", ".join(figure.name for figure in judge.figures)
    numbers = [float(value) for value in measured if _is_finite(value)] if isinstance(measured, Sequence) else []
    if not (isinstance(measured, Sequence) and len(measured) == len(numbers) == len(judge.figures)):
        raise fault(task, f"is judged with measure() = {measured!r}, not a finite number for each of {names}")
    return numbers


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
    network.register_forward_hook(_Watch(Outputs.of(backbone), out_channels), with_kwargs=True)
    return network


def checked_sample(sampler: Sampler, denoise: Denoise, noise: Tensor, alphas_bar: Tensor, draw: Draw) -> Tensor:
    """Return a sample of x_0, of the noise's shape.

    Raises:
        PluginError: the sampler answers with something else.
    """
    return _tensor(sampler, "sample", sampler.sample(denoise, noise, alphas_bar, draw), noise.shape)


@dataclass(frozen=True)
class Outputs:
    """What the network of a backbone answers with; it can be sent to processes that have loaded no plugin."""

    backbone: Backbone
    package: str
    """That it comes from."""

    @classmethod
    def of(cls, backbone: Backbone) -> Outputs:
        """Look up the package, in a process that has loaded plugins."""
        return cls(backbone, package_of(type(backbone)))

    def check(self, answered: object, shape: Sequence[int]) -> None:
        """Look at an answer, or at that of a part of the network which is its last.

        Raises:
            PluginError: it is no tensor of that shape.
        """
        if wrong := _misshapen(answered, shape):
            raise fault(self.backbone, f"answers with {wrong}", self.package)


@dataclass(frozen=True)
class _Watch:
    """Looks at what a network answers, as a forward hook of torch's."""

    outputs: Outputs
    out_channels: int

    def __call__(self, _network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], answered: object) -> None:
        x: Tensor = args[0] if args else kwargs["x"]
        self.outputs.check(answered, (x.shape[0], self.out_channels, *x.shape[2:]))


def _tensor(component: Component, method: str, answered: object, shape: Sequence[int]) -> Tensor:
    """Return a component's answer, a tensor of a shape."""
    if wrong := _misshapen(answered, shape):
        raise fault(component, f"answers {method}() with {wrong}")
    return cast("Tensor", answered)


def _misshapen(answered: object, shape: Sequence[int]) -> str:
    """Say what an answer is, and is not, that should be a tensor of a shape; nothing if it is."""
    from torch import Tensor

    if not isinstance(answered, Tensor):
        return f"{_brief(answered)}, not a tensor of shape {tuple(shape)}"
    return "" if answered.shape == tuple(shape) else f"shape {tuple(answered.shape)}, not {tuple(shape)}"


def _is_finite(value: object) -> bool:
    return isinstance(value, Real) and isfinite(value)


def _is_shape(size: object) -> bool:
    return isinstance(size, tuple) and len(size) == 3 and all(isinstance(side, Integral) for side in size)  # noqa: PLR2004 - X, Y, Z


def _brief(answered: object) -> str:
    return "None" if answered is None else f"an object of type {type(answered).__qualname__}"
