"""What numbers are called where they are tracked."""

from __future__ import annotations

from ddmkit.definition import Scoring
from ddmkit.events import Validation
from ddmkit.judging import Figure, Summary
from ddmkit_plugins.trackers.scalars import validation_scalars


def test_figures_of_any_judge_are_tracked_where_they_are_known() -> None:
    figures = Figure("mmd", "MMD", higher_is_better=False), Figure("ms_ssim", "MS-SSIM", higher_is_better=False)
    summary: Summary = {"flair": {"n": 2, "mmd": 0.25, "ms_ssim": None}, "t1": {"n": 2, "mmd": 0.5, "ms_ssim": 0.75}}
    told = Validation(7, "test", [], summary, Scoring(), 1.0, best=False, figures=figures)
    assert validation_scalars(told) == {"test/flair/mmd": 0.25, "test/t1/mmd": 0.5, "test/t1/ms_ssim": 0.75}
