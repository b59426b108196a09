"""The table of a component's or a section's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from ddmkit_cli.settings_table import type_of
from ddmkit_docs.text import prose, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit.component import Settings


def settings_table(prefix: str, settings: type[Settings]) -> str:
    """Return every setting with its values, its default and what it does.

    Args:
        prefix: what -o puts before the dot.
        settings: a component's class, or a section's.
    """
    schema = settings.model_json_schema()
    fields: Mapping[str, Any] = schema.get("properties", {})
    rows = [
        (f"`{prefix}.{name}`", f"`{type_of(facts, schema)}`", _default(facts), prose(facts.get("description", "")))
        for name, facts in fields.items()
    ]
    return table(("setting", "values", "default", "what it does"), rows) if rows else "It has no settings."


def _default(schema: Mapping[str, Any]) -> str:
    return f"`{_typed(schema['default'])}`" if "default" in schema else "none: it must be given"


def _typed(value: Any) -> str:  # noqa: ANN401 - whatever a setting may be
    """Return a value as it is typed after -o."""
    if isinstance(value, list):
        return ",".join(map(_typed, value))
    return yaml.safe_dump(value).partition("\n")[0]
