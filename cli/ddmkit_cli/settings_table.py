"""Settings as a table: names as they are typed, types with their ranges, defaults, help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from ddmkit_cli.tables import table_of

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic.json_schema import JsonSchemaValue
    from rich.table import Table

    from ddmkit.component import Settings

_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
    "pattern": "like",
}


class _Schema(GenerateJsonSchema):
    """Says of types that JSON does not know no more than that."""

    @override
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {"type": "a Python object"}


class Setting(NamedTuple):
    """What there is to know of a setting, in words."""

    name: str
    type: str
    """With its range."""
    default: str | None
    """As it is typed; None where there is none."""
    description: str


def settings_table(prefix: str, settings: type[Settings]) -> Table:
    """Return a row for each setting.

    Args:
        prefix: what stands before a setting's name after -o: a kind or a section.
        settings: their class.
    """
    table = table_of("", "setting", "type", "default", "what it does")
    for name, type_, default, description in told(settings):
        table.add_row(f"{prefix}.{name}", type_, "has to be given" if default is None else default, description)
    return table


def told(settings: type[Settings]) -> list[Setting]:
    """Return what there is to know of all settings of a class."""
    schema = settings.model_json_schema(schema_generator=_Schema)
    required = schema.get("required", [])
    return [
        Setting(
            name,
            _type(facts, schema),
            None if name in required else _default(settings.model_fields[name], facts),
            facts.get("description", ""),
        )
        for name, facts in schema.get("properties", {}).items()
    ]


def _type(facts: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say a type and its range in a few words.

    Args:
        facts: of a setting, as JSON schema has them.
        schema: of all settings, for what facts refer to.
    """
    if "$ref" in facts:
        return _type(schema["$defs"][facts["$ref"].rpartition("/")[2]], schema)
    if "const" in facts or "enum" in facts:
        return " | ".join(map(_typed, facts.get("enum", [facts.get("const")])))
    if "anyOf" in facts:
        return " | ".join(_type(part, schema) for part in facts["anyOf"])
    if "prefixItems" in facts:
        parts = [_type(part, schema) for part in facts["prefixItems"]]
        return f"{len(parts)} × {parts[0]}" if len(set(parts)) == 1 else ", ".join(parts)
    if "items" in facts:
        return f"list of {_count(facts, 'Items', '')}{_type(facts['items'], schema)}"
    limits = [f"{sign} {facts[key]}" for key, sign in _BOUNDS.items() if key in facts]
    return " ".join([str(facts.get("type", "anything")), *limits, _count(facts, "Length", "characters")]).strip()


def _count(facts: Mapping[str, Any], of: str, noun: str) -> str:
    """Say how many there may be of something that JSON schema limits by minOF and maxOF; nothing where it does not."""
    least, most = facts.get(f"min{of}"), facts.get(f"max{of}")
    if least is None and most is None:
        return ""
    many = f"≤ {most}" if not least else f"≥ {least}" if most is None else f"{least} to {most}"
    return f"{str(least) if least == most else many} {noun}"


def _default(field: FieldInfo, facts: Mapping[str, Any]) -> str:
    """Return the default of a field as it is typed, made by its factory where it has one."""
    if "default" in facts or field.default_factory is None:
        return _typed(facts.get("default"))
    try:
        return _typed(field.get_default(call_default_factory=True))
    except Exception:  # noqa: BLE001 - a plugin's factory may ask for other settings, or fail in any way
        return "depends"


def _typed(value: object) -> str:
    """Return a value as it is typed after -o."""
    if isinstance(value, float):
        return yaml.safe_dump(value).partition("\n")[0]  # in YAML, 1e-05 is a word
    if isinstance(value, list | tuple):
        return ",".join(map(_typed, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
