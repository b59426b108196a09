"""What makes a class a usable component, told before anybody chooses it."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from ddmkit.component import Component
from ddmkit.errors import named
from ddmkit.kinds import KINDS
from ddmkit.spelling import nearest
from ddmkit.tracker import NO_TRACKER, Tracker

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PLAIN_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""A name that is typed without quotes, and that a package may be called by."""
_NAME = re.compile(rf"{PLAIN_NAME.pattern}\+*")  # as dpm-solver++ is called by its authors
A_NAME = "small letters, digits and single hyphens between them, a letter first"
"""The same in words."""
# Those of LibYAML where PyYAML has it, five times as fast, as every command looks at all components; they tell types
# apart as those do by which a configuration is read and written.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_OWN_DEFAULT = "give it a default that its own type and range allow"
_PLAIN_TYPE = "give it a type of numbers, words, lists or mappings"


def wrong(component: object) -> str:
    """Say, in words that go on from "The plugin NAME", why something is no usable component; nothing if it is one."""
    if not (isinstance(component, type) and issubclass(component, Component)):
        return _no_class(component)
    faults = (look(component) for look in (_shadowing, _of_no_kind, _lacking, _misnamed, _unwritable))
    fault = next(filter(None, faults), "")
    return f"offers {component.__module__}.{component.__qualname__}, {fault}" if fault else ""


def _no_class(offered: object) -> str:
    if isinstance(offered, Component):
        name = type(offered).__name__
        return f"offers an instance of {name}, which is not a Component class; give the class: {name}, without ()"
    return f"offers {offered!r}, which is not a Component class; list classes derived from ddmkit.Sampler or its like"


def _shadowing(component: type[Component]) -> str:
    """Say which settings hide an attribute of the classes that a component is made of."""
    hiding = [field for field in component.model_fields if any(_has(base, field) for base in component.__mro__[1:])]
    if not hiding:
        return ""
    meant = [_class_variable(field, component.model_fields[field]) for field in hiding if _forgotten(component, field)]
    advice = f"write {' and '.join(meant)}" if len(meant) == len(hiding) else "rename the setting"
    kind = getattr(component, "kind", "component")
    return f"whose setting {', '.join(hiding)} hides what every {kind} has under that name; {advice}"


def _has(base: type, field: str) -> bool:
    if field in getattr(base, "model_fields", {}):  # a setting of an interface may have another default
        return False
    return field in vars(base) or field in getattr(base, "__class_vars__", ())


def _forgotten(component: type[Component], field: str) -> bool:
    """Tell whether a setting is a class variable whose ClassVar was forgotten: a setting has a description."""
    of_class = any(field in getattr(base, "__class_vars__", ()) for base in component.__mro__[1:])
    return of_class and component.model_fields[field].description is None


def _class_variable(name: str, field: FieldInfo) -> str:
    """Return how a field is written that is meant to be a class variable."""
    of_type = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    return f"{name}: ClassVar[{of_type}] = {'…' if field.is_required() else repr(field.default)}"


def _of_no_kind(component: type[Component]) -> str:
    """Say why a component is of none of the kinds that there are."""
    kind = getattr(component, "kind", None)
    interface = KINDS.get(kind) if isinstance(kind, str) else None
    if interface is not None and issubclass(component, interface):
        return ""
    own = next((one for one in KINDS.values() if issubclass(component, one)), None)
    meant = interface or own or KINDS.get(nearest(str(kind), KINDS) or "")
    whose = "which has no kind" if kind is None else f"whose kind {kind!r} is none"
    if interface is not None:
        whose = f"whose kind is {kind!r}, but which is not derived from {_public(interface)}"
    derive = f"derive it from {_public(meant)}" if meant is not None else "derive it from the interface of its kind"
    kinds = ", ".join(f"{name} ({_public(one)})" for name, one in KINDS.items())
    return f"{whose}; {derive}, which says the kind; the kinds are {kinds}"


def _public(interface: type[Component]) -> str:
    """Return an interface as authors import it."""
    return f"ddmkit.{interface.__name__}"


def _lacking(component: type[Component]) -> str:
    missing = [] if isinstance(getattr(component, "name", None), str) else ["name"]
    missing += sorted(component.__abstractmethods__) if inspect.isabstract(component) else []
    return f"which lacks {', '.join(missing)}; define that in its class" if missing else ""


def _misnamed(component: type[Component]) -> str:
    """Say why nobody can type a component's name."""
    if component.kind == Tracker.kind and component.name == NO_TRACKER:
        return f"whose name is what is typed for no tracker, --tracker {NO_TRACKER}; choose another"
    if _NAME.fullmatch(component.name):
        return ""
    return (
        f"whose name {component.name!r} is none that can be typed anywhere; give {A_NAME}, such as my-{component.kind}"
    )


def _unwritable(component: type[Component]) -> str:
    """Say which default does not come back from a configuration file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about what is found here
        try:
            made = component()
        except ValidationError as error:
            required = all(problem["type"] == "missing" for problem in error.errors())
            return "" if required else f"{_refused(error, 'made with its defaults')}; {_OWN_DEFAULT}"
        except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
            return f"which cannot be made with its defaults: {named(error)}"
        return _not_coming_back(made)


def _not_coming_back(made: Component) -> str:
    try:
        settings: dict[str, Any] = yaml.load(_written(made.tree()), Loader=_LOADER)  # noqa: S506 - a safe one
        settings.pop("name")
        back = type(made).model_validate(settings)
    except ValidationError as error:
        advice = _PLAIN_TYPE if _allows_its_defaults(made) else _OWN_DEFAULT
        return f"{_refused(error, 'read back from YAML')}; {advice}"
    except Exception as error:  # noqa: BLE001 - as above
        return _not_written(made) or f"whose tree() is no YAML ({named(error)}); leave tree() as it is"
    changed = [field for field in type(made).model_fields if not _same(getattr(made, field), getattr(back, field))]
    return f"whose default of {', '.join(changed)} comes back from YAML changed; {_PLAIN_TYPE}" if changed else ""


def _not_written(made: Component) -> str:
    """Say which default it is that cannot be written."""
    for field in type(made).model_fields:
        try:
            _written(made.model_dump(mode="json", include={field}))
        except Exception as error:  # noqa: BLE001 - as above
            return f"whose default of {field} cannot be written as YAML ({named(error)}); {_PLAIN_TYPE}"
    return ""


def _written(tree: dict[str, Any]) -> str:
    text: str = yaml.dump(tree, Dumper=_DUMPER)
    return text


def _allows_its_defaults(made: Component) -> bool:
    try:
        type(made).model_validate(dict(made))
    except ValidationError:
        return False
    return True


def _same(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - an array has no one answer
        return False


def _refused(error: ValidationError, what: str) -> str:
    problem = error.errors()[0]
    field = ".".join(map(str, problem["loc"])) or "settings"
    return f"whose default of {field} cannot be {what} ({problem['msg'].removeprefix('Value error, ')})"
