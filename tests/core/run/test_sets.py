"""Volumes that are answers of their own: learned without references, sampled one by one, judged as a set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from tests.core.copies import Both, Copies, Generating, Keeping
from tests.core.heads import AFFINE, HALF_A_LEVEL, head, save_case
from tests.core.knowing import copying
from tests.core.run.whole_runs import Runs

from ddmkit import ConfigurationError, DataError, Registry
from ddmkit.run.sets import case_of, find_volumes, read_generated, read_real, upright
from ddmkit.run.validation import real_volume, take_samples, validate
from ddmkit.sampling import answer_case, sample_case
from ddmkit.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit import Case
    from ddmkit.configuration import Configuration

    Configured = Callable[..., Configuration]

SHAPE = (12, 11, 10)
COPIES = ("task.name=copies", "diffusion.prediction=x0")


@pytest.fixture
def registry(registry: Registry) -> Registry:
    registry.register(Generating())
    return registry


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return save_case(tmp_path / "case", {"t1": head(SHAPE), "flair": head(SHAPE, 5)})


def quiet(*_: int) -> None:
    """Hear of no progress."""


def test_each_member_is_shown_to_the_judge_beside_the_cases_own_image(
    configured: Configured, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = configured(*COPIES, "sampling.ensemble=3", "preprocessing.orientation=RPI")
    stored, judge = Store(configuration).open(case), Keeping()
    monkeypatch.setattr(Copies, "judge", lambda *_: judge)
    found = validate(copying(configuration), [stored], step=3, split="validation", progress=quiet)
    image = np.asarray(nib.as_closest_canonical(nib.load(case.images["flair"].path)).dataobj)[::-1, ::-1]
    assert [name for name, _ in judge.seen_generated] == ["a"] * 3
    for volume in (judge.seen_real["a"], *(volume for _, volume in judge.seen_generated)):
        assert volume.shape == (1, *SHAPE)
        assert np.corrcoef(volume[0][image > 0], image[image > 0])[0, 1] > 0.999
    assert (found.scores, found.summary) == ((), {"all": {"n": 3, "apart": 0}})
    assert found.figures == judge.figures


def test_samples_lie_on_the_cases_own_grid_and_are_pictured_there(configured: Configured, case: Case) -> None:
    configuration = configured(*COPIES, "validation.picture_members=2", "preprocessing.orientation=RPI")
    stored = Store(configuration).open(case)
    own = real_volume(configuration, stored)
    for volume in sample_case(copying(configuration), stored, members=2, seed=0):
        np.testing.assert_allclose(volume, own, atol=1e-5)
    picture = take_samples(copying(configuration), stored, progress=quiet)
    assert picture.samples.shape == (2, *SHAPE)
    np.testing.assert_allclose(picture.image, own[0])


def test_a_run_learns_from_cases_without_references(runs: Runs) -> None:
    for mask in runs.data.rglob("*_seg.nii.gz"):
        mask.write_bytes(b"no image")
    folder, report = runs.start("run", *COPIES)
    assert sorted(map(len, folder.split().values())) == [1, 2, 2]
    assert report.picture is None
    assert report.samples is not None
    assert report.final is not None
    lines = [line for line in folder.metrics() if line["kind"] == "validation"]
    assert [set(line["summary"]["all"]) for line in lines] == [{"n", "apart"}] * 2
    least = min(lines, key=lambda line: line["summary"]["all"]["apart"])
    assert report.best_step == least["step"]
    assert [line["best"] for line in lines] == [True, lines[1] is least]


def test_a_task_of_volumes_has_no_labels_to_ask_for(configured: Configured, case: Case) -> None:
    configuration = configured(*COPIES)
    with pytest.raises(ConfigurationError, match=r"'copies' answers with volumes, and this works on labels"):
        answer_case(copying(configuration), Store(configuration).open(case), ensemble=1, seed=0)
    with pytest.raises(ConfigurationError, match=r"ensemble=auto .* 'copies' answers with volumes, one a member"):
        configured(*COPIES, "sampling.ensemble=auto")
    with pytest.raises(ConfigurationError, match=r"'copies' answers with none: type -o sampling\.combine=mean"):
        configured(*COPIES, "sampling.combine=vote")


def test_a_real_volume_is_read_as_the_store_has_it(configured: Configured, case: Case) -> None:
    configuration = configured(*COPIES)
    stored = upright(real_volume(configuration, Store(configuration).open(case)), AFFINE)
    read = read_real(case, Copies(), configuration.preprocessing.percentiles)
    np.testing.assert_allclose(read, stored, atol=HALF_A_LEVEL)


def test_upright_volumes_run_left_back_and_up_however_they_are_stored(tmp_path: Path) -> None:
    plain = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    towards_lps = np.diag([-1.0, -1, 1, 1])
    for codes in ("LPS", "RAS", "SLA", "PIR"):
        change = ornt_transform(axcodes2ornt(("L", "P", "S")), axcodes2ornt(tuple(codes)))
        turned = nib.Nifti1Image(plain, towards_lps).as_reoriented(change.astype(int).tolist())
        nib.save(turned, tmp_path / f"{codes}.nii.gz")
        np.testing.assert_array_equal(read_generated([tmp_path / f"{codes}.nii.gz"])[0], plain)


def test_volumes_of_several_channels_have_a_file_each(tmp_path: Path) -> None:
    for name in ("a_member-001_t1", "a_member-001_flair", "b_t1", "c_flair", "d"):
        (tmp_path / f"{name}.nii.gz").touch()
    assert {name: [path.name for path in paths] for name, paths in find_volumes(tmp_path, Both()).items()} == {
        "a_member-001": ["a_member-001_t1.nii.gz", "a_member-001_flair.nii.gz"]
    }
    assert list(find_volumes(tmp_path, Copies())) == ["a_member-001_flair", "a_member-001_t1", "b_t1", "c_flair", "d"]
    (tmp_path / "a_member-001_t1.nii.gz").unlink()
    with pytest.raises(DataError, match=r"looked for NAME_t1\.nii\.gz and NAME_flair\.nii\.gz; give the folder"):
        find_volumes(tmp_path, Both())


def test_channels_of_two_shapes_are_no_volume(tmp_path: Path) -> None:
    for side in (4, 5):
        nib.save(nib.Nifti1Image(np.zeros((side, 4, 4), dtype=np.float32), np.eye(4)), tmp_path / f"{side}.nii")
    with pytest.raises(DataError, match=r"5\.nii is of shape \(5, 4, 4\) and 4\.nii of \(4, 4, 4\)"):
        read_generated([tmp_path / "4.nii", tmp_path / "5.nii"])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("a_member-001", "a"),
        ("a_member-1000", "a"),
        ("b_member-001", "b_member-001"),
        ("a", "a"),
        ("a_other", "a_other"),
    ],
)
def test_a_member_is_of_the_case_that_its_name_begins_with(name: str, case: str) -> None:
    assert case_of(name, {"a", "b_member-001"}) == case
