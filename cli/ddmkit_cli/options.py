"""What -o may change of a run that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence


def refuse_fixed(options: Sequence[str], free: Sequence[str], reason: str) -> None:
    """Let through only settings of the kinds and sections that are free.

    Args:
        options: as given to -o, "kind.field=value".
        free: kinds and sections whose settings may change.
        reason: what is wrong with all others, to follow the option in a sentence.

    Raises:
        ConfigurationError: an option would change something else.
    """
    for given in options:
        part = given.partition("=")[0].strip().partition(".")[0]
        if part not in free:
            msg = f"-o {given} {reason}; here only the settings of {', '.join(free)} may change."
            raise ConfigurationError(msg)
