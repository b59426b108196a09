"""What a run will do, worked out before it starts."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, ClassVar

import pytest
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Component, DataError, Example, LabelTask, Patch, Registry, Survey, Window, hookimpl
from ddmkit.run.cases import find_cases, labelled_cases
from ddmkit.run.plan import count_parameters, make_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from ddmkit import Case, Shape
    from ddmkit.configuration import Configuration
    from ddmkit.run.plan import Plan

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]

MANY = "split.validation=0.4"
"""Two of five cases to validate with, so that one may go."""


class Core(LabelTask):
    """Find the core, which labels must tell."""

    name: ClassVar[str] = "core"

    @property
    @override
    def x0_channels(self) -> tuple[str, ...]:
        return ("core",)

    @property
    @override
    def modalities(self) -> tuple[str, ...]:
        return ("t1",)

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return {"core": frozenset({"core"})}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("core",)

    @override
    def check_classes(self, classes: tuple[str, ...]) -> None:
        if "core" not in classes:
            msg = f"the labels mean {', '.join(classes)}, none of which is the core."
            raise DataError(msg)

    @override
    def x0(self, example: Example) -> Tensor:
        raise NotImplementedError

    @override
    def condition(self, example: Example) -> Tensor:
        raise NotImplementedError

    @override
    def answer(self, mean: Tensor) -> Tensor:
        raise NotImplementedError


class Third(Patch):
    """A corner of a third of the sides, rounded up, unless it is said how large."""

    name: ClassVar[str] = "third"
    sides: tuple[int, int, int] | None = None

    @override
    def size(self, frame: Shape) -> Shape:
        x, y, z = self.sides or (-(-side // 3) for side in frame)
        return x, y, z

    @override
    def window(self, frame: Shape, random: np.random.Generator) -> Window:
        return Window((0, 0, 0), self.size(frame), frame)


class _Parts:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Core, Third]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Parts())


@pytest.fixture
def found_as(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return `found_as(change)`, after which cases are found as `change` makes them: a case, or what is wrong."""

    def found_as(change: Callable[[Case], Case | str]) -> None:
        dataset = type(configured().dataset)
        survey = dataset.survey

        def changed(self: object, root: Path) -> Survey:
            made = {case.name: change(case) for case in survey(self, root).cases}  # type: ignore[arg-type]  # its own
            cases = [case for case in made.values() if not isinstance(case, str)]
            return Survey(cases, {name: said for name, said in made.items() if isinstance(said, str)})

        monkeypatch.setattr(dataset, "survey", changed)

    return found_as


def splits(plan: Plan) -> dict[str, list[str]]:
    return {part: [case.name for case in cases] for part, cases in plan.splits.items()}


def name_of(number: int) -> str:
    return f"BraTS20_Training_{number:03d}"


def image(root: Path, number: int) -> Path:
    return root / name_of(number) / f"{name_of(number)}_flair.nii.gz"


def cut(path: Path) -> None:
    """Leave so little of a file that not even its header is whole."""
    path.write_bytes(path.read_bytes()[:30])


