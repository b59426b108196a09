"""Make a configuration from a preset, a file, chosen names and single settings, in this order of precedence."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import ValidationError

from ddmkit import tracking
from ddmkit.component import Component, Settings
from ddmkit.configuration import INTERFACES, Configuration
from ddmkit.errors import ConfigurationError, UnknownComponentError, one_line
from ddmkit.kinds import KINDS
from ddmkit.spelling import did_you_mean
from ddmkit.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ddmkit.registry import Registry

__all__ = ["Tree", "assemble", "component", "make", "read_tree", "write_tree"]

Tree = dict[str, Any]
"""A configuration, or a part of one, as YAML has it."""
S = TypeVar("S", bound=Settings)
C = TypeVar("C", bound=Component)

_KINDS = {interface.kind: interface for interface in INTERFACES}
_TRACKER = Tracker.kind
_NO_LIST = {"tuple_type", "list_type", "set_type", "frozen_set_type"}
"""What pydantic calls a value where a list is due."""


def assemble(
    registry: Registry,
    *,
    base: Sequence[Tree] = (),
    names: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> Configuration:
    """Build a configuration.

    Args:
        registry: where components are found.
        base: trees from `read_tree`, later ones over earlier ones.
        names: a component's name per kind. Settings made for another component of that kind are kept as far as
            the named one has them, so that `--backbone unet3d-concat` keeps a preset's width. Of trackers, "a,b" or
            "none" are all there are to be; each keeps its settings.
        options: "kind.field=value", "section.field=value" or "tracker.name.field=value", value in YAML; "a,b,c" is a
            list.

    Raises:
        ConfigurationError: something is unknown, missing or out of range.
    """
    tree: Tree = {}
    for layer in base:
        _merge(registry, tree, copy.deepcopy(layer))
    chosen = dict(names or {})
    trackers = chosen.pop(_TRACKER, None)
    _merge(registry, tree, {kind: {"name": name} for kind, name in chosen.items()})
    if trackers is not None:
        tree[_TRACKER] = tracking.chosen(tree.get(_TRACKER, {}), trackers)
    for option in options:
        _refuse_bare_kind(registry, option)
        _merge(registry, tree, _parse(option, tree))
    return build(registry, tree)


def build(registry: Registry, tree: Tree) -> Configuration:
    """Build a configuration from one complete tree.

    Raises:
        ConfigurationError: something is unknown, missing or out of range.
    """
    values: Tree = {}
    _refuse_strangers(tree)
    for key, part in tree.items():
        if key in _KINDS:
            values[key] = component(registry, _KINDS[key], part)
        elif key in Configuration.SECTIONS:
            values[key] = make(Configuration.SECTIONS[key], key, part)
        elif key == _TRACKER:
            values[key] = _trackers(registry, part)
        else:
            values[key] = part
    missing = [kind for kind in _KINDS if kind not in values]
    if missing:
        msg = f"The configuration names no {missing[0]}: add --{missing[0]} NAME, or start from a --preset."
        raise ConfigurationError(msg)
    return make(Configuration, "", values)


def typed(component: Component) -> list[str]:
    """Return what chooses a component and its settings on a command line: ["--dataset", "folders", "-o", …]."""
    options = [word for option in options_of(component).values() for word in ("-o", option)]
    return [f"--{component.kind}", component.name, *options]


def name_of(part: Any) -> str | None:  # noqa: ANN401 - whatever stood in the user's YAML
    """Return the name of a component as a tree has it, alone or beside its settings; None where it has none."""
    name = part.get("name") if isinstance(part, dict) else part
    return name if isinstance(name, str) else None


def options_of(component: Component) -> dict[str, str]:
    """Return what gives a component those of its settings that are no defaults, as given to -o, by their names."""
    changed = component.model_dump(mode="json", exclude_defaults=True)
    return {field: f"{component.option_prefix()}.{field}={_text(value)}" for field, value in changed.items()}


def read_tree(path: Path) -> Tree:
    """Read a preset or a configuration file, or that of a run's folder.

    Raises:
        ConfigurationError: it is not there, not YAML or not a mapping.
    """
    if path.is_dir():
        path /= "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"Cannot read the configuration {path}: {_reason(error)}."
        raise ConfigurationError(msg) from error
    if not isinstance(tree, dict):
        msg = f"The configuration {path} is not a mapping of sections such as 'training:' to their settings."
        raise ConfigurationError(msg)
    _refuse_strangers(tree, f"In the configuration {path}, ")
    return tree


def _reason(error: OSError | ValueError | yaml.YAMLError) -> str:
    """Return what is wrong with a file, in a few words."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"it is not YAML from line {mark.line + 1}, column {mark.column + 1} on ({error.problem})"
    return (isinstance(error, OSError) and error.strerror) or one_line(error)


