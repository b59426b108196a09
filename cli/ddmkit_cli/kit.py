"""A new plugin: a complete small package, written from the texts in `templates/`."""

from __future__ import annotations

import shlex
from importlib.resources import files
from importlib.util import find_spec
from string import Template
from typing import TYPE_CHECKING, NamedTuple

import ddmkit
from ddmkit import kinds
from ddmkit.configuration import Configuration
from ddmkit.errors import ConfigurationError
from ddmkit.files import write_text
from ddmkit.interface import INTERFACE
from ddmkit.soundness import A_NAME, PLAIN_NAME
from ddmkit.task import Task
from ddmkit_cli.naming import LISTENER, LISTENING, suggestion

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit import Registry

KINDS = tuple(kinds.KINDS)
"""What a plugin may add."""
FORMS = {"volume-task": Task.kind}
"""What else may be asked for: the kind that it is of."""
_TEMPLATES = files("ddmkit_cli") / "templates"
_LONGEST = 30
_WORDS = frozenset(ddmkit.__all__)
"""Names of classes that a plugin imports."""
_BESIDE = {"backbone": "network", "engine": "session"}
"""The second module of kinds whose components do not fit in one."""


class Plugin(NamedTuple):
    """What is to be made."""

    form: str
    """Its kind, or another of `FORMS`."""
    name: str

    @property
    def kind(self) -> str:
        """What ddmkit files it under."""
        return FORMS.get(self.form, self.form)

    @property
    def module(self) -> str:
        """The package's name for Python."""
        return f"ddmkit_{self.name.replace('-', '_')}"

    @property
    def cls(self) -> str:
        """The component's class, which ends with its kind, and is called like none of ddmkit's own."""
        words = "".join(word.capitalize() for word in self.name.split("-"))
        ending = self.kind.capitalize()
        name = words if words.endswith(ending) else words + ending
        return f"My{name}" if name in _WORDS else name

    def files(self) -> dict[str, str]:
        """Return the files of the package and what each is made from."""
        source = f"src/{self.module}"
        common = {
            ".github/workflows/test.yml": "test.yml",
            ".gitignore": "gitignore",
            "README.md": "README.md",
            "pyproject.toml": "pyproject.toml",
            f"{source}/py.typed": "py.typed",
            f"tests/test_{self.kind}.py": f"test_{self._template}.py",
            f"{source}/__init__.py": "init.py",
            f"{source}/{self.kind}.py": f"{self._template}.py",
        }
        beside = _BESIDE.get(self.kind)
        return common | ({f"{source}/{beside}.py": f"{beside}.py"} if beside else {})

    @property
    def _template(self) -> str:
        return self.form.replace("-", "_")

    def words(self) -> dict[str, object]:
        """Return what stands for the names in a template."""
        usage = f"ddmkit train --{self.kind} {self.name}"
        package = f"ddmkit-{self.name}"
        own = {"module": self.module, "cls": self.cls, "package": package, "usage": usage, "interface": INTERFACE}
        return {"kind": self.kind, "name": self.name, **own}


def write(folder: Path, kind: str, name: str, registry: Registry) -> list[Path]:
    """Write a package that adds something to ddmkit, and return its files.

    Args:
        folder: where to; new or empty.
        kind: one of `KINDS` or `FORMS`.
        name: what a user will type to choose it.
        registry: what is there already.

    Raises:
        ConfigurationError: one of these cannot be.
        StorageError: the folder cannot be written.
    """
    _refuse_kind(kind)
    _refuse_name(name)
    plugin = Plugin(kind, name)
    _refuse_taken(plugin, registry)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"{folder} is not empty; give a folder that is, or one that does not exist yet."
        raise ConfigurationError(msg)
    words = plugin.words()
    for path, template in plugin.files().items():
        text = (_TEMPLATES / f"{template}.template").read_text("utf-8")
        write_text(folder / path, Template(text).substitute(words))
    return [folder / path for path in sorted(plugin.files())]


def next_steps(folder: Path, name: str) -> str:
    """Return what to type to install and test a package that was written."""
    return (
        f"cd {shlex.quote(str(folder))} && pip install -e '.[test]' && python -m pytest && ddmkit plugins check {name}"
    )


def _refuse_kind(kind: str) -> None:
    if kind == LISTENER:
        msg = (
            f"--kind {kind}: a listener is a module of hooks, a dozen lines that no template has to write; {LISTENING}."
        )
        raise ConfigurationError(msg)
    known = (*KINDS, *FORMS)
    if kind not in known:
        msg = f"--kind {kind!r} is no kind of plugin.{suggestion(kind, known)} Kinds: {', '.join(known)}."
        raise ConfigurationError(msg)


def _refuse_name(name: str) -> None:
    if not PLAIN_NAME.fullmatch(name) or len(name) > _LONGEST:
        msg = f"--name {name!r} is no name: give {A_NAME}, at most {_LONGEST} in all, such as my-sampler."
        raise ConfigurationError(msg)


def _refuse_taken(plugin: Plugin, registry: Registry) -> None:
    """Make sure that nothing installed goes by the name."""
    kind, name = plugin.kind, plugin.name
    owners = [registry.package(other) for other in registry.components() if (other.kind, other.name) == (kind, name)]
    owners += [listener.package for listener in registry.always_listening() if listener.name == name]
    if owners:
        taken = f"is taken by {owners[0]}"
    elif name in (*KINDS, *FORMS) or name in Configuration.SECTIONS:
        taken = "is what ddmkit calls a kind of plugin, or a section of a configuration"
    elif find_spec(plugin.module) is not None:
        taken = f"would make a second package {plugin.module}, which is there already"
    else:
        return
    msg = f"--name {name} {taken}; choose another."
    raise ConfigurationError(msg)
