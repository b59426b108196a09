"""What all tests of the conformance checks share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ddmkit import Component
from ddmkit.testing import check


@pytest.fixture
def refuses() -> Callable[..., None]:
    """Return a function that sees to it that a component is caught, by one sentence."""

    def refuse(
        component: Component | type[Component],
        sentence: str,
        by: Callable[[Component], None] = check,
        **changes: object,
    ) -> None:
        """Check a component, or a class that differs from it in the attributes given."""
        made = component() if isinstance(component, type) else component
        if changes:
            namespace = {"__doc__": "Broken.", "__module__": __name__, **changes}
            made = type("Broken", (type(made),), namespace)(**made.model_dump())
        with pytest.raises(AssertionError, match=sentence) as caught:
            by(made)
        assert "\n" not in str(caught.value)

    return refuse
