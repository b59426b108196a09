"""Plugins in hand for tests, whole and faulty, and likenesses of installed ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor
from typing_extensions import override

from ddmkit import Component, Schedule, hookimpl


class Flat(Schedule):
    """A schedule that keeps the signal."""

    name: ClassVar[str] = "flat"

    @override
    def alphas_bar(self) -> Tensor:
        return torch.ones(self.timesteps + 1, dtype=torch.float64)


class FlatToo(Flat):
    """Another class under the same name."""


class Steep(Flat):
    """A second schedule."""

    name: ClassVar[str] = "steep"


class Unfinished(Schedule):
    """A schedule without its one method."""

    name: ClassVar[str] = "unfinished"


class Nameless(Flat):
    """A schedule whose name is no word."""

    name: ClassVar[str] = 3  # type: ignore[assignment]  # the mistake under test


class Offer:
    """A plugin in hand that offers what it is given."""

    def __init__(self, *components: Any) -> None:  # noqa: ANN401 - a plugin may offer anything
        self.components = components

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return list(self.components)


class OfferPresets:
    """A plugin with a folder of presets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def ddmkit_presets(self) -> Path:
        return self.folder


class Misspelt:
    """A plugin with a hook that does not exist."""

    @hookimpl
    def ddmkit_componnents(self) -> list[type[Component]]:
        return []


class Asking:
    """A plugin of which one hook asks for what nobody tells, beside one that is right."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        return [Flat]

    @hookimpl
    def ddmkit_step_done(self, stepp: object) -> None:
        """Do nothing."""


class Raising:
    """A plugin whose components fail to import, beside a listener."""

    @hookimpl
    def ddmkit_components(self) -> list[type[Component]]:
        msg = "No module named 'tensorpipe'"
        raise ModuleNotFoundError(msg)

    @hookimpl
    def ddmkit_step_done(self) -> None:
        """Do nothing."""


class RaisingPresets:
    """A plugin that does not find its presets."""

    @hookimpl
    def ddmkit_presets(self) -> Path:
        msg = "presets"
        raise KeyError(msg)


class Wrapping:
    """A plugin that wraps a hook, which has no meaning here."""

    @hookimpl(wrapper=True)
    def ddmkit_step_done(self) -> Any:  # noqa: ANN401 - pluggy's wrappers yield and return anything
        return (yield)


class OfferNonsense:
    """A plugin that returns what it is given from both hooks that offer something."""

    def __init__(self, returned: object) -> None:
        self.returned = returned

    @hookimpl
    def ddmkit_components(self) -> object:
        return self.returned

    @hookimpl
    def ddmkit_presets(self) -> object:
        return self.returned


class Listener:
    """A plugin that listens to one event."""

    @hookimpl
    def ddmkit_step_done(self) -> None:
        """Do nothing."""


class Distribution(NamedTuple):
    """The likeness of an installed package."""

    name: str
    version: str

    @property
    def metadata(self) -> dict[str, str]:
        return {"Name": self.name, "Version": self.version}


class Entry:
    """An installed entry point, or the likeness of one."""

    def __init__(self, name: str, load: Callable[[], object], dist: Distribution | None = None) -> None:
        self.dist = dist
        self.name, self.value, self.load = name, f"{name}_package.hooks", load


def install(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    monkeypatch.setattr("ddmkit.registry.installed", lambda: list(entries))


def broken() -> object:
    msg = "No module named 'tensorpipe'"
    raise ModuleNotFoundError(msg)
