"""What trackers need that ddmkit does not bring."""

from __future__ import annotations

from importlib.util import find_spec

from ddmkit import ConfigurationError


def require_library(tracker: str, library: str) -> None:
    """Make sure that a tracker's library is there.

    Raises:
        ConfigurationError: it is not.
    """
    if find_spec(library) is None:
        msg = (
            f"The tracker {tracker!r} needs {library}, which is not installed: type pip install {library}, or leave "
            f"{tracker} out of --tracker (none is --tracker none)."
        )
        raise ConfigurationError(msg)
