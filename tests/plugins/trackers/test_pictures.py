"""Pictures of a run are written, are images, and show what they should."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from matplotlib.image import imread

from ddmkit import Figure, Registry
from ddmkit.definition import Scoring
from ddmkit.events import Announcer, Picture, Report, Run, Samples, Validation
from ddmkit.run.folder import RunFolder
from ddmkit_plugins.trackers import drawing, pictures
from ddmkit_plugins.trackers.curves import Curves, read_curves
from ddmkit_plugins.trackers.drawing import draw_case, draw_curves, draw_samples

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (20, 24, 10)
REFERENCE, ANSWER = (1, 0.69, 0), (0, 0.65, 1)
"""Colours of the contours, red, green, blue."""
MEAN_LOSS, SECOND_REGION = (0.12, 0.47, 0.71), (1, 0.5, 0.05)
"""The first two colours that matplotlib takes by itself."""


def steps(count: int, loss: float = 1.0) -> list[dict[str, Any]]:
    return [{"kind": "step", "step": step, "loss": loss / step} for step in range(1, count + 1)]


DICE = Figure("dice", "Dice", higher_is_better=True, largest=1, by_case=True)


def validation(step: int, dice: float) -> dict[str, Any]:
    summary = {region: {"dice_mean": dice} for region in ("whole", "core")}
    return {"kind": "validation", "step": step, "summary": summary, "figures": [DICE._asdict()]}


def picture(**parts: Any) -> Picture:  # noqa: ANN401 - a picture's
    reference = np.zeros(SHAPE, dtype=bool)
    reference[5:12, 6:15, 3:8] = True
    reference[4:13, 5:16, 6] = True
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    whole = Picture("case-1", image, reference, np.roll(reference, 2, 0), 0.1 * image, 5, np.eye(4), "flair")
    return whole._replace(**parts)


def pixels(path: Path) -> np.ndarray:
    """Return (height, width, red green blue) of a PNG of a size that can be looked at."""
    image: np.ndarray = imread(path)[..., :3]
    assert 300 <= image.shape[0] <= 1500
    assert 600 <= image.shape[1] <= 2000
    return image


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the curves of a run with these records."""
    folder = RunFolder(path.parent / f"{path.stem}-run")
    folder.path.mkdir()
    for record in records:
        folder.append_metrics(record)
    draw_curves(read_curves(folder), path)


def has(image: np.ndarray, colour: tuple[float, float, float]) -> bool:
    return bool((np.abs(image - colour).max(axis=-1) < 0.05).sum() > 50)


def test_curves_are_drawn_of_steps_and_validations(tmp_path: Path) -> None:
    draw([*steps(50), validation(25, 0.3), validation(50, 0.6)], tmp_path / "curves.png")
    draw(steps(50), tmp_path / "steps.png")
    with_validations, without = pixels(tmp_path / "curves.png"), pixels(tmp_path / "steps.png")
    assert has(with_validations, MEAN_LOSS)
    assert has(without, MEAN_LOSS)
    assert has(with_validations, SECOND_REGION)
    assert not has(without, SECOND_REGION)


@pytest.mark.parametrize(
    "records",
    [[], steps(1), steps(2), [validation(5, 0.0)]],
    ids=["none", "1", "2", "no steps"],
)
def test_curves_are_drawn_of_little_or_nothing(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    draw(records, tmp_path / "curves.png")
    pixels(tmp_path / "curves.png")


def test_long_runs_and_losses_of_zero_are_drawn(tmp_path: Path) -> None:
    count = 30_000
    losses = np.abs(np.sin(np.arange(count)))
    losses[-2000:] = 0
    draw_curves(Curves(np.arange(1, count + 1), losses, [], None, {}), tmp_path / "curves.png")
    assert has(pixels(tmp_path / "curves.png"), MEAN_LOSS)
    draw_curves(Curves(np.arange(1, 51), np.zeros(50), [], None, {}), tmp_path / "zeros.png")
    assert has(pixels(tmp_path / "zeros.png"), MEAN_LOSS)


def test_a_case_shows_reference_and_answer(tmp_path: Path) -> None:
    draw_case(picture(), tmp_path / "case.png")
    drawn = pixels(tmp_path / "case.png")
    assert has(drawn, REFERENCE)
    assert has(drawn, ANSWER)


def test_the_slice_with_most_of_the_reference_is_shown(tmp_path: Path) -> None:
    whole = picture()
    draw_case(whole, tmp_path / "a.png")
    elsewhere = whole.image.copy()
    elsewhere[:, :, :6] = elsewhere[:, :, 7:].max()
    draw_case(whole._replace(image=elsewhere), tmp_path / "b.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))
    elsewhere[:, :, 6] = 0
    draw_case(whole._replace(image=elsewhere), tmp_path / "c.png")
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))


@pytest.mark.parametrize("value", [False, True])
def test_an_answer_of_nothing_or_of_everything_is_drawn_without_contour(
    tmp_path: Path,
    value: bool,  # noqa: FBT001 - pytest hands it over by name
) -> None:
    answer = np.full(SHAPE, value)
    draw_case(picture(answer=answer, variance=np.zeros(SHAPE, dtype=np.float32)), tmp_path / "case.png")
    drawn = pixels(tmp_path / "case.png")
    assert has(drawn, REFERENCE)


