"""What a run's numbers and settings are called where they are tracked, the same in every tracker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ddmkit import Figure
from ddmkit.events import StepDone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit import Configuration
    from ddmkit.events import Validation


def step_scalars(step: StepDone) -> dict[str, float]:
    """Return the numbers of a step: "train/loss", "train/seconds" and so on."""
    return scalars_of({"kind": "step", **step._asdict()})


def validation_scalars(validation: Validation) -> dict[str, float]:
    """Return what the answers came to: "validation/whole/dice", or "test/…", and so on; means over cases."""
    figures = [figure._asdict() for figure in validation.figures]
    return scalars_of({"kind": validation.split, "summary": validation.summary, "figures": figures})


def scalars_of(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of one line of `metrics.jsonl` by name, as the functions above do."""
    if record["kind"] == "step":
        return {f"train/{name}": float(record[name]) for name in StepDone._fields if name != "step"}
    return {
        f"{record['kind']}/{region}/{figure.name}": float(row[figure.key])
        for figure in (Figure(**said) for said in record["figures"])
        for region, row in record["summary"].items()
        if row[figure.key] is not None
    }


def settings_of(configuration: Configuration) -> dict[str, str | float]:
    """Return every setting by its name, as "backbone.width"; what is neither number nor text, as JSON."""
    settings: dict[str, str | float] = {}
    for part, value in configuration.tree().items():
        fields = {f"{part}.{field}": one for field, one in value.items()} if isinstance(value, dict) else {part: value}
        settings |= {name: _plain(one) for name, one in fields.items()}
    return settings


def _plain(value: object) -> str | float:
    return value if isinstance(value, str | int | float) else json.dumps(value)
