"""A user's own layout: told by a small YAML file, every mistake in which is one sentence that says what to type."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from ddmkit import Case, DataError, Image
from ddmkit.testing import check, check_dataset
from ddmkit.volume import read_volume
from ddmkit_plugins.datasets.folders import Folders

GOOD = """\
images:
  t1: "{case}/anat/{case}_T1w.nii.gz"
  flair: "{case}/anat/*FLAIR*.nii.gz"
reference: "derivatives/{case}/mask.nii.gz"
labels: {1: necrotic, 2: edema, 3: enhancing}
"""


def make(root: Path, *files: str, description: str | None = None) -> Path:
    """Write empty files, as a layout is told by names alone, and what describes them."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    if description is not None:
        (root / "ddmkit.yaml").write_text(description, encoding="utf-8")
    return root


def good(root: Path, *cases: str) -> Path:
    for case in cases:
        make(
            root, f"{case}/anat/{case}_T1w.nii.gz", f"{case}/anat/ax_FLAIR_2.nii.gz", f"derivatives/{case}/mask.nii.gz"
        )
    return make(root, description=GOOD)


def images(**patterns: str) -> str:
    return yaml.safe_dump({"images": patterns})


def files_of(case: Case, root: Path) -> dict[str, str]:
    return {modality: image.path.relative_to(root).as_posix() for modality, image in case.images.items()}


def refusal(root: Path, **settings: Path) -> str:
    with pytest.raises(DataError) as caught:
        Folders(**settings).survey(root)
    return str(caught.value)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag((-1.0, -1.0, 1.0, 1.0))), path)


def write_volumes(root: Path, *cases: str) -> None:
    random = np.random.default_rng(0)
    for case in cases:
        save(root / f"{case}/anat/{case}_T1w.nii.gz", random.integers(0, 99, (6, 7, 8), np.int16))
        save(root / f"{case}/anat/FLAIR.nii.gz", random.integers(0, 99, (6, 7, 8), np.int16))
        save(root / f"derivatives/{case}/mask.nii.gz", random.integers(0, 4, (6, 7, 8), np.uint8))
    make(root, description=GOOD)


def test_it_keeps_the_promises_of_a_dataset(tmp_path: Path) -> None:
    check(Folders())
    write_volumes(tmp_path, "sub-01")
    check_dataset(Folders(), tmp_path)
    write_volumes(tmp_path, "sub-02")
    check_dataset(Folders(), tmp_path)


def test_a_case_is_what_the_patterns_say(tmp_path: Path) -> None:
    good(tmp_path, "sub-01", "sub-10", "sub-1")
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert not wrong
    assert [case.name for case in cases] == ["sub-01", "sub-1", "sub-10"]
    assert files_of(cases[1], tmp_path) == {
        "t1": "sub-1/anat/sub-1_T1w.nii.gz",
        "flair": "sub-1/anat/ax_FLAIR_2.nii.gz",
    }
    assert cases[1].reference == tmp_path / "derivatives/sub-1/mask.nii.gz"
    assert cases[1].labels == {1: "necrotic", 2: "edema", 3: "enhancing"}
    assert cases[1].patient is None


def test_modalities_and_labels_may_be_written_as_others_write_them(tmp_path: Path) -> None:
    make(tmp_path, "a_1.nii", "a_2.nii", "a_3.nii", "a_m.nii")
    description = """
        images: {T1Gd: "{case}_1.nii", T2-FLAIR: "{case}_2.nii", ADC: "{case}_3.nii"}
        reference: "{case}_m.nii"
        labels: {0: background, 1: NCR, 2: peritumoral oedema, 4: GD-enhancing tumour, 9: Brain stem}
    """
    (case,) = Folders().cases(make(tmp_path, description=description))
    assert set(case.images) == {"t1ce", "flair", "adc"}
    assert case.labels == {1: "necrotic", 2: "edema", 4: "enhancing", 9: "brain stem"}


def test_no_word_of_yaml_changes_its_meaning(tmp_path: Path) -> None:
    make(tmp_path, "a_1.nii", "a_2.nii", "a_m.nii")
    description = """
        images: {on: "{case}_1.nii", 1.10: "{case}_2.nii"}
        reference: "{case}_m.nii"
        labels: {1: no, 2: 2020-01-01}
    """
    (case,) = Folders().cases(make(tmp_path, description=description))
    assert set(case.images) == {"on", "1.10"}
    assert case.labels == {1: "no", 2: "2020-01-01"}


