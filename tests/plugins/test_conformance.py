"""Every first-party component keeps the promises of its kind, with its default settings or smaller ones."""

from __future__ import annotations

import pytest

from ddmkit import Backbone, Component, Engine, Registry
from ddmkit.testing import check

# Engines of several processes are checked in processes of their own, see tests/plugins/engines.
CHECKED = [component for component in Registry().components() if component.kind != Engine.kind]


@pytest.mark.parametrize("component", CHECKED, ids=lambda component: f"{component.kind}-{component.name}")
def test_it_keeps_the_promises_of_its_kind(component: type[Component]) -> None:
    smaller = {"width": 4, "multipliers": (1, 2)} if issubclass(component, Backbone) else {}
    check(component.model_validate(smaller))
