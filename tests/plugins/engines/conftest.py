"""What the tests of engines share."""

from __future__ import annotations

import pytest
from tests.plugins.engines.stepping import Network, make_network

from ddmkit import arithmetic


@pytest.fixture
def network() -> Network:
    return make_network()


@pytest.fixture
def bfloat16_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor: sizes here are too small for what goes wrong on some (`multiplies_tiles`)."""
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: False)
