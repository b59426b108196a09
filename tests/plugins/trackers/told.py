"""What a run tells, made up."""

from __future__ import annotations

from typing import Literal

from ddmkit.definition import Scoring
from ddmkit.events import StepDone, Validation
from ddmkit.run.folder import RunFolder
from ddmkit.scoring import Score
from ddmkit.summary import summarise

DICE, HD95, SURFACE_DICE = (0.5, 0.75), (2.0, 4.0), (0.25, 1.0)
"""Of two cases."""
MEANS = {"dice": 0.625, "hd95": 3.0, "surface_dice": 0.625}


def step(number: int, loss: float = 0.5) -> StepDone:
    return StepDone(number, loss, 1.5, 1e-4, 0.25, 1_000_000)


def validation(number: int, split: Literal["validation", "test"] = "validation", region: str = "whole") -> Validation:
    cases = enumerate(zip(DICE, HD95, SURFACE_DICE, strict=True))
    scores = [Score(f"case-{case}", region, *numbers, None) for case, numbers in cases]
    return Validation(number, split, scores, summarise(scores), Scoring(), 1.0, best=True, figures=Scoring().figures())


def write_steps(folder: RunFolder, *steps: StepDone) -> None:
    """Write what a run writes of its steps."""
    for done in steps:
        folder.append_metrics({"kind": "step", **done._asdict()})


def write_validation(folder: RunFolder, told: Validation) -> None:
    """Write what a run writes of a validation, as far as trackers read it."""
    figures = [figure._asdict() for figure in told.figures]
    folder.append_metrics({"kind": told.split, "step": told.step, "summary": told.summary, "figures": figures})
