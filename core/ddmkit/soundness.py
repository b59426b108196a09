"""What makes a class a usable component, told before anybody chooses it."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import yaml
from pydantic import ValidationError

from ddmkit.component import Component
from ddmkit.errors import named


def wrong(component: object) -> str:
    """Say, in words that go on from "The plugin NAME", why something is no usable component; nothing if it is one."""
    if not (isinstance(component, type) and issubclass(component, Component)):
        return f"offers {component!r}, which is not a Component class"
    where = f"offers {component.__module__}.{component.__qualname__}"
    if shadowing := shadowing_settings(component):
        hidden = f"what every {getattr(component, 'kind', 'component')} has under that name; rename the setting"
        return f"{where}, whose setting {', '.join(shadowing)} hides {hidden}"
    missing = [attribute for attribute in ("kind", "name") if not isinstance(getattr(component, attribute, None), str)]
    missing += sorted(component.__abstractmethods__) if inspect.isabstract(component) else []
    if missing:
        return f"{where}, which lacks {', '.join(missing)}; define that in its class"
    unwritable = _unwritable(component)
    return f"{where}, {unwritable}" if unwritable else ""


def shadowing_settings(component: type[Component]) -> list[str]:
    """Return the settings of a component that hide an attribute of the classes it is made of."""
    return [field for field in component.model_fields if any(_has(base, field) for base in component.__mro__[1:])]


def _has(base: type, field: str) -> bool:
    if field in getattr(base, "model_fields", {}):  # a setting of an interface may have another default
        return False
    return field in vars(base) or field in getattr(base, "__class_vars__", ())


def _unwritable(component: type[Component]) -> str:
    """Say which default does not come back from a configuration file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, about what is found here
        try:
            made = component()
        except ValidationError as error:
            required = all(problem["type"] == "missing" for problem in error.errors())
            return "" if required else _refused(error, "made with its defaults")
        except Exception as error:  # noqa: BLE001 - a plugin may fail in any way
            return f"which cannot be made with its defaults: {named(error)}"
        return _not_coming_back(made)


def _not_coming_back(made: Component) -> str:
    types = "give it a type of numbers, words, lists or mappings"
    for field in type(made).model_fields:
        try:
            yaml.safe_dump(made.model_dump(mode="json", include={field}))
        except Exception as error:  # noqa: BLE001 - as above
            return f"whose default of {field} cannot be written as YAML ({named(error)}); {types}"
    try:
        settings: dict[str, Any] = yaml.safe_load(yaml.safe_dump(made.tree()))
        settings.pop("name")
        back = type(made).model_validate(settings)
    except ValidationError as error:
        return f"{_refused(error, 'read back from YAML')}; {types}"
    except Exception as error:  # noqa: BLE001 - as above
        return f"whose tree() is no YAML ({named(error)}); leave tree() as it is"
    changed = [field for field in type(made).model_fields if not _same(getattr(made, field), getattr(back, field))]
    return f"whose default of {', '.join(changed)} comes back from YAML changed; {types}" if changed else ""


def _same(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - an array has no one answer
        return False


def _refused(error: ValidationError, what: str) -> str:
    problem = error.errors()[0]
    field = ".".join(map(str, problem["loc"])) or "settings"
    return f"whose default of {field} cannot be {what} ({problem['msg']})"
