"""What can be wrong with a case: each rule is kept by real files, in bounded memory."""

from __future__ import annotations

import gzip
import tracemalloc
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core import bad_cases, bad_files, bad_headers
from tests.core.breaches import Breach
from tests.core.niftis import content_of, save, store, voxels

from ddmkit import DataError
from ddmkit.errors import RefusedDataError
from ddmkit.rules import RULES, Rule, caution, shown
from ddmkit.volume import read_array, read_header

if TYPE_CHECKING:
    from tests.core.breaches import Making

BREACHES = [*bad_files.breaks, *bad_headers.breaks, *bad_cases.breaks]
PROMISES = [
    bad_files.bomb,
    bad_files.bomb_of_many_volumes,
    bad_files.bomb_behind_the_voxels,
    bad_files.a_gigabyte_promised_in_a_kilobyte,
]


@pytest.mark.parametrize("breach", BREACHES, ids=Breach.title)
def test_what_breaks_a_rule_is_refused_or_warned_about_in_one_sentence_that_names_it(
    tmp_path: Path, breach: Breach, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    made = breach.make(tmp_path)
    if RULES[breach.rule].verdict == "refuse":
        with pytest.raises(RefusedDataError) as caught:
            breach.read(made, told.append)
        assert caught.value.rule == breach.rule
        assert told == []
        told = [str(caught.value)]
    else:
        breach.read(made, told.append)
    (sentence,) = told
    assert (breach.named or shown(made.name)) in sentence
    assert sentence.endswith((".", "?"))
    assert sentence.isprintable()
    assert capfd.readouterr() == ("", "")


def test_every_rule_is_broken_by_a_test() -> None:
    assert {breach.rule for breach in BREACHES} == set(RULES)


def test_every_rule_has_a_reason_of_one_sentence() -> None:
    assert all(rule.reason.endswith(".") and rule.reason.count(". ") == 0 for rule in RULES.values())
    assert len({rule.reason for rule in RULES.values()}) > len(RULES) - 5


@pytest.mark.parametrize("make", PROMISES)
def test_what_promises_a_gigabyte_is_refused_in_a_few_megabytes(tmp_path: Path, make: Making) -> None:
    path = make(tmp_path)
    assert isinstance(path, Path)
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_array(path, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_file_is_read_beside_no_more_than_a_few_megabytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.arange(1 << 22, dtype=np.float64).reshape(256, 256, 64))
    tracemalloc.start()
    try:
        array = read_array(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < array.nbytes * 1.25 + (8 << 20)  # the file itself is twice as large


BYTES = st.dictionaries(st.integers(0, 400), st.integers(0, 255), min_size=1, max_size=6)


@given(changed=BYTES, version=st.sampled_from([1, 2]), compressed=st.booleans(), cut=st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_whatever_a_header_holds_it_is_read_or_refused(
    changed: dict[int, int], version: int, cut: int, *, compressed: bool
) -> None:
    content = bytearray(content_of(voxels(dtype="int16"), version=version))
    for place, value in changed.items():
        content[place] = value
    with TemporaryDirectory() as folder:
        path = store(Path(folder) / ("a.nii.gz" if compressed else "a.nii"), bytes(content[: len(content) - cut]))
        with suppress(RefusedDataError):
            header = read_header(path, lambda _: None)
            array = read_array(path, 0, lambda _: None)
            assert array.shape == header.shape
            assert np.isfinite(array).all()


@given(changed=st.dictionaries(st.integers(0, 700), st.integers(0, 255), min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_compressed_file_with_other_bytes_is_refused_or_holds_the_same(changed: dict[int, int]) -> None:
    array = voxels(dtype="uint8")
    content = bytearray(gzip.compress(content_of(array), 9))
    for place, value in changed.items():
        content[place % len(content)] = value
    with TemporaryDirectory() as folder, suppress(RefusedDataError):
        path = Path(folder) / "a.nii.gz"
        path.write_bytes(content)
        assert np.array_equal(read_array(path, None, lambda _: None), array)


def test_a_warning_becomes_a_refusal_where_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddmkit.rules.RULES", {"units": Rule("refuse", "We are strict.")})
    with pytest.raises(RefusedDataError, match="metres") as caught:
        caution("units", "a.nii says metres.", lambda _: pytest.fail("it was warned about"))
    assert caught.value.rule == "units"


def test_without_a_listener_warnings_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_array(bad_files.padded(tmp_path))
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'a.nii'} holds 100 bytes behind its voxels, which are left out."
    ]