def test_a_plan_says_what_will_be_done(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> None:
    root = write_cases(tmp_path, count=5)
    plan = make_plan(configured("preprocessing.frame=16,16,16", "backbone.width=3"), root)
    assert {split: len(cases) for split, cases in plan.splits.items()} == {"train": 4, "validation": 1, "test": 0}
    assert (plan.data, plan.unlabelled, plan.left_out, plan.shapes) == (root, 0, {}, {(10, 12, 9): 5})
    assert (plan.frame, plan.window, plan.factor) == ((16, 16, 16), (6, 5, 4), 1)
    # A convolution of 3x3x3 from 4 to 3 channels, a line from 1 to 3, a convolution of 1x1x1 to 1; each with its bias.
    assert plan.parameters == (27 * 4 * 3 + 3) + (3 + 3) + (3 + 1)


def test_a_reduced_resolution_shows_in_the_window(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    plan = make_plan(configured("patch.name=coarse"), write_cases(tmp_path))
    assert (plan.frame, plan.window, plan.factor) == ((10, 12, 9), (5, 6, 5), 2)


def test_shapes_are_those_that_the_network_sees(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path)
    assert make_plan(configured("preprocessing.orientation=SPL"), root).shapes == {(9, 12, 10): 4}
    # 10, 12 and 9 voxels of 0.92, 1.11 and 1.5 mm, in voxels of 2 mm:
    assert make_plan(configured("preprocessing.spacing=2,2,2"), root).shapes == {(5, 7, 7): 4}
    assert make_plan(configured("preprocessing.frame=paper"), root).frame == (256, 256, 256)


def test_shapes_are_counted_and_the_most_frequent_comes_first(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    rare = write_cases(tmp_path / "rare", count=1, shape=(8, 8, 8)) / name_of(1)
    root = write_cases(tmp_path / "data", count=4)
    shutil.rmtree(root / name_of(1))
    rare.rename(root / rare.name)
    plan = make_plan(configured(), root)
    assert list(plan.shapes.items()) == [((10, 12, 9), 3), ((8, 8, 8), 1)]
    assert plan.frame == (10, 12, 9)


@pytest.fixture
def uneven(write_cases: WriteCases, tmp_path: Path) -> Path:
    """Return the folder of two cases of 10×12×9 voxels and one of 8×8×14."""
    write_cases(tmp_path / "data", count=2)
    other = write_cases(tmp_path / "other", count=3, shape=(8, 8, 14)) / name_of(3)
    other.rename(tmp_path / "data" / other.name)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("patch", "differing", "advice"),
    [
        ("coarse", "8×8×14 and 10×12×9", "preprocessing.frame=10,12,14"),
        ("third", "3×3×5 and 4×4×3", "patch.sides=3,3,3"),
    ],
)
def test_windows_that_share_no_batch_are_told_of_with_what_makes_them_alike(
    configured: Configured, uneven: Path, caplog: pytest.LogCaptureFixture, patch: str, differing: str, advice: str
) -> None:
    batch = (f"patch.name={patch}", "training.batch_size=2")
    with caplog.at_level(logging.WARNING):
        make_plan(configured(*batch), uneven)
        assert caplog.messages == [
            (
                f"The cases differ in shape and so do their windows, such as {differing}: only windows of one shape "
                f"share an evaluation of the network. For windows of one shape, which are faster, type -o {advice}."
            )
        ]
        caplog.clear()
        for options in (
            (*batch, advice),
            (*batch, "engine.micro_batch=1"),
            (*batch, "preprocessing.frame=paper"),
            (*batch, "preprocessing.frame=brain"),  # whose boxes are not known yet
            (f"patch.name={patch}",),
        ):
            make_plan(configured(*options), uneven)
        assert caplog.messages == []


def test_a_frame_that_does_not_hold_all_cases_is_told_of_with_one_that_does(
    configured: Configured, uneven: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        plan = make_plan(configured("preprocessing.frame=9,16,12"), uneven)
        make_plan(configured("preprocessing.frame=10,16,14"), uneven)
    assert plan.frame == (10, 16, 12)
    assert caplog.messages == [
        (
            "preprocessing.frame=9,16,12 is too small for 3 of the 3 cases, such as one of 10×12×9, which keep their "
            "own sides where those are longer: type -o preprocessing.frame=10,16,14 for a frame that holds all."
        )
    ]


def test_a_window_larger_than_the_volume_is_warned_of(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_cases(tmp_path)
    with caplog.at_level(logging.WARNING):
        make_plan(configured(), root)
        make_plan(configured("patch.sides=16,5,5", "preprocessing.frame=16,16,16"), root)
        assert caplog.messages == []
        make_plan(configured("patch.sides=16,5,5"), root)
    assert caplog.messages == [
        "The window (16, 5, 5) is larger than the volume (10, 12, 9): it is padded to (16, 12, 9)."
    ]


def test_cases_without_reference_are_left_out_and_counted(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=4)
    (root / name_of(2) / f"{name_of(2)}_seg.nii.gz").unlink()
    plan = make_plan(configured(), root)
    assert (plan.unlabelled, plan.left_out) == (1, {})
    found = [case.name[-3:] for cases in plan.splits.values() for case in cases]
    assert sorted(found) == ["001", "003", "004"]


def test_no_case_at_all_is_one_sentence(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for CASE/CASE_MODALITY"):
        make_plan(configured(), tmp_path)


def test_no_reference_at_all_says_so(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> None:
    root = write_cases(tmp_path, count=2)
    for path in root.glob("*/*_seg.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match=r"None of the 2 cases under .* has a reference, which training"):
        labelled_cases(find_cases(configured().dataset, root)[0], root)


def test_the_cases_of_a_patient_are_in_one_split(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, found_as: Callable[..., None]
) -> None:
    root = write_cases(tmp_path, count=6)
    found_as(lambda case: case._replace(patient=f"patient {int(case.name[-1]) % 3}"))
    parts = splits(make_plan(configured("split.validation=0.3", "split.test=0.3"), root))
    assert sorted(int(b[-1]) - int(a[-1]) for a, b in parts.values()) == [3, 3, 3]


def test_a_bad_case_stops_the_plan_with_count_and_name(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=5)
    cut(image(root, 2))
    said = rf"^1 of 5 cases cannot be used\. {name_of(2)}: .*_flair\.nii\.gz was cut off.*--skip-bad; ddmkit check"
    with pytest.raises(DataError, match=said):
        make_plan(configured(), root)


@pytest.mark.parametrize("bad", range(1, 6))
def test_the_others_keep_their_split_when_a_bad_case_is_skipped(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: int
) -> None:
    root = write_cases(tmp_path, count=5)
    before = splits(make_plan(configured(MANY), root))
    cut(image(root, bad))
    plan = make_plan(configured(MANY), root, skip_bad=True)
    assert splits(plan) == {part: [name for name in names if name != name_of(bad)] for part, names in before.items()}
    assert list(plan.left_out) == [name_of(bad)]
    assert caplog.messages == [f"Left out {name}: {reason}" for name, reason in plan.left_out.items()]


def test_a_case_that_is_not_whole_counts_as_bad(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, found_as: Callable[..., None]
) -> None:
    root = write_cases(tmp_path, count=4)
    said = f"{name_of(3)} has no flair."
    found_as(lambda case: said if case.name == name_of(3) else case)
    with pytest.raises(DataError, match=rf"^1 of 4 cases cannot be used\. {name_of(3)}: {said} Mend them"):
        make_plan(configured(), root)
    plan = make_plan(configured(), root, skip_bad=True)
    assert sorted(name for names in splits(plan).values() for name in names) == [name_of(n) for n in (1, 2, 4)]
    assert plan.left_out == {name_of(3): said}


@pytest.mark.parametrize("part", ["train", "validation"])
def test_skipping_may_not_empty_a_part(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, part: str
) -> None:
    root = write_cases(tmp_path, count=4)
    for case in make_plan(configured(), root).splits[part]:
        cut(case.images["t1"].path)
    with pytest.raises(DataError, match=f"^Of the {part} cases none is left: mend those that were left out"):
        make_plan(configured(), root, skip_bad=True)


def test_skipping_may_not_leave_nothing_at_all(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, found_as: Callable[..., None]
) -> None:
    root = write_cases(tmp_path, count=4)
    found_as(lambda case: f"{case.name} has no flair.")
    with pytest.raises(DataError, match=rf"^4 of 4 cases cannot be used\. .* Mend them; ddmkit check {root}"):
        make_plan(configured(), root, skip_bad=True)


def test_labels_that_do_not_mean_what_the_task_asks_fail_before_a_voxel_is_read(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, found_as: Callable[..., None]
) -> None:
    root, configuration = write_cases(tmp_path), configured("task.name=core")
    assert make_plan(configuration, root).parameters > 0
    found_as(lambda case: case._replace(labels={1: "whole"}) if case.name == name_of(4) else case)
    with pytest.raises(
        DataError, match=rf"^Case {name_of(4)}: the labels mean background, whole, none of which is the core\.$"
    ):
        make_plan(configuration, root)


def test_labels_of_cases_that_are_not_used_may_mean_anything(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, found_as: Callable[..., None]
) -> None:
    root, configuration = write_cases(tmp_path), configured("task.name=core")
    split = splits(make_plan(configuration, root))
    write_cases(tmp_path / "more", count=5)
    (tmp_path / "more" / name_of(5)).rename(root / name_of(5))
    shutil.rmtree(tmp_path / "more")
    found_as(lambda case: case._replace(labels={1: "whole"}) if case.name == name_of(5) else case)
    assert splits(make_plan(configuration, root, split)) == split


def test_a_run_that_goes_on_keeps_its_split_whatever_came_since(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path / "data", count=4)
    split = splits(make_plan(configured(), root))
    for folder in sorted(write_cases(tmp_path / "more", count=6).iterdir())[4:]:
        folder.rename(root / folder.name)
    cut(image(root, 6))
    plan = make_plan(configured(), root, split)
    assert (splits(plan), plan.left_out) == (split, {})


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_run_cannot_go_on_without_a_case_of_its_split(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, *, skip_bad: bool
) -> None:
    root = write_cases(tmp_path, count=4)
    split = splits(make_plan(configured(), root))
    cut(image(root, 2))
    said = rf"^The run was split with the case {name_of(2)}, which cannot be used any more: .*was cut off"
    with pytest.raises(DataError, match=said):
        make_plan(configured(), root, split, skip_bad=skip_bad)
    shutil.rmtree(root / name_of(2))
    with pytest.raises(DataError, match=rf"the case {name_of(2)}, which is not under {root} any more: put it back\.$"):
        make_plan(configured(), root, split, skip_bad=skip_bad)


def test_parameters_are_counted_without_memory_for_them(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[nn.Module] = []
    real = nn.Module.__init__

    def note(self: nn.Module) -> None:
        real(self)
        made.append(self)

    monkeypatch.setattr(nn.Module, "__init__", note)
    assert count_parameters(configured("backbone.width=100000")) > 10_000_000
    assert {parameter.device.type for module in made for parameter in module.parameters()} == {"meta"}
