"""The trackers of a configuration as a tree: settings by tracker, since a run may have several."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ddmkit.errors import ConfigurationError, DdmkitError, named
from ddmkit.origin import package_of
from ddmkit.spelling import nearest
from ddmkit.tracker import NO_TRACKER, Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ddmkit.registry import Registry

_log = logging.getLogger(__name__)

Trackers = dict[str, dict[str, Any]]
"""Settings by name, of a tracker by its name."""


def trackers_of(part: Any) -> Trackers:  # noqa: ANN401 - whatever stood in the user's YAML
    """Return what a configuration says of trackers; one with nothing after its name has no settings.

    Raises:
        ConfigurationError: it is no mapping of names to settings.
    """
    if not isinstance(part, dict) or not all(isinstance(settings, dict | None) for settings in part.values()):
        msg = f"tracker must be a mapping of names to settings, such as 'tracker: {{tensorboard: {{}}}}', not {part!r}."
        raise ConfigurationError(msg)
    return {str(name): dict(settings or {}) for name, settings in part.items()}


def merged(old: Trackers, new: Trackers) -> Trackers:
    """Return the trackers of both, with the settings of `new` over those of `old`."""
    return {**old, **{name: {**old.get(name, {}), **settings} for name, settings in new.items()}}


def chosen(there: Trackers, names: str) -> Trackers:
    """Return the trackers that are named, "a,b" or "none", and no others; those that are there keep their settings."""
    listed = [] if names.strip() == NO_TRACKER else [name.strip() for name in names.split(",")]
    return {name: there.get(name, {}) for name in listed}


def setting(option: str, place: str, value: Any, there: Trackers) -> Trackers:  # noqa: ANN401 - whatever was typed
    """Return what one option sets.

    Args:
        option: as given to -o.
        place: "name.field" of it.
        value: of it.
        there: trackers that are chosen.

    Raises:
        ConfigurationError: it sets nothing of a tracker that is chosen.
    """
    name, dot, field = place.partition(".")
    if not (dot and field):
        msg = f"-o {option}: a tracker's setting is typed tracker.NAME.FIELD=VALUE; choose trackers by --tracker NAME."
        raise ConfigurationError(msg)
    if name not in there:
        near = nearest(name, there)
        advice = f"did you mean tracker.{near}.{field}?" if near else f"add --tracker {','.join([*there, name])}."
        msg = f"-o {option}: no tracker {name!r} is chosen; {advice}"
        raise ConfigurationError(msg)
    return {name: {field: value}}


def installed(registry: Registry, there: Trackers, packages: Mapping[str, str]) -> Trackers:
    """Leave out, with a warning, trackers that are not here: they change no result of the run that they followed.

    Args:
        registry: where trackers are found.
        there: those of the run.
        packages: what each came with, by "tracker/name", as far as it is known.
    """
    known = registry.names(Tracker)
    came = {name: packages.get(f"{Tracker.kind}/{name}") for name in there if name not in known}
    missing = [f"{name} of {package}" if package else name for name, package in came.items()]
    if missing:
        _log.warning("The run's trackers %s are not installed here; going on without them.", ", ".join(missing))
    return {name: settings for name, settings in there.items() if name in known}


def refuse_unusable(trackers: Iterable[Tracker]) -> None:
    """Ask each tracker whether it can work here.

    Raises:
        ConfigurationError: one cannot, or fails while it is asked.
    """
    for tracker in trackers:
        try:
            tracker.check()
        except DdmkitError:
            raise
        except (Exception, SystemExit) as error:
            msg = (
                f"{titled(tracker)} cannot be used: its check() fails with {named(error).removesuffix('.')}; leave "
                f"{tracker.name} out of --tracker (none is --tracker none), or tell its author."
            )
            raise ConfigurationError(msg) from error


def titled(tracker: Tracker) -> str:
    """Return what a tracker is called where it fails: by its name, and by its package, whose authors can mend it."""
    return f"The tracker {tracker.name} of {package_of(type(tracker))}"
