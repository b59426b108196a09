"""A component that answers with something else than it promised is named, with what it answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from tests.core import conftest as made
from tests.core.judges import Difference
from tests.core.knowing import FromFunction
from torch import nn
from typing_extensions import override

from ddmkit import DivergedError, Figure, PluginError, SetJudge, VolumeTask, Window
from ddmkit.checked import checked_judge, checked_measures, checked_summary
from ddmkit.definition import Scoring
from ddmkit.errors import OutOfMemoryError
from ddmkit.sampling import Model, answer_case, rehearse
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.core.run.whole_runs import Runs

    from ddmkit import Component, Example
    from ddmkit.configuration import Configuration

FRAME = (10, 12, 9)
WRONG = {
    "schedule-None": (made.Geometric, "alphas_bar", lambda _: None, r"alphas_bar\(\) with None, not a tensor"),
    "schedule-short": (
        made.Geometric,
        "alphas_bar",
        lambda self: self.keep ** torch.arange(self.timesteps),
        r"alphas_bar\(\) with shape \(50,\), not \(51,\)",
    ),
    "schedule-NaN": (
        made.Geometric,
        "alphas_bar",
        lambda self: torch.full((self.timesteps + 1,), torch.nan),
        r"alphas_bar\(\) with numbers that do not fall from 1 to above 0",
    ),
    "size": (made.Box, "size", lambda *_: [6, 5, 4], r"size\(\) with \[6, 5, 4\], not three whole numbers from 1"),
    "window-tuple": (made.Box, "window", lambda *_: (0, 0, 0), r"with an object of type tuple, not a Window"),
    "window-outside": (
        made.Box,
        "window",
        lambda self, frame, _: Window((5, 0, 0), self.sides, frame),
        r"draws Window\(start=\(5, 0, 0\), .*, which reaches out of its frame",
    ),
    "window-size": (
        made.Box,
        "window",
        lambda _, frame, __: Window((0, 0, 0), (6, 5, 5), frame),
        r"size=\(6, 5, 5\), .*, not Window\(start=\(0, 0, 0\), size=\(6, 5, 4\)",
    ),
    "encoding": (
        made.Height,
        "encode",
        lambda _, window: torch.zeros(2, *window.shape),
        r"encode\(\) with shape \(2, 6, 5, 4\), not \(1, 6, 5, 4\)",
    ),
    "x0-None": (made.Foreground, "x0", lambda *_: None, r"x0\(\) with None, not a tensor of shape \(1, 6, 5, 4\)"),
    "condition": (
        made.Foreground,
        "condition",
        lambda _, example: example.images[:1],
        r"condition\(\) with shape \(1, 6, 5, 4\), not \(2, 6, 5, 4\)",
    ),
    "readout": (
        made.Foreground,
        "readout",
        lambda _, x0: x0[0],
        r"readout\(\) with shape \(1, 10, 12, 9\), not \(1, 1,",
    ),
    "answer-bool": (
        made.Foreground,
        "answer",
        lambda _, mean: mean[0] > 0.5,
        r"answer\(\) with torch.bool up to \w+, not torch.uint8 up to 1, its classes",
    ),
    "answer-unknown": (
        made.Foreground,
        "answer",
        lambda _, mean: torch.full_like(mean[0], 2, dtype=torch.uint8),
        r"answer\(\) with torch.uint8 up to 2, not torch.uint8 up to 1, its classes",
    ),
    "judge": (made.Foreground, "judge", lambda *_: None, r"judge\(\) with None, not a RegionJudge"),
    "sample-list": (
        made.Straight,
        "sample",
        lambda _, __, noise, *___: [noise],
        r"sample\(\) with an object of type list",
    ),
    "sample-NaN": (
        made.Straight,
        "sample",
        lambda _, __, noise, *___: noise * torch.nan,
        r"sample\(\) with numbers that are not finite",
    ),
    "sample-NaN-given": (
        made.Straight,
        "sample",
        lambda _, denoise, noise, *__: denoise(noise * torch.nan, 1),
        r"sample\(\) with numbers that are not finite",
    ),
    "build": (made.Tiny, "build", lambda *_: None, r"build\(\) with None, not a torch.nn.Module"),
    "forward-tuple": (
        made.Tiny,
        "build",
        lambda _, inputs, outputs: Wrong(inputs, outputs, lambda answer: (answer,)),
        r"answers with an object of type tuple, not a tensor of shape \(2, 1, 6, 5, 4\)",
    ),
    "forward-shape": (
        made.Tiny,
        "build",
        lambda _, inputs, outputs: Wrong(inputs, outputs, lambda answer: answer[..., 1:]),
        r"answers with shape \(2, 1, 6, 5, 3\), not \(2, 1, 6, 5, 4\)",
    ),
}


class Wrong(nn.Module):
    """Answers with what a function makes of a right answer."""

    def __init__(self, inputs: int, outputs: int, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.layer = nn.Conv3d(inputs, outputs, 1)
        self.change = change

    @override
    def forward(self, x: torch.Tensor, t: torch.Tensor) -> Any:
        return self.change(self.layer(x))


@pytest.mark.parametrize(("component", "method", "answer", "said"), WRONG.values(), ids=WRONG)
def test_a_run_names_the_component_whose_answer_is_wrong(
    component: type[Component],
    method: str,
    answer: object,
    said: str,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(component, method, answer)
    kind, name = component.kind, component.name
    whole = rf"^The {kind} '{name}' of .* {said}.*: choose another --{kind}; .* ddmkit plugins check {name}\.$"
    with pytest.raises(PluginError) as caught:
        runs.start("a", "training.steps=1")
    assert re.search(whole, str(caught.value))
    begun = runs.folder("a").configuration_file.is_file()
    notes = getattr(caught.value, "__notes__", [])
    saved = "What was saved is whole; once this is mended, go on with: ddmkit train --resume "
    assert [note.startswith(saved) for note in notes] == ([True] if begun else [])


def test_a_network_that_answers_with_nan_is_told_from_a_sampler_that_does(
    configured: Callable[..., Configuration], write_cases: Callable[..., Path], tmp_path: Path
) -> None:
    configuration = configured("sampler.steps=2")
    store = Store(configuration)
    case = store.open(configuration.dataset.cases(write_cases(tmp_path, count=1))[0])
    model = Model(configuration, FromFunction(lambda inputs, _: inputs[:, -1:] * torch.nan))
    said = rf"^Sampling {case.name}, the network answers with numbers that are not finite: .* --checkpoint STEP\)\.$"
    with pytest.raises(DivergedError, match=said):
        answer_case(model, case, ensemble=1, seed=0)


def test_memory_that_only_ends_when_the_sample_is_looked_at_is_a_sentence_too(
    configured: Callable[..., Configuration],
    write_cases: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Large(torch.Tensor):
        """Leaves no room for anything as large beside it."""

        @override
        def isfinite(self) -> torch.Tensor:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(made.Straight, "sample", lambda *given: given[2].as_subclass(Large))
    configuration = configured("sampler.steps=2")
    case = Store(configuration).open(configuration.dataset.cases(write_cases(tmp_path, count=1))[0])
    with pytest.raises(OutOfMemoryError, match=r"The memory of cpu does not suffice: .*sampling\.members_at_once=1\.$"):
        answer_case(Model(configuration, FromFunction(lambda inputs, _: inputs)), case, ensemble=1, seed=0)


def test_a_sampler_that_answers_with_nan_is_found_before_anything_is_trained(
    configured: Callable[..., Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured("sampler.steps=2")
    rehearse(configuration, torch.device("cpu"))
    monkeypatch.setattr(made.Straight, "sample", lambda *given: given[2] * torch.nan)
    with pytest.raises(PluginError, match=r"answers sample\(\) with numbers that are not finite"):
        rehearse(configuration, torch.device("cpu"))


@pytest.mark.parametrize(
    ("validations", "said", "last"),
    [
        (1, r"not finite: .* go on from it with: ddmkit train --resume", "step-00000006"),
        # The test asks the best checkpoint, which says nothing about the last.
        (2, r"not finite: .* \(ddmkit sample --checkpoint STEP\)\.$", "step-00000008"),
    ],
)
def test_a_run_whose_network_is_spoilt_in_validation_or_test_says_where_to_go_on_from(
    validations: int, said: str, last: str, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overflowing(Wrong):
        """Learns, and answers as it should to the two cases of the first validations, in three steps each."""

        asked = 0

        @override
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            Overflowing.asked += not self.training
            answer: torch.Tensor = self.layer(x)
            return answer if self.training or Overflowing.asked <= validations * 2 * 3 else answer * torch.nan

    monkeypatch.setattr(made.Tiny, "build", lambda _, inputs, outputs: Overflowing(inputs, outputs, torch.Tensor.clone))
    with pytest.raises(DivergedError, match=said):
        runs.start("a", "validation.test=true")
    assert runs.folder("a").find_checkpoint("last").name == last


class Counting(VolumeTask):
    """Answers with volumes, judged by what a test hands in."""

    name: ClassVar[str] = "counting"
    given: dict[str, Any] = Field(default={})

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("t1",)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1",)

    @override
    def x0(self, example: Example) -> torch.Tensor:
        return example.images

    @override
    def condition(self, example: Example) -> torch.Tensor:
        return example.images[:0]

    @override
    def judge(self, scoring: Scoring) -> SetJudge:
        return Counted(self.given)


class Counted(SetJudge):
    """Has its summary from the test."""

    def __init__(self, given: Any) -> None:  # noqa: ANN401 - whatever a judge may hand out
        self.given = given

    @property
    @override
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("error", "error", higher_is_better=False),)

    @override
    def definition(self) -> dict[str, str]:
        return {"error": "of nothing"}

    @override
    def real(self, case: str, volume: object) -> None: ...

    @override
    def generated(self, case: str, volume: object) -> None: ...

    @override
    def summary(self) -> dict[str, dict[str, Any]]:
        return {"all": self.given}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"error": 1.0}, "is judged without n in the row 'all'"),
        ({"n": 3}, "is judged without error in the row 'all'"),
        ({"n": 3, "error": float("nan")}, "is judged with error = nan in the row 'all', not a number or None"),
        ({"n": 3, "error": np.float32(0.5)}, r"is judged with error = .*0\.5.* in the row 'all', not a number or None"),
        ({"n": 3, "error": "small"}, "is judged with error = 'small' in the row 'all', not a number or None"),
        ({"n": 3, "error": 0.5, "more": [float("inf")]}, "is judged by a summary that is no JSON, "),
        (None, "is judged by the summary {'all': None}, not by rows"),
    ],
)
def test_a_judge_whose_summary_is_none_is_named_with_its_task(row: dict[str, Any] | None, said: str) -> None:
    task = Counting()
    judge = Counted(row)
    with pytest.raises(PluginError, match=rf"^The task 'counting' of .* {said}"):
        checked_summary(task, judge)


def test_a_figure_of_each_case_needs_its_spread_and_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure("error", "error", higher_is_better=False, by_case=True)
    monkeypatch.setattr(Counted, "figures", (figure,))
    with pytest.raises(PluginError, match="without error_std, error_interval in the row 'all'"):
        checked_summary(Counting(), Counted({"n": 1, "error_mean": 0.5}))


class Measured(Difference):
    """Measures what the test hands in."""

    def __init__(self, given: Any) -> None:  # noqa: ANN401 - whatever a judge may hand out
        self.given = given

    @override
    def measure(self, real: object, generated: object) -> Any:
        return self.given


@pytest.mark.parametrize("given", [0.5, None, (1.0,), (1.0, float("inf")), (1.0, None), (1.0, 2.0, 3.0)], ids=str)
def test_a_judge_that_measures_something_else_is_named_with_its_task(given: object) -> None:
    blank = np.zeros((1, 1, 1, 1), np.float32)
    said = r"^The task 'counting' of .* is judged with measure\(\) = .*, not a finite number for each of mae, mean: "
    with pytest.raises(PluginError, match=said):
        checked_measures(Counting(), Measured(given), blank, blank)


def test_measures_of_any_precision_become_numbers_of_python() -> None:
    blank = np.zeros((1, 1, 1, 1), np.float32)
    measured = checked_measures(Counting(), Measured([np.float32(0.5), 2]), blank, blank)
    assert [(type(value), value) for value in measured] == [(float, 0.5), (float, 2.0)]


def test_a_summary_may_hold_none_for_what_nobody_could_work_out() -> None:
    task = Counting(given={"n": 0, "error": None})
    assert checked_summary(task, checked_judge(task, Scoring())) == {"all": {"n": 0, "error": None}}