def test_a_case_with_nothing_in_it_is_drawn(tmp_path: Path) -> None:
    nothing = np.zeros(SHAPE, dtype=bool)
    empty = picture(image=nothing.astype(np.float32), reference=nothing, answer=nothing)
    draw_case(empty, tmp_path / "case.png")
    pixels(tmp_path / "case.png")


@pytest.mark.parametrize("shape", [(20, 24, 1), (1, 24, 10), (1, 1, 1)])
def test_volumes_of_one_slice_are_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    masks = np.zeros(shape, dtype=bool)
    masks[0, 0, 0] = True
    image = np.zeros(shape, dtype=np.float32)
    draw_case(picture(image=image, reference=masks, answer=masks, variance=image), tmp_path / "case.png")
    pixels(tmp_path / "case.png")


def test_voxels_that_are_no_cubes_are_shown_in_their_proportions(tmp_path: Path) -> None:
    white = np.ones((20, 20, 3), dtype=np.float32)
    draw_case(
        picture(image=-white, reference=white > 1, answer=white > 1, affine=np.diag([1.0, 3, 1, 1])),
        tmp_path / "case.png",
    )
    black = np.argwhere(pixels(tmp_path / "case.png")[45:, :400].max(axis=-1) < 0.05)
    height, width = np.ptp(black, axis=0)
    assert height / width == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("members", "columns", "rows"), [(2, 3, 1), (7, 5, 2)])
def test_samples_stand_beside_the_real_volume_in_its_greys(
    members: int, columns: int, rows: int, tmp_path: Path
) -> None:
    image = picture().image
    like, empty = image, np.zeros_like(image)
    samples = np.stack([like, *[empty] * (members - 1)])
    draw_samples(Samples("case-1", image, samples, np.eye(4)), tmp_path / "case-1.png")
    drawn = pixels(tmp_path / "case-1.png")
    width = drawn.shape[1] // columns
    height = drawn.shape[0] // rows
    middles = [
        drawn[row * height + height // 2 :, column * width + width // 3 :][: height // 4, : width // 3]
        for row in range(rows)
        for column in range(columns)
    ]
    real, first, *others = middles
    assert real.std() > 0.1
    assert np.abs(real - first).mean() < 0.1 * real.std()
    assert all(other.max() == 0 for other in others[: members - 1])
    assert all(other.min() == 1 for other in others[members - 1 :])


def test_a_run_draws_its_curves_when_it_validates_and_its_case_when_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for record in [*steps(5), validation(5, 0.5)]:
        folder.append_metrics(record)
    announcer = Announcer(Registry(pictures), Run(tmp_path, None, 0))  # type: ignore[arg-type]  # no configuration is looked at
    announcer.tell("ddmkit_validated", validation=Validation(5, "test", [], {}, Scoring(), 1.0, best=False, figures=()))
    assert not folder.pictures.exists()
    announcer.tell(
        "ddmkit_validated", validation=Validation(5, "validation", [], {}, Scoring(), 1.0, best=True, figures=())
    )
    assert [path.name for path in folder.pictures.iterdir()] == ["curves.png"]
    announcer.tell("ddmkit_run_ended", report=Report("completed", 5, 5, None, picture()))
    assert sorted(path.name for path in folder.pictures.iterdir()) == ["case-1.png", "curves.png"]


@pytest.mark.parametrize(("status", "more"), [("completed", 0), ("interrupted", 2), ("failed", 0)])
def test_at_its_end_a_run_shows_all_steps_and_one_that_is_completed_draws_none_twice(
    status: Literal["completed", "interrupted", "failed"], more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws: list[int] = []

    def counted(curves: Curves, path: Path) -> None:
        draws.append(len(curves.steps))
        draw_curves(curves, path)

    monkeypatch.setattr(drawing, "draw_curves", counted)
    folder, records = RunFolder(tmp_path / "run"), [*steps(5), validation(5, 0.5), *steps(5 + more)[5:]]
    folder.path.mkdir()
    announcer = Announcer(Registry(pictures), Run(folder.path, None, 0))  # type: ignore[arg-type]  # as above
    for record in records:
        folder.append_metrics(record)
        if record["kind"] == "validation":
            told = Validation(5, "validation", [], {}, Scoring(), 1.0, best=True, figures=())
            announcer.tell("ddmkit_validated", validation=told)
    announcer.tell("ddmkit_run_ended", report=Report(status, 5 + more))
    draw(records, tmp_path / "all.png")
    assert (folder.pictures / "curves.png").read_bytes() == (tmp_path / "all.png").read_bytes()
    assert draws == ([5] if status == "completed" else [5, 5 + more])


def test_a_run_that_failed_before_its_first_step_still_has_a_picture(tmp_path: Path) -> None:
    announcer = Announcer(Registry(pictures), Run(tmp_path, None, 0))  # type: ignore[arg-type]  # as above
    announcer.tell("ddmkit_run_ended", report=Report("failed", 0))
    assert [path.name for path in RunFolder(tmp_path).pictures.iterdir()] == ["curves.png"]


def test_a_run_whose_process_was_killed_after_its_last_validation_is_drawn_when_it_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for record in [*steps(5), validation(5, 0.5)]:
        folder.append_metrics(record)
    announcer = Announcer(Registry(pictures), Run(tmp_path, None, 5))  # type: ignore[arg-type]  # as above
    announcer.tell("ddmkit_run_ended", report=Report("completed", 5))
    assert has(pixels(folder.pictures / "curves.png"), MEAN_LOSS)
