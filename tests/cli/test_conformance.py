"""What `ddmkit plugins check` says of components that fail without a word."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
from torch import Tensor
from typing_extensions import override

from ddmkit import Schedule
from ddmkit_cli.conformance import Subject, verdicts


class Asserting(Schedule):
    """A schedule whose code holds a bare assert that fails."""

    name: ClassVar[str] = "asserting"

    @override
    def alphas_bar(self) -> Tensor:
        raise AssertionError


class Leaving(Asserting):
    """A schedule that ends the program."""

    name: ClassVar[str] = "leaving"

    @override
    def alphas_bar(self) -> Tensor:
        raise SystemExit(2)


@pytest.mark.parametrize(
    ("component", "said"), [(Asserting, "a bare assert in .*, line"), (Leaving, r"ends with SystemExit: 2 \(in .*line")]
)
def test_what_fails_without_a_word_fails_all_the_same(component: type[Schedule], said: str) -> None:
    (verdict,) = verdicts([Subject(component.name, (), "acme 1.0", component)])
    assert verdict.failed
    assert verdict.line().startswith(f"✗ {component.name} (acme 1.0): ")
    assert re.search(said, verdict.line())
