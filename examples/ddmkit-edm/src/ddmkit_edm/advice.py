"""What a backbone says to type, where it stands in another: its settings are typed as one option there."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ddmkit import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

_SETTING = re.compile(
    r"(?P<typed>-o )?\bbackbone\.(?!settings\b|inner\b)(?P<field>\w+)(?:=(?P<value>\[.*?\]|\S*[^\s.:;,]))?"
)
"""As in "-o backbone.width=32", "backbone.width=0: …" or "backbone.widht is no setting"."""
_LIST = re.compile(r"[^\[{]*,")


@contextmanager
def as_typed_here(settings: Mapping[str, Any]) -> Generator[None]:
    """Let the inner backbone's errors name options that there are, with the settings that it has besides.

    Raises:
        ConfigurationError: one was raised within.
    """
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(translated(str(error), settings)) from error


def translated(sentence: str, settings: Mapping[str, Any]) -> str:
    """Return a sentence about a backbone as one about the inner backbone, which has these settings."""

    def setting(found: re.Match[str]) -> str:
        value = found["value"] or "…"
        value = f"[{value}]" if _LIST.match(value) else value  # as -o itself takes a,b for a list
        others = {name: json.dumps(one) for name, one in settings.items()} if found["typed"] else {}
        written = ", ".join(f"{name}: {text}" for name, text in {**others, found["field"]: value}.items())
        return f"-o 'backbone.settings={{{written}}}'" if found["typed"] else f"backbone.settings={{{written}}}"

    said = _SETTING.sub(setting, sentence).replace("--backbone ", "-o backbone.inner=")
    return re.sub(r"^backbone:", "backbone.settings:", said)
