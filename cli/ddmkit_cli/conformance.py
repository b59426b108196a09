"""Conformance checks of what is installed, as `ddmkit plugins check` runs them."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ddmkit.errors import ConfigurationError, DeviceError, PluginError, one_line
from ddmkit.origin import title_of
from ddmkit_cli.naming import refuse_unknown
from ddmkit_cli.options import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ddmkit import Component, Registry, Tracker
    from ddmkit.configuration import Configuration
    from ddmkit.registry import Listener

_ELSEWHERE = "as it may write elsewhere than into a run's folder: its author's tests tell it of a run by ddmkit.testing"


class Subject(NamedTuple):
    """Something to check."""

    title: str
    """Kind and name."""
    names: tuple[str, ...]
    """What it may be called by."""
    package: str
    """Distribution and version that it comes from."""
    prefix: str = ""
    """What stands before the names of its settings, of a component."""
    check: Callable[[Sequence[str]], str] | None = None
    """Checks it, made with settings as given to -o; returns what is not checked, in words that go on from "is not
    checked". None: there is nothing to check but that it could be loaded."""
    fault: PluginError | None = None
    """What is known to be wrong with it."""


class Verdict(NamedTuple):
    """What a check found."""

    subject: Subject
    sentence: str
    """What fails, or what is not checked and why; empty for what keeps its promises."""
    failed: bool

    def line(self) -> str:
        """Return all of it as a line."""
        title = f"{self.subject.title} ({self.subject.package})"
        if self.failed:
            return f"✗ {title}: {self.sentence}"
        return f"– {title} is not checked{self.sentence}" if self.sentence else f"✓ {title}"


@contextmanager
def warnings_of_loading() -> Generator[list[logging.LogRecord]]:
    """Hold back what is warned of while plugins are loaded; the caller says it, or hands it to `warn`."""
    held: list[logging.LogRecord] = []

    def hold(record: logging.LogRecord) -> bool:
        held.append(record)
        return False

    logger = logging.getLogger("ddmkit.registry")
    logger.addFilter(hold)
    try:
        yield held
    finally:
        logger.removeFilter(hold)


def warn(held: Sequence[logging.LogRecord], subjects: Sequence[Subject]) -> None:
    """Warn of plugins that are not among those checked, whose faults are told by their verdicts."""
    told = [str(subject.fault) for subject in subjects if subject.fault is not None]
    for record in held:
        if not any(fault in record.getMessage() for fault in told):
            logging.getLogger(record.name).handle(record)


def chosen(registry: Registry, names: Sequence[str], options: Sequence[str]) -> list[Subject]:
    """Return what goes by the given names; everything if there are none.

    Raises:
        UnknownComponentError: nothing goes by one of them.
        ConfigurationError: an option sets nothing of them.
    """
    subjects = list(_subjects(registry))
    for name in names:
        refuse_unknown(name, [known for subject in subjects for known in subject.names])
    found = [subject for subject in subjects if not names or set(names) & set(subject.names)]
    for option in options:
        if not any(_own(subject, [option]) for subject in found):
            free = ", ".join(dict.fromkeys(subject.prefix for subject in found if subject.prefix)) or "nothing"
            msg = f"-o {option} sets nothing that is checked; only settings of {free} may be given."
            raise ConfigurationError(msg)
    return found


def _own(subject: Subject, options: Sequence[str]) -> list[str]:
    """Return the options that set something of a component."""
    return [option for option in options if subject.prefix and key_of(option).startswith(f"{subject.prefix}.")]


def verdicts(subjects: Sequence[Subject], options: Sequence[str] = ()) -> Iterator[Verdict]:
    """Check one after the other; whatever a component does, this does not fail.

    Args:
        subjects: from `chosen`.
        options: as given to -o.

    Raises:
        ConfigurationError: a component does not go with its options.
    """
    for subject in subjects:
        if subject.fault is not None:
            yield Verdict(subject, f"it {subject.fault}.", failed=True)
        elif subject.check is None:
            yield Verdict(subject, "", failed=False)
        else:
            yield _verdict(subject, subject.check, _own(subject, options))


def _subjects(registry: Registry) -> Iterator[Subject]:
    for component in registry.components():
        package, kind = registry.package(component), component.kind
        names, check = (component.name, kind, _distribution(package)), partial(_check_component, registry, component)
        yield Subject(f"{kind} {component.name}", names, package, component.option_prefix(), check)
    for listener in registry.always_listening():
        package = listener.package
        said = partial(_check_listener, registry, listener)
        yield Subject(f"listener {listener.name}", (listener.name, _distribution(package)), package, check=said)
    for plugin, error in registry.failed:
        package = title_of(plugin) or plugin.value
        yield Subject(f"plugin {plugin.name}", (plugin.name, _distribution(package)), package, fault=error)


def _verdict(subject: Subject, check: Callable[[Sequence[str]], str], options: Sequence[str]) -> Verdict:
    try:
        return Verdict(subject, check(options), failed=False)
    except AssertionError as error:
        return Verdict(subject, one_line(error), failed=True)


def _check_component(registry: Registry, component: type[Component], options: Sequence[str]) -> str:
    """Check a component, made with some settings.

    Raises:
        AssertionError: it breaks a promise.
        ConfigurationError: it does not go with its options.
    """
    from ddmkit import Engine, Tracker
    from ddmkit.testing import check

    needed = [field for field, about in component.model_fields.items() if about.is_required()]
    if needed and not options:
        typed = " ".join(f"-o {component.option_prefix()}.{field}=VALUE" for field in needed)
        return f" without settings that have no default: ddmkit plugins check {component.name} {typed}"
    made = _made(registry, component, options)
    try:
        check(made)
        if isinstance(made, Tracker):
            return _check_tracker(registry, made)
    except (ConfigurationError, DeviceError) as error:
        # An engine, or a tracker, may be whole and miss its library, or its devices.
        if isinstance(made, Engine | Tracker):
            return f": {one_line(error)}"
        raise AssertionError(one_line(error)) from error
    return ""


def _made(registry: Registry, component: type[Component], options: Sequence[str]) -> Component:
    from ddmkit import Tracker, assembly
    from ddmkit.kinds import KINDS

    if issubclass(component, Tracker):
        (made,) = _configuration(registry, {Tracker.kind: component.name}, options).tracker
        return made
    return assembly.component(registry, KINDS[component.kind], component.name, options)


def _check_tracker(registry: Registry, tracker: Tracker) -> str:
    from ddmkit.testing.tracker import check_tracker, check_usable

    check_usable(tracker)
    if not tracker.contained:
        return f" beyond its settings, {_ELSEWHERE}.check_tracker"
    check_tracker(tracker, _configuration(registry))
    return ""


def _check_listener(registry: Registry, listener: Listener, _options: Sequence[str]) -> str:
    from ddmkit.testing import check_listener

    if not listener.contained:
        return f", {_ELSEWHERE}.check_listener"
    check_listener(listener.plugin, _configuration(registry))
    return ""


def _configuration(
    registry: Registry, names: dict[str, str] | None = None, options: Sequence[str] = ()
) -> Configuration:
    """Return what a run that is made up for listeners depends on."""
    from ddmkit import assembly

    return assembly.assemble(
        registry, base=[assembly.read_tree(registry.preset("quick"))], names=names, options=options
    )


def _distribution(package: str) -> str:
    return package.partition(" ")[0]
