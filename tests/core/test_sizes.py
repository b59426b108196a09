"""Sizes of memory, typed and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddmkit.sizes import bytes_of, written


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("16GB", 16_000_000_000),
        ("16GiB", 17_179_869_184),
        ("1.5TB", 1_500_000_000_000),
        ("0.5KiB", 512),
        (" 900 MB ", 900_000_000),
    ],
)
def test_a_typed_size_is_a_number_of_bytes(typed: str, expected: int) -> None:
    assert bytes_of(typed) == expected


@pytest.mark.parametrize(
    "typed", ["", "abc", "16", "16G", "16B", "16gb", "-1GB", "1,5GB", "1.GB", ".5GB", "1GB 2MB", "1e3MB"]
)
def test_what_is_no_size_is_said_with_an_example_of_one(typed: str) -> None:
    with pytest.raises(ValueError, match=r"is no size such as 16GB or 900MB$") as caught:
        bytes_of(typed)
    assert repr(typed) in str(caught.value)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0MB"),
        (1, "1MB"),
        (12_000_000, "12MB"),
        (12_000_001, "13MB"),
        (1e9, "1.0GB"),
        (1_300_000_001, "1.4GB"),
        (9_999_999_999, "10.0GB"),
        (1e10, "10GB"),
        (10_000_000_001, "11GB"),
        (78.5e9, "79GB"),
    ],
)
def test_a_number_of_bytes_is_written_short_and_rounded_up(count: float, expected: str) -> None:
    assert written(count) == expected


@given(st.floats(1, 1e14))
def test_what_is_written_may_be_typed_and_is_never_too_little(count: float) -> None:
    again = bytes_of(written(count))
    assert count <= again <= 1.1 * count + 1e6
