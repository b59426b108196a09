"""Names that a user types for what is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit.errors import UnknownComponentError
from ddmkit.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable


LISTENER = "listener"
"""What a plugin of hooks alone is called where components have their kind."""
LISTENING = "docs/plugins/listening.md shows how one is written"


def refuse_unknown(name: str, known: Iterable[str]) -> None:
    """Make sure that something goes by a name.

    Raises:
        UnknownComponentError: nothing does; the sentence says what may be meant.
    """
    names = list(dict.fromkeys(known))
    if name not in names:
        msg = f"Nothing is named {name!r}.{suggestion(name, names)} Known: {', '.join(names)}."
        raise UnknownComponentError(msg)


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return a question that names what may be meant: what begins with the name, or is spelled alike."""
    known = list(names)
    longer = [word for word in known if word.startswith(name)]
    return f" Did you mean {' or '.join(map(repr, longer))}?" if longer else did_you_mean(name, known)
