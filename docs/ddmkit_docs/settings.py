"""The table of a component's or a section's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit_cli.settings_table import told
from ddmkit_docs.text import prose, table

if TYPE_CHECKING:
    from ddmkit.component import Settings


def settings_table(prefix: str, settings: type[Settings]) -> str:
    """Return every setting with its values, its default and what it does.

    Args:
        prefix: what -o puts before the dot.
        settings: a component's class, or a section's.
    """
    rows = [
        (f"`{prefix}.{name}`", f"`{type_}`", _shown(default), prose(description))
        for name, type_, default, description in told(settings)
    ]
    return table(("setting", "values", "default", "what it does"), rows) if rows else "It has no settings."


def _shown(default: str | None) -> str:
    if default is None:
        return "none: it must be given"
    return f"`{default}`" if default else "nothing"
