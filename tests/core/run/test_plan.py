"""What a run will do, worked out before it starts."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest
from torch import nn

from ddmkit import Case, ConfigurationError, DataError
from ddmkit.run.plan import count_parameters, labelled_cases, make_plan, split_cases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]
    WriteCases = Callable[..., Path]


def named(count: int) -> list[Case]:
    return [Case(f"case-{number:03d}", {}) for number in range(count)]


def names(cases: list[Case]) -> list[str]:
    return [case.name for case in cases]


def test_a_plan_says_what_will_be_done(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> None:
    root = write_cases(tmp_path, count=5)
    plan = make_plan(configured("preprocessing.frame=16,16,16", "backbone.width=3"), root)
    assert {split: len(cases) for split, cases in plan.splits.items()} == {"train": 4, "validation": 1, "test": 0}
    assert (plan.data, plan.unlabelled, plan.shapes) == (root, 0, {(10, 12, 9): 5})
    assert (plan.frame, plan.window, plan.factor) == ((16, 16, 16), (6, 5, 4), 1)
    assert (plan.in_channels, plan.out_channels) == (4, 1)
    # A convolution of 3x3x3 from 4 to 3 channels, a line from 1 to 3, a convolution of 1x1x1 to 1; each with its bias.
    assert plan.parameters == (27 * 4 * 3 + 3) + (3 + 3) + (3 + 1)


def test_a_reduced_resolution_shows_in_the_window(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    plan = make_plan(configured("patch.name=coarse"), write_cases(tmp_path))
    assert (plan.frame, plan.window, plan.factor) == ((10, 12, 9), (5, 6, 5), 2)


def test_shapes_are_counted_and_the_most_frequent_comes_first(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    rare = write_cases(tmp_path / "rare", count=1, shape=(8, 8, 8)) / "BraTS20_Training_001"
    root = write_cases(tmp_path / "data", count=4)
    shutil.rmtree(root / "BraTS20_Training_001")
    rare.rename(root / rare.name)
    plan = make_plan(configured(), root)
    assert list(plan.shapes.items()) == [((10, 12, 9), 3), ((8, 8, 8), 1)]
    assert plan.frame == (10, 12, 9)


def test_windows_that_fit_in_no_common_batch_are_refused_before_a_step(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    write_cases(tmp_path / "data", count=2)
    other = write_cases(tmp_path / "other", count=3, shape=(8, 8, 8)) / "BraTS20_Training_003"
    other.rename(tmp_path / "data" / other.name)
    batch = "training.batch_size=2"
    with pytest.raises(ConfigurationError, match=r"\(8, 8, 8\) and \(10, 12, 9\), which fit in no common batch: set"):
        make_plan(configured("patch.name=coarse", batch), tmp_path / "data")
    for options in (
        ("patch.name=coarse", batch, "engine.micro_batch=1"),
        ("patch.name=coarse", batch, "preprocessing.frame=12,12,12"),
        ("patch.name=box", batch),
        ("patch.name=coarse",),
    ):
        assert make_plan(configured(*options), tmp_path / "data").factor in (1, 2)


def test_a_window_larger_than_the_volume_is_warned_of(
    configured: Configured, write_cases: WriteCases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_cases(tmp_path)
    with caplog.at_level(logging.WARNING):
        make_plan(configured(), root)
        assert caplog.messages == []
        make_plan(configured("patch.sides=16,5,5"), root)
    assert caplog.messages == [
        "The window (16, 5, 5) is larger than the volume (10, 12, 9): it is padded to (16, 12, 9)."
    ]


def test_cases_without_reference_are_left_out_and_counted(
    configured: Configured, write_cases: WriteCases, tmp_path: Path
) -> None:
    root = write_cases(tmp_path, count=4)
    (root / "BraTS20_Training_002" / "BraTS20_Training_002_seg.nii.gz").unlink()
    plan = make_plan(configured(), root)
    assert plan.unlabelled == 1
    found = [case.name[-3:] for cases in plan.splits.values() for case in cases]
    assert sorted(found) == ["001", "003", "004"]


def test_no_case_at_all_says_what_was_looked_for(configured: Configured, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"'folders' lies under {tmp_path}: looked for CASE/CASE_MODALITY.nii.gz\."):
        make_plan(configured(), tmp_path)


def test_no_reference_at_all_says_so(configured: Configured, write_cases: WriteCases, tmp_path: Path) -> None:
    root = write_cases(tmp_path, count=2)
    for path in root.glob("*/*_seg.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match=r"None of the 2 cases under .* has a reference to learn from"):
        labelled_cases(configured().dataset, root)


def test_every_case_is_in_one_split_and_the_shares_are_kept(configured: Configured) -> None:
    splits = split_cases(named(369), configured())
    assert {split: len(cases) for split, cases in splits.items()} == {"train": 295, "validation": 37, "test": 37}
    assert sorted(name for cases in splits.values() for name in names(cases)) == names(named(369))
    for cases in splits.values():
        assert names(cases) == sorted(names(cases))


def test_a_split_follows_from_its_seed_alone(configured: Configured) -> None:
    first, again = (split_cases(named(50), configured(*options)) for options in ((), ("training.steps=3",)))
    assert first == again
    assert split_cases(named(50), configured("split.seed=1")) != first


def test_a_share_of_zero_leaves_one_case_to_validate_and_none_to_test(configured: Configured) -> None:
    splits = split_cases(named(10), configured("split.validation=0", "split.test=0"))
    assert {split: len(cases) for split, cases in splits.items()} == {"train": 9, "validation": 1, "test": 0}


@pytest.mark.parametrize(("count", "options"), [(1, ()), (10, ("split.validation=0.5", "split.test=0.5"))])
def test_a_split_that_leaves_nothing_to_train_on_is_refused(
    configured: Configured, count: int, options: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{count} cases cannot be split into training, .* lower split"):
        split_cases(named(count), configured(*options))


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
