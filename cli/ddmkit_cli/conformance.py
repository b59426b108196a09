"""Conformance checks of what is installed, as `ddmkit plugins check` runs them."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, NamedTuple

from ddmkit.errors import ConfigurationError, DeviceError, named, one_line
from ddmkit.origin import title_of
from ddmkit_cli.naming import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ddmkit import Component, Registry


class Subject(NamedTuple):
    """Something to check."""

    title: str
    """Kind and name."""
    names: tuple[str, ...]
    """What it may be called by."""
    package: str
    """Distribution and version that it comes from."""
    component: type[Component] | None = None
    """None: there is nothing to check but that it could be loaded."""
    fault: str = ""
    """What is known to be wrong with it."""


class Verdict(NamedTuple):
    """What a check found."""

    subject: Subject
    sentence: str
    """What fails, or why it could not be checked; empty for what keeps its promises."""
    failed: bool

    def line(self) -> str:
        """Return all of it as a line."""
        title = f"{self.subject.title} ({self.subject.package})"
        if self.failed:
            return f"✗ {title}: {self.sentence}"
        return f"– {title} is not checked: {self.sentence}" if self.sentence else f"✓ {title}"


def chosen(registry: Registry, names: Sequence[str]) -> list[Subject]:
    """Return what goes by the given names; everything if there are none.

    Raises:
        UnknownComponentError: nothing goes by one of them.
    """
    subjects = list(_subjects(registry))
    for name in names:
        refuse_unknown(name, [known for subject in subjects for known in subject.names])
    return [subject for subject in subjects if not names or set(names) & set(subject.names)]


def verdicts(subjects: Sequence[Subject]) -> Iterator[Verdict]:
    """Check one after the other; whatever a component does, this does not fail."""
    for subject in subjects:
        if subject.fault or subject.component is None:
            yield Verdict(subject, subject.fault, failed=bool(subject.fault))
        else:
            yield _verdict(subject, subject.component)


def _subjects(registry: Registry) -> Iterator[Subject]:
    for component in registry.components():
        package = registry.package(component)
        names = (component.name, component.kind, _distribution(package))
        yield Subject(f"{component.kind} {component.name}", names, package, component)
    for listener in registry.always_listening():
        yield Subject(f"listener {listener.name}", (listener.name, _distribution(listener.package)), listener.package)
    for plugin, error in registry.failed:
        package = title_of(plugin) or plugin.value
        yield Subject(f"plugin {plugin.name}", (plugin.name, _distribution(package)), package, fault=f"it {error}.")


def _verdict(subject: Subject, component: type[Component]) -> Verdict:
    from ddmkit import Engine
    from ddmkit.testing import check

    try:
        check(component)
    except AssertionError as error:
        return Verdict(subject, one_line(error) or f"its check ends with a bare assert {_place(error)}.", failed=True)
    except (ConfigurationError, DeviceError) as error:
        # An engine may be whole and miss its library, or its devices.
        return Verdict(subject, one_line(error), failed=not issubclass(component, Engine))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way
        said = f"its check ends with {named(error)} ({_place(error)})"
        return Verdict(subject, said, failed=True)
    return Verdict(subject, "", failed=False)


def _distribution(package: str) -> str:
    return package.partition(" ")[0]


def _place(error: BaseException) -> str:
    """Return where an error arose."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"in {last.filename}, line {last.lineno}"
