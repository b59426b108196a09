"""The file that describes a folder of images: every mistake in it is one sentence that says what to type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ddmkit import DataError
from ddmkit_plugins.datasets.folders_description import EXAMPLE, read_description

GOOD = """\
images:
  t1: "{case}/anat/{case}_T1w.nii.gz"
  flair: "{case}/anat/*FLAIR*.nii.gz"
reference: "derivatives/{case}/mask.nii.gz"
labels: {1: necrotic, 2: edema, 3: enhancing}
"""


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / "ddmkit.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def refusal(file: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_description(file)
    message = str(caught.value)
    assert str(file) in message
    assert message.replace(EXAMPLE, "").replace("\n\n", "").isprintable()
    assert len(message) < 500
    return message


def test_a_description_says_which_files_there_are_and_what_labels_mean(tmp_path: Path) -> None:
    description = read_description(write(tmp_path, GOOD))
    assert description.modalities == {"t1": "images: t1", "flair": "images: flair"}
    assert {place: pattern.text for place, pattern in description.patterns.items()} == {
        "images: t1": "{case}/anat/{case}_T1w.nii.gz",
        "images: flair": "{case}/anat/*FLAIR*.nii.gz",
        "reference": "derivatives/{case}/mask.nii.gz",
    }
    assert description.volumes == {"images: t1": None, "images: flair": None}
    assert description.labels == {1: "necrotic", 2: "edema", 3: "enhancing"}


def without(text: str) -> Callable[[str], str]:
    return lambda description: "".join(line for line in description.splitlines(keepends=True) if text not in line)


def instead(old: str, new: str) -> Callable[[str], str]:
    return lambda description: description.replace(old, new)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda _: "", "is not YAML that describes images"),
        (lambda _: "just words", "is not YAML that describes images"),
        (lambda _: "- a\n- b", "is not YAML that describes images"),
        (lambda _: "images: {}", "images is missing or empty: write one line for each modality"),
        (lambda _: 'images: ["{case}.nii"]', "images is a list: write one line for each modality"),
        (lambda _: 'labels: {1: "edema"}', "images is missing or empty"),
        (instead("images:", "image:"), "\"image\" is no key. Did you mean 'images'? Known: images, reference, labels."),
        (instead("reference:", "mask:"), '"mask" is no key. Known: images, reference, labels.'),
        (instead("labels:", "Labels:"), "\"Labels\" is no key. Did you mean 'labels'?"),
        (without("labels"), "names a reference but no labels: write what each number means"),
        (instead("{1: necrotic, 2: edema, 3: enhancing}", "[edema]"), "labels is a list: write what each number"),
        (instead("2: edema", "edema: 2"), 'labels: "edema" is no label number: write 2: edema'),
        (instead("2: edema", "2.5: edema"), '"2.5" is no label number: write a whole number from 1 to 255'),
        (instead("2: edema", "-2: edema"), '"-2" is no label number'),
        (instead("2: edema", "256: edema"), '"256" is no label number'),
        (instead("2: edema", "1: edema"), 'line 5: "1" is there twice'),
        (instead("2: edema", "01: edema"), "labels: 1 is there twice"),
        (instead("2: edema", "0: edema"), "but 0 and nothing else is background"),
        (instead("2: edema", "2: background"), "but 0 and nothing else is background"),
        (instead("2: edema", "2: "), 'labels: 2 is "": write one name'),
        (instead("2: edema", "2: [edema]"), "labels: 2 is a list: write one name"),
        (instead("{case}/anat/{case}_T1w", "anat/T1w"), 'images: t1: "anat/T1w.nii.gz" does not say where'),
        (instead('"derivatives/', '"/derivatives/'), 'reference: "/derivatives/{case}/mask.nii.gz" is an absolute'),
        (instead("flair:", "T1:"), "images: t1 and images: T1 are the same modality"),
        (instead("flair:", "t1:"), 'line 3: "t1" is there twice'),
        (instead('flair: "', '? [a]\n  : "'), "line 3: a list stands before a colon"),
        (
            instead('"{case}/anat/{case}_T1w.nii.gz"', "{case}"),
            "images: t1 is a mapping: write one pattern in quotation",
        ),
        (instead('"{case}/anat/{case}_T1w.nii.gz"', ""), 'images: t1: "" is empty'),
        (
            instead('"{case}/anat/{case}_T1w.nii.gz"', '{flie: "{case}.nii", volume: 1}'),
            "\"flie\" is no key. Did you mean 'file'? Known: file, volume.",
        ),
        (instead('"{case}/anat/{case}_T1w.nii.gz"', "{volume: 1}"), 'images: t1: "" is empty'),
        (
            instead('"{case}/anat/{case}_T1w.nii.gz"', '{file: "{case}.nii", volume: last}'),
            'volume is "last": write 0 for the first volume',
        ),
        (instead("t1:", '"":'), '"" is no name for a modality'),
    ],
)
def test_a_mistake_in_the_description_is_one_sentence(tmp_path: Path, change: Callable[[str], str], hint: str) -> None:
    assert hint in refusal(write(tmp_path, change(GOOD)))


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            '"{case}/anat/{case}_T1w.nii.gz"',
            "{case}/anat/{case}_T1w.nii.gz",
            'line 2: put the pattern in quotation marks: t1: "{case}/anat/{case}_T1w.nii.gz".',
        ),
        (
            '"{case}/anat/*FLAIR*.nii.gz"',
            "*/{case}.nii  # mine",
            'line 3: put the pattern in quotation marks: flair: "*/{case}.nii".',
        ),
        ('"{case}/anat/*FLAIR*.nii.gz"', "**/{case}.nii", 'quotation marks: flair: "**/{case}.nii".'),
        ('"{case}/anat/*FLAIR*.nii.gz"', "*FLAIR", 'quotation marks: flair: "*FLAIR".'),
        ('"{case}/anat/{case}_T1w', r'"{case}\data\{case}_T1w', r"line 2: write / instead of \ between folders"),
        ("  t1:", "\tt1:", "line 2: indent with spaces instead of tabs"),
        ("images:", "images", "line 2: write KEY: VALUE"),
        ('mask.nii.gz"', "mask.nii.gz", "line 4: close the quotation mark"),
    ],
)
def test_what_yaml_trips_over_is_said_with_its_line(tmp_path: Path, old: str, new: str, hint: str) -> None:
    assert hint in refusal(write(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"\x00\x01", "is not YAML"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"[" * 60000, "is not YAML"),
        (b"- " * 30000, "is not YAML"),
        (b" " * 65537, "larger than 64 KiB"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2"),
        (b"<<: &a {t1: x}\nimages: {<<: [*a, *a]}", "line 2"),
        (b"images: !!python/object/apply:os.system [ls]", "images is a list"),
        (b"a: 1\n---\nb: 2", "line 2"),
        (b"-" + b" " * 60000 + b"{", "line 1"),
    ],
)
def test_a_file_that_is_no_description_is_refused_in_bounded_time(tmp_path: Path, content: bytes, hint: str) -> None:
    assert hint in refusal(write(tmp_path, content))


def test_a_byte_order_mark_and_other_line_ends_just_work(tmp_path: Path) -> None:
    other = read_description(write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()))
    assert other == read_description(write(tmp_path, GOOD))


def test_a_description_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD)

    def forbid(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", forbid)
    assert f"Cannot read {file}: Permission denied" in refusal(file)
