"""The table of a component's or a section's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from ddmkit_docs.text import prose, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit.component import Settings

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_PLURALS = {"integer": "integers", "number": "numbers", "string": "strings"}


def settings_table(prefix: str, settings: type[Settings]) -> str:
    """Return every setting with its values, its default and what it does.

    Args:
        prefix: what -o puts before the dot.
        settings: a component's class, or a section's.
    """
    fields: Mapping[str, Any] = settings.model_json_schema().get("properties", {})
    rows = [
        (f"`{prefix}.{name}`", values_of(facts), _default(facts), prose(facts.get("description", "")))
        for name, facts in fields.items()
    ]
    return table(("setting", "values", "default", "what it does"), rows) if rows else "It has no settings."


def values_of(schema: Mapping[str, Any]) -> str:
    """Say in a few words which values a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(values_of(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{typed(choice)}`" for choice in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        parts = [values_of(part) for part in schema["prefixItems"]]
        return f"{len(parts)} of: {parts[0]}" if len(set(parts)) == 1 else f"({'; '.join(parts)})"
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {_bounded(_PLURALS.get(items.get('type'), 'values'), items)}"
    return _scalar(schema)


def _scalar(schema: Mapping[str, Any]) -> str:
    match schema.get("type"), schema.get("format"), schema.get("pattern"):
        case "null", _, _:
            return "`null`"
        case "boolean", _, _:
            return "`true`, `false`"
        case _, "path", _:
            return "path"
        case _, _, str(pattern):
            return f"string of the form `{pattern}`"
        case kind, _, _:
            return _bounded(str(kind or "any value"), schema)


def _bounded(kind: str, schema: Mapping[str, Any]) -> str:
    limits = [f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema]
    return " ".join([kind, ", ".join(limits)]).strip()


def _default(schema: Mapping[str, Any]) -> str:
    return f"`{typed(schema['default'])}`" if "default" in schema else "none: it must be given"


def typed(value: Any) -> str:  # noqa: ANN401 - whatever a setting may be
    """Return a value as it is typed after -o."""
    if isinstance(value, list):
        return ",".join(map(typed, value))
    return yaml.safe_dump(value).partition("\n")[0]
