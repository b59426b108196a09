"""Whose mistake it is that ended a command."""

from __future__ import annotations

from ddmkit.errors import named
from ddmkit.origin import innermost, installed, module_of, title_of

_OWN = frozenset({"ddmkit", "ddmkit_cli", "ddmkit_plugins"})


def blame(error: Exception) -> str:
    """Say which installed plugin's code an error came up in, or below, and how to go on; nothing where in none.

    Args:
        error: that nobody foresaw.
    """
    tops = {module_of(plugin).partition(".")[0]: plugin for plugin in installed()}
    plugins = {top: plugin for top, plugin in tops.items() if top not in _OWN}
    found, deepest = innermost(error, plugins), innermost(error, {*plugins, *_OWN})
    if found is None or deepest is None:
        return ""
    top, place = found
    package = title_of(plugins[top]) or plugins[top].name
    does = "ends the command by" if deepest == found else "asked ddmkit for what ends the command by"
    return (
        f"The code of {package} {does} {named(error)} (in {place.filename}, line {place.lineno}): go on without what "
        f"it offers; its author learns more from ddmkit plugins check {package.partition(' ')[0]}."
    )