def _refuse_strangers(tree: Mapping[Any, Any], where: str = "") -> None:
    """Make sure that a tree has no part that a configuration has not, before what it lacks is asked for."""
    known = list(Configuration.model_fields)
    for key in tree:
        if key not in known:
            msg = f"{where}{_no_setting(str(key), str(key), known)}"
            raise ConfigurationError(msg)


def write_tree(tree: Tree) -> str:
    """Return a configuration as YAML, in the order it is given."""
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120)


def make(cls: type[S], prefix: str, values: Any) -> S:  # noqa: ANN401 - whatever stood in the user's YAML
    """Build frozen settings, turning pydantic's report into one sentence.

    Raises:
        ConfigurationError: a setting is unknown or its value is not allowed.
    """
    if not isinstance(values, dict):
        msg = f"{prefix or 'The configuration'} must be a mapping of settings to values, not {values!r}."
        raise ConfigurationError(msg)
    try:
        return _validated(cls, values)
    except ValidationError as error:
        raise ConfigurationError(_sentence(cls, prefix, error)) from error


def _validated(cls: type[S], values: Tree) -> S:
    """Build settings, where one word or number stands for a list of it: that is how a list of one is typed."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        lists = {problem["loc"][0] for problem in error.errors() if problem["type"] in _NO_LIST}
        single = {
            key: [value] for key, value in values.items() if key in lists and isinstance(value, str | int | float)
        }
        with suppress(ValidationError):
            return cls.model_validate({**values, **single})
        raise


def component(
    registry: Registry,
    interface: type[C],
    part: Any,  # noqa: ANN401 - as above
    options: Sequence[str] = (),
) -> C:
    """Build a component from its name, or from a mapping of its name and settings, and from options over them.

    Raises:
        ConfigurationError: it is unknown, or one of its settings is.
    """
    kind, name = interface.kind, name_of(part)
    if name is None:
        msg = f"The {kind} must have a name, such as '{kind}: {{name: …}}', not {part!r}."
        raise ConfigurationError(msg)
    tree: Tree = {kind: part if isinstance(part, dict) else {"name": name}}
    for option in options:
        _refuse_bare_kind(registry, option)
        _merge(registry, tree, _parse(option, tree))
    values = {key: value for key, value in tree[kind].items() if key != "name"}
    chosen = registry.get(interface, name)
    for field in values:
        if field not in chosen.model_fields:
            raise ConfigurationError(_stranger(chosen, str(field), registry))
    return make(chosen, chosen.option_prefix(), values)


def _trackers(registry: Registry, part: Any) -> tuple[Tracker, ...]:  # noqa: ANN401 - as above
    parts = tracking.trackers_of(part)
    return tuple(component(registry, Tracker, {**settings, "name": name}) for name, settings in parts.items())


def _stranger(chosen: type[Component], field: str, registry: Registry) -> str:
    """Say that a component has no such setting, and which of its kind has."""
    kind = chosen.kind
    owners = [cls.name for cls in registry.components() if cls.kind == kind and field in cls.model_fields]
    meant = f" It is one of {', '.join(owners)}: add --{kind} {owners[0]}." if owners else ""
    return _no_setting(
        f"{chosen.option_prefix()}.{field}", field, list(chosen.model_fields), f" of {chosen.name}", meant
    )


def section(cls: type[S], name: str, options: Sequence[str]) -> S:
    """Build one section of a configuration from options alone.

    Args:
        cls: its settings.
        name: of the section.
        options: "section.field=value", all of this section.

    Raises:
        ConfigurationError: a setting is unknown or its value is not allowed.
    """
    values: Tree = {}
    for option in options:
        values |= _parse(option, {})[name]
    return make(cls, name, values)


def _merge(registry: Registry, tree: Tree, layer: Tree) -> None:
    for key, part in layer.items():
        if key == _TRACKER:
            tree[key] = tracking.merged(tree.get(key, {}), tracking.trackers_of(part))
            continue
        old = tree.get(key)
        new = {"name": part} if key in _KINDS and isinstance(part, str) else part
        if not (isinstance(old, dict) and isinstance(new, dict)):
            tree[key] = new
            continue
        if key in _KINDS and isinstance(new.get("name"), str) and new["name"] != old.get("name", new["name"]):
            known = registry.get(_KINDS[key], new["name"]).model_fields
            old = {field: value for field, value in old.items() if field in known}
        tree[key] = {**old, **new}


def _refuse_bare_kind(registry: Registry, option: str) -> None:
    """Tell how a component is chosen where an option has its name for a setting, as in -o sampler=heun."""
    kind, _, name = (part.strip() for part in option.partition("="))
    if kind not in KINDS or not name:
        return
    try:
        registry.get(KINDS[kind], name)
    except UnknownComponentError as error:
        msg = f"-o {option}: {error} Choose by --{kind} NAME."
        raise UnknownComponentError(msg) from error
    msg = f"-o {option} sets nothing: choose {name} by --{kind} {name}, and its settings by -o KIND.FIELD=VALUE."
    raise ConfigurationError(msg)


def _parse(option: str, tree: Tree) -> Tree:
    key, equals, text = option.partition("=")
    part, dot, field = key.strip().partition(".")
    if not (equals and dot and field):
        msg = f"-o takes KIND.FIELD=VALUE, such as -o training.steps=500; you gave {option!r}."
        raise ConfigurationError(msg)
    known = [*_KINDS, _TRACKER, *Configuration.SECTIONS]
    if part not in known:
        msg = f"-o {option}: there is no {part!r} to set.{did_you_mean(part, known)} Known: {', '.join(known)}."
        raise ConfigurationError(msg)
    if part in _KINDS and part not in tree:
        msg = f"-o {option}: no {part} is chosen; add --{part} NAME."
        raise ConfigurationError(msg)
    listed = "," in text and not text.lstrip().startswith(("[", "{", "'", '"'))
    try:
        value = yaml.safe_load(f"[{text}]" if listed else text)
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        msg = f"-o {option}: the value is not YAML; quote it, or write lists as a,b,c."
        raise ConfigurationError(msg) from error
    if part == _TRACKER:
        return {part: tracking.setting(option, field, value, tree.get(part, {}))}
    return {part: {field: value}}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a setting may be
    """Return what `_parse` reads as a value."""
    plain = str(value)
    with suppress(yaml.YAMLError, ValueError):
        if "," not in plain and yaml.safe_load(plain) == value:
            return plain
    return json.dumps(value, ensure_ascii=False)


def _sentence(cls: type[Settings], prefix: str, error: ValidationError) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    where = ".".join([prefix, *location[:1]] if prefix else location[:1])
    fields = list(cls.model_fields)
    if location and location[0] not in fields:
        return _no_setting(where, location[0], fields)
    reason = first["msg"].removeprefix("Value error, ")
    if not location:  # a rule over several fields says all there is to say
        return f"{prefix}: {reason}." if prefix else f"{reason}."
    if first["type"] in _NO_LIST:
        reason = "it should be a list, which is typed a,b,c"
    if first["type"] == "missing":
        if len(location) == 1:
            return f"{where} has no default: add -o {where}=VALUE."
        reason = "a value is missing"
    description = cls.model_fields[location[0]].description
    return f"{where}={first['input']!r}: {reason}." + (f" ({description})" if description else "")


def _no_setting(where: str, name: str, known: Sequence[str], owner: str = "", meant: str = "") -> str:
    """Say that there is no such setting, what may be meant by it, by default the nearest, and which ones there are."""
    return f"{where} is no setting{owner}.{meant or did_you_mean(name, known)} Settings: {', '.join(known) or 'none'}."
