"""Errors a user can act on: one sentence that says what was given, what is allowed and what to type next."""

from __future__ import annotations

import re
from typing import ClassVar

_PYDANTIC = re.compile(r" \[type=\w+, input_value=.*?, input_type=\w+\]| For further information visit \S+")
"""What pydantic says to programmers alone."""


def one_line(error: BaseException) -> str:
    """Return what an error says as one line, whatever line breaks, or addresses, its author or pydantic put into it."""
    return _PYDANTIC.sub("", " ".join(str(error).split()))


def named(error: BaseException) -> str:
    """Return what happened as one line: the error's class, for where ddmkit did not raise it, and what it says."""
    return f"{type(error).__name__}: {one_line(error)}"


def noted(sentence: str, error: BaseException) -> str:
    """Return what is said of an error, and after it what was noted of it on its way, all as one line."""
    return " ".join([sentence, *(" ".join(note.split()) for note in getattr(error, "__notes__", []))])


class DdmkitError(Exception):
    """Something the user can put right; the command line prints it without a traceback."""

    exit_status: ClassVar[int] = 1
    """What the command line exits with: 1 the work failed, 2 the command or a configuration is wrong."""


class ConfigurationError(DdmkitError):
    """The command line or a configuration says something that cannot be."""

    exit_status = 2


class UnknownComponentError(ConfigurationError, LookupError):
    """No installed plugin offers that name."""

    def __init__(self, message: str, kind: str = "", name: str = "") -> None:
        super().__init__(message)
        self.kind, self.name = kind, name
        """What was asked for; empty where it may have been of any kind."""


class PluginError(ConfigurationError):
    """A plugin offers something that ddmkit cannot use."""


class ComponentConflictError(PluginError):
    """Two plugins offer the same name for the same kind."""


class DataError(DdmkitError):
    """A file or a folder of the user's is missing, unreadable or contradicts itself."""


class RefusedDataError(DataError):
    """A file or a case breaks one of the rules of `ddmkit.rules`."""

    def __init__(self, message: str, rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule
        """Its name among the rules."""


class CheckpointError(DdmkitError):
    """A checkpoint is missing, damaged or belongs to another configuration."""


class StorageError(DdmkitError):
    """A file could not be written: a full disk, a folder without permission."""


class DivergedError(DdmkitError):
    """The loss or a gradient is not finite."""


class InterruptedRunError(DdmkitError):
    """The user stopped a run; its checkpoint is saved."""


class DeviceError(DdmkitError):
    """A device is missing or its memory does not suffice."""


class OutOfMemoryError(DeviceError):
    """The memory of a device does not suffice."""


class LostProcessError(DdmkitError):
    """One of several processes that work together failed or is gone."""