def test_volumes_of_one_file_are_modalities(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", np.arange(6 * 6 * 6 * 2, dtype=np.int16).reshape(6, 6, 6, 2))
    description = 'images: {flair: {file: "{case}.nii.gz", volume: 0}, t1: {file: "{case}.nii.gz", volume: 1}}'
    (case,) = Folders().cases(make(tmp_path, description=description))
    assert case.images == {"flair": Image(tmp_path / "a.nii.gz", 0), "t1": Image(tmp_path / "a.nii.gz", 1)}
    assert read_volume(case, ("t1", "flair")).images[:, 0, 0, 1].tolist() == [3, 2]


def test_labels_without_references_say_what_answers_are_written_in(tmp_path: Path) -> None:
    make(tmp_path, "a.nii", description='images: {t1: "{case}.nii"}\nlabels: {5: edema}')
    (case,) = Folders().cases(tmp_path)
    assert case.reference is None
    assert case.classes == ("background", "edema")


def test_a_case_may_have_no_reference(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good(tmp_path, "a", "b")
    (tmp_path / "derivatives/b/mask.nii.gz").unlink()
    assert [case.reference is None for case in Folders().cases(tmp_path)] == [False, True]
    assert not caplog.messages
    (tmp_path / "derivatives/a/mask.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        assert [case.reference for case in Folders().cases(tmp_path)] == [None, None]
    assert 'no file fits the pattern of the reference, "derivatives/{case}/mask.nii.gz"' in caplog.text


def test_other_patterns_tell_where_the_name_of_a_case_ends(tmp_path: Path) -> None:
    make(tmp_path, "t1/a.nii", "t1/a_b.nii", "t1/a_b_c.nii")
    make(tmp_path, "flair/a_FLAIR.nii", "flair/a_b_FLAIR.nii", "flair/a_b_c_ax_FLAIR.nii")
    make(tmp_path, description=images(t1="t1/{case}.nii", flair="flair/{case}_*FLAIR.nii"))
    assert [files_of(case, tmp_path)["flair"] for case in Folders().cases(tmp_path)] == [
        "flair/a_FLAIR.nii",
        "flair/a_b_FLAIR.nii",
        "flair/a_b_c_ax_FLAIR.nii",
    ]


def test_a_name_is_what_all_files_of_a_case_share_if_no_pattern_tells(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11):
        make(tmp_path, f"x/sub{number}-ax_T1.nii", f"x/sub{number}-sag_FLAIR.nii.gz")
    make(tmp_path, description=images(t1="x/{case}*T1*", flair="x/{case}*FLAIR*"))
    assert [case.name for case in Folders().cases(tmp_path)] == ["sub1", "sub10", "sub11", "sub2"]


def test_cases_of_one_patient_are_known_as_such(tmp_path: Path) -> None:
    make(tmp_path, "p1/scan7/t1.nii", "p1/scan8/t1.nii", "p2/scan9/t1.nii", "masks/scan7.nii", "masks/scan9.nii")
    description = 'images: {t1: "{patient}/{case}/t1.nii"}\nreference: "masks/{case}.nii"\nlabels: {1: edema}'
    cases = Folders().cases(make(tmp_path, description=description))
    assert [(case.name, case.patient, case.reference is not None) for case in cases] == [
        ("scan7", "p1", True),
        ("scan8", "p1", False),
        ("scan9", "p2", True),
    ]


def test_visits_of_a_patient_are_cases_named_after_both(tmp_path: Path) -> None:
    make(tmp_path, "p1/before/t1.nii", "p1/after/t1.nii", "p2/before/t1.nii")
    make(tmp_path, description=images(t1="{patient}/{visit}/t1.nii"))
    assert [(case.name, case.patient) for case in Folders().cases(tmp_path)] == [
        ("p1_after", "p1"),
        ("p1_before", "p1"),
        ("p2_before", "p2"),
    ]


def test_a_visit_that_is_called_a_case_is_told_apart(tmp_path: Path) -> None:
    make(tmp_path, "p1/before/t1.nii", "p2/before/t1.nii", description=images(t1="{patient}/{case}/t1.nii"))
    _, wrong, *_ = Folders().survey(tmp_path)
    assert "Case before belongs to several patients" in wrong["before"]
    assert "write {visit} instead of {case}" in wrong["before"]


def test_it_must_be_clear_whose_case_it_is(tmp_path: Path) -> None:
    make(tmp_path, "a_b_c_t1.nii", "d_e_t1.nii", description=images(t1="{patient}_{visit}_t1.nii"))
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert [(case.name, case.patient) for case in cases] == [("d_e", "d")]
    assert "Case a_b_c could belong to the patient a or a_b" in wrong["a_b_c"]


@pytest.mark.parametrize("ending", [".nii.gz", ".NII.GZ", ".nii", ".hdr"])
def test_names_with_any_ending_of_an_image_fit_a_star(tmp_path: Path, ending: str) -> None:
    make(tmp_path, f"t1/a{ending}", "t1/a.json", "t1/a.txt", description=images(t1="t1/{case}*"))
    if ending == ".hdr":
        make(tmp_path, "t1/a.img")
    (case,) = Folders().cases(tmp_path)
    assert files_of(case, tmp_path) == {"t1": f"t1/a{ending}"}
    assert case.name == "a"


def test_the_voxels_of_a_pair_are_read_by_their_header(tmp_path: Path) -> None:
    make(tmp_path, "a.hdr", "a.img", description=images(t1="{case}.img"))
    assert files_of(Folders().cases(tmp_path)[0], tmp_path) == {"t1": "a.hdr"}


def test_names_that_are_not_ascii_just_work(tmp_path: Path) -> None:
    make(tmp_path, "Zoë Müller/T1 größe.nii", description=images(t1="{case}/T1 größe.nii"))
    assert [case.name for case in Folders().cases(tmp_path)] == ["Zoë Müller"]


def test_links_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "a/t1.nii", "t2.nii")
    make(tmp_path / "data", "b/t2.nii", description=images(t1="{case}/t1.nii", t2="{case}/t2.nii"))
    (tmp_path / "data/a").symlink_to(tmp_path / "elsewhere/a")
    (tmp_path / "data/a/t2.nii").symlink_to(tmp_path / "elsewhere/t2.nii")
    (tmp_path / "data/b/t1.nii").symlink_to(tmp_path / "elsewhere/a/t1.nii")
    (tmp_path / "data/b/up").symlink_to(tmp_path / "data")
    assert [case.name for case in Folders().cases(tmp_path / "data")] == ["a", "b"]


def test_the_path_may_be_the_description_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(tmp_path, "a")
    (tmp_path / "ddmkit.yaml").rename(tmp_path / "mine.yml")
    assert Folders().recognises(tmp_path / "mine.yml")
    assert not Folders().recognises(tmp_path)
    assert [case.name for case in Folders().cases(tmp_path / "mine.yml")] == ["a"]
    monkeypatch.chdir(tmp_path)
    assert [case.name for case in Folders().cases(Path("mine.yml"))] == ["a"]
    assert [case.name for case in Folders(description=Path("other.yaml")).cases(Path("mine.yml"))] == ["a"]


def test_the_description_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = good(tmp_path / "data", "a")
    (data / "ddmkit.yaml").rename(tmp_path / "mine.yaml")
    assert not Folders().recognises(data)
    for description in (tmp_path / "mine.yaml", Path("../mine.yaml")):
        assert Folders(description=description).recognises(data)
        assert [case.name for case in Folders(description=description).cases(data)] == ["a"]
    monkeypatch.chdir(tmp_path)
    assert [case.name for case in Folders(description=Path("mine.yaml")).cases(Path("data"))] == ["a"]


def test_a_folder_is_recognised_by_its_description(tmp_path: Path) -> None:
    good(tmp_path, "a")
    assert Folders().recognises(tmp_path)
    assert not Folders().recognises(tmp_path / "a")
    assert not Folders().recognises(tmp_path / "a/anat/a_T1w.nii.gz")
    assert not Folders().recognises(tmp_path / "nowhere")
    assert not Folders().recognises(tmp_path / ("long" * 100))


def test_without_a_description_one_is_shown_that_works(tmp_path: Path) -> None:
    make(tmp_path, "a/t1.nii.gz", "a/flair.nii.gz", "a/mask.nii.gz")
    message = refusal(tmp_path)
    assert f"{tmp_path} has no ddmkit.yaml" in message
    (tmp_path / "ddmkit.yaml").write_text(message.split("\n\n")[1])
    (case,) = Folders().cases(tmp_path)
    assert case.reference == tmp_path / "a/mask.nii.gz"


def test_what_cannot_be_the_data_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz", "ddmkit.yaml", "ddmkit.yml")
    assert "a.nii.gz is a file: give the folder" in refusal(tmp_path / "a.nii.gz")
    assert f"There is no folder {tmp_path / 'nowhere'}" in refusal(tmp_path / "nowhere")
    assert "ddmkit.yml describe the data: delete or rename one" in refusal(tmp_path)
    missing = refusal(tmp_path, description=Path("other.yaml"))
    assert f"no file other.yaml or {tmp_path / 'other.yaml'}" in missing


def test_what_a_case_lacks_is_named_with_its_pattern(tmp_path: Path) -> None:
    good(tmp_path, "a", "b")
    (tmp_path / "b/anat/ax_FLAIR_2.nii.gz").unlink()
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert [case.name for case in cases] == ["a"]
    assert wrong.keys() == {"b"}
    assert "Case b lacks images: flair (b/anat/*FLAIR*.nii.gz): put that there" in wrong["b"]
    assert Folders().survey(tmp_path).partial["b"].images == {"t1": Image(tmp_path / "b/anat/b_T1w.nii.gz")}
    with pytest.raises(DataError, match="Case b lacks"):
        Folders().cases(tmp_path)


def test_a_reference_without_images_is_wrong(tmp_path: Path) -> None:
    good(tmp_path, "a")
    make(tmp_path, "derivatives/b/mask.nii.gz")
    _, wrong, *_ = Folders().survey(tmp_path)
    assert "Case b lacks images: t1 (b/anat/b_T1w.nii.gz)" in wrong["b"]
    assert str(tmp_path / "derivatives/b/mask.nii.gz") in wrong["b"]


def test_two_files_for_one_pattern_are_named(tmp_path: Path) -> None:
    good(tmp_path, "a", "b")
    make(tmp_path, "a/anat/sag_FLAIR.nii.gz", "derivatives/b/mask.nii.gz")
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert [case.name for case in cases] == ["b"]
    assert "Case a has 2 files for images: flair" in wrong["a"]
    for name in ("ax_FLAIR_2.nii.gz", "sag_FLAIR.nii.gz"):
        assert str(tmp_path / "a/anat" / name) in wrong["a"]
    assert 'the pattern "{case}/anat/*FLAIR*.nii.gz"' in wrong["a"]


def test_one_file_is_not_two_things(tmp_path: Path) -> None:
    make(tmp_path, "a/a_t1ce.nii", description=images(t1="{case}/*t1*.nii", t1ce="{case}/*t1ce*.nii"))
    _, wrong, *_ = Folders().survey(tmp_path)
    assert f"Case a: {tmp_path / 'a/a_t1ce.nii'} is both t1 and t1ce" in wrong["a"]


def test_a_pattern_that_fits_nothing_is_shown_beside_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "a/T1.nii", "a/Flair.nii", "b/T1.nii", "b/Flair.nii")
    make(tmp_path, description=images(t1="{case}/T1.nii", flair="{case}/flair.nii"))
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert not cases
    assert "Case a lacks images: flair (a/flair.nii): no file at all fits" in wrong["a"]
    assert "a/Flair.nii and b/Flair.nii" in wrong["a"]


def test_a_description_of_other_files_is_refused_with_what_is_there(tmp_path: Path) -> None:
    make(tmp_path, "x/a_T1.nii", "x/a_T2.nii", "x/b_T1.nii", description=images(t1="{case}/T1.nii"))
    message = refusal(tmp_path)
    assert 'images: t1 is "{case}/T1.nii", but there is, for example, x/a_T1.nii and x/a_T2.nii' in message
    assert "no image" in refusal(make(tmp_path / "empty", "a.txt", description=images(t1="{case}/T1.nii")))


def test_what_is_no_file_is_wrong_with_its_case(tmp_path: Path) -> None:
    good(tmp_path, "a", "b", "c")
    (tmp_path / "a/anat/ax_FLAIR_2.nii.gz").unlink()
    os.mkfifo(tmp_path / "a/anat/ax_FLAIR_2.nii.gz")
    (tmp_path / "b/anat/ax_FLAIR_2.nii.gz").unlink()
    (tmp_path / "b/anat/ax_FLAIR_2.nii.gz").symlink_to("nowhere")
    (tmp_path / "c/anat/more_FLAIR.nii.gz").mkdir()
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert [case.name for case in cases] == ["c"]
    assert "is a pipe, not a file" in wrong["a"]
    assert "leads nowhere" in wrong["b"]


def test_names_that_cannot_be_written_are_wrong(tmp_path: Path) -> None:
    make(tmp_path, "a.nii", "b\n\x1b[1m.nii", description=images(t1="{case}.nii"))
    with (tmp_path / os.fsdecode(b"c\xff.nii")).open("w"):
        pass
    cases, wrong, *_ = Folders().survey(tmp_path)
    assert [case.name for case in cases] == ["a"]
    assert len(wrong) == 2
    assert all(reason.isprintable() for reason in wrong.values())


def test_what_is_no_file_is_no_description(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ddmkit.yaml")
    assert not Folders().recognises(tmp_path)
    assert "has no ddmkit.yaml" in refusal(tmp_path)
    assert "There is no folder" in refusal(tmp_path / "ddmkit.yaml")


def test_an_empty_folder_has_no_cases(tmp_path: Path) -> None:
    assert Folders().cases(tmp_path) == []


DOCUMENTATION = Path(__file__).parents[3] / "docs/own-data.md"
EXAMPLES = DOCUMENTATION.read_text(encoding="utf-8").split("### Example")[1:]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documentation_work(tmp_path: Path, example: str) -> None:
    files, description = (re.findall(rf"```{language}\n(.*?)```", example, re.DOTALL)[0] for language in ("", "yaml"))
    (case,) = Folders().cases(make(tmp_path, *files.split(), description=description))
    assert case.reference is not None
    assert {
        path.relative_to(tmp_path).as_posix() for path in (case.reference, *(i.path for i in case.images.values()))
    } == {*files.split()}
