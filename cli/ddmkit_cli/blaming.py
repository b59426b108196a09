"""Whose mistake it is that ended a command."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from ddmkit.errors import named
from ddmkit.origin import installed, module_of, title_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from types import FrameType


def blame(error: Exception) -> str:
    """Say which installed plugin's code an error came up in, and how to go on; nothing where it is no plugin's.

    Args:
        error: that nobody foresaw; its notes say what else there is to type.
    """
    plugins = {_top(module_of(plugin)): plugin for plugin in installed() if not _is_own(plugin)}
    frames = reversed([*traceback.walk_tb(error.__traceback__)])
    found = next(
        ((plugins[top], frame.f_code.co_filename, line) for frame, line in frames if (top := _name(frame)) in plugins),
        None,
    )
    if found is None:
        return ""
    plugin, file, line = found
    package = title_of(plugin) or plugin.name
    sentence = (
        f"The code of {package} ends the command by {named(error)} (in {file}, line {line}): go on without what it "
        f"offers; its author learns more from ddmkit plugins check {package.partition(' ')[0]}."
    )
    return " ".join([sentence, *getattr(error, "__notes__", [])])


def _top(module: str) -> str:
    return module.partition(".")[0]


def _name(frame: FrameType) -> str:
    return _top(str(frame.f_globals.get("__name__", "")))


def _is_own(plugin: EntryPoint) -> bool:
    return plugin.dist is not None and plugin.dist.name == "ddmkit"
