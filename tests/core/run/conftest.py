"""Whole runs need an engine that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.core.run.whole_runs import Runs

from ddmkit import Component, Registry, hookimpl
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.configuration import Configuration


class _Engines:
    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Single]


@pytest.fixture
def registry(parts: object) -> Registry:
    return Registry(parts, _Engines())


@pytest.fixture
def runs(
    registry: Registry, configured: Callable[..., Configuration], write_cases: Callable[..., Path], tmp_path: Path
) -> Runs:
    return Runs(registry, configured, write_cases(tmp_path / "data", count=5), tmp_path)
