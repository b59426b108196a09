"""What the source says of a class, a function or a name: read with Griffe, nothing is imported for it."""

from __future__ import annotations

import re
from functools import cache
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import griffe

from ddmkit_docs.text import fence, page, prose, table

if TYPE_CHECKING:
    from collections.abc import Iterable

_END_OF_HEAD = re.compile(r": *(?:#[^\n]*)?\n")
_QUOTES = "'"
"""Around a type that only a type checker evaluates."""


@cache
def _package(name: str) -> griffe.Object | griffe.Alias:
    """Read all of an installed package."""
    return griffe.load(name, docstring_parser="google")


def found(path: str) -> griffe.Object:
    """Return the object of a dotted path, wherever it is defined."""
    name, _, rest = path.partition(".")
    target = _package(name)[rest] if rest else _package(name)
    return target.final_target if isinstance(target, griffe.Alias) else target


def own(module: str) -> list[griffe.Object]:
    """Return what a module itself defines for others, in the order of its source."""
    members = found(module).members.values()
    return [
        member for member in members if isinstance(member, griffe.Object) and member.is_public and not member.is_module
    ]


def entry(thing: griffe.Object, level: int, owner: str = "", skipped: Iterable[str] = ()) -> str:
    """Return a thing's heading, signature and docstring, and those of a class's members.

    Args:
        thing: a class, a function or a name.
        level: of the heading.
        owner: the class whose member it is.
        skipped: members of a class that are told elsewhere.
    """
    heading = f"{'#' * level} {owner}{thing.name}"
    match thing:
        case griffe.Class():
            return page(heading, fence(_class_line(thing)), documentation(thing), _members(thing, level, skipped))
        case griffe.Function():
            return page(heading, fence(_function_line(thing)), _duty(thing), documentation(thing))
        case griffe.Attribute() if "property" in thing.labels:
            line = f"@property\ndef {thing.name}(self) -> {thing.annotation}"
            return page(heading, fence(line), _duty(thing), documentation(thing))
        case griffe.Attribute():
            return page(heading, fence(_attribute_line(thing)), documentation(thing))
        case _:
            return page(heading, documentation(thing))


def documentation(thing: griffe.Object) -> str:
    """Return a docstring as Markdown, with its arguments, returns and errors as lists."""
    if thing.docstring is None:
        return ""
    return "\n\n".join(
        prose(str(section.value)) if section.kind is griffe.DocstringSectionKind.text else _block(section)
        for section in thing.docstring.parsed
    )


def _block(section: griffe.DocstringSection) -> str:
    items = [_item(item, section.kind) for item in section.value]
    return "\n".join([f"**{section.kind.value.title()}**", "", *items])


def _item(item: Any, kind: griffe.DocstringSectionKind) -> str:  # noqa: ANN401 - each section has items of its own
    label = item.name if kind is griffe.DocstringSectionKind.parameters else ""
    if kind is griffe.DocstringSectionKind.raises:
        label = str(item.annotation).strip("()")
    return f"- {f'`{label}`: ' if label else ''}{' '.join(prose(item.description).split())}"


def _members(thing: griffe.Class, level: int, skipped: Iterable[str]) -> str:
    told = set(skipped)
    members = [
        member
        for name, member in thing.members.items()
        if isinstance(member, griffe.Object) and member.is_public and not name.startswith("_") and name not in told
    ]
    plain = [member for member in members if isinstance(member, griffe.Attribute) and "property" not in member.labels]
    others = [member for member in members if member not in plain]
    entries = [entry(member, level + 1, f"{thing.name}.") for member in others]
    return page(_attributes(thing, plain), *entries).strip()


def _attributes(thing: griffe.Class, attributes: Iterable[griffe.Attribute]) -> str:
    """Return a table: all fields of a tuple or a dictionary, and of other classes what is said something of."""
    all_count = not {"NamedTuple", "TypedDict"}.isdisjoint(map(str, thing.bases))
    rows = [
        (f"`{attribute.name}`", f"`{attribute.annotation}`", documentation(attribute))
        for attribute in attributes
        if all_count or attribute.docstring is not None
    ]
    return table(("attribute", "type", "what it is"), rows) if rows else ""


def _duty(thing: griffe.Object) -> str:
    return "*A plugin defines it.*" if "abstractmethod" in thing.labels else ""


def _class_line(thing: griffe.Class) -> str:
    bases = ", ".join(map(str, thing.bases))
    return f"class {thing.name}({bases})" if bases else f"class {thing.name}"


def _function_line(thing: griffe.Function) -> str:
    """Return the lines of the source from `def` to the colon."""
    source = dedent(thing.source)
    head = _END_OF_HEAD.split(source[source.index("def ") :], maxsplit=1)[0]
    return f"@classmethod\n{head}" if "classmethod" in thing.labels else head


def _attribute_line(thing: griffe.Attribute) -> str:
    return f"{thing.name} = {str(thing.value).strip(_QUOTES)}"
