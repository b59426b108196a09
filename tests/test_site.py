"""The site builds, and leaves nothing undocumented that the program knows."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml

import ddmkit
import ddmkit.testing
from ddmkit import Component, Figure, Registry, Score, assembly, events, hookspecs, memory
from ddmkit.component import Settings
from ddmkit.configuration import Configuration
from ddmkit_cli.app import app
from tests.built_site import Page, read

ROOT = Path(__file__).parents[1]
INTERFACES = [interface for interface in Component.__subclasses__() if interface.__module__.startswith("ddmkit.")]
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("ddmkit_"))
EVENTS = [
    value
    for value in vars(events).values()
    if inspect.isclass(value) and issubclass(value, tuple) and value is not tuple
]
FACTS = [*EVENTS, Figure, Score]
"""What events tell, and what stands in that."""


def build(root: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site that lies under `root` as the README says, in a real process."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site."""
    target = tmp_path_factory.mktemp("site")
    result = build(ROOT, target)
    assert result.returncode == 0, result.stderr
    return target


def plain(text: str) -> str:
    """Return a text as it reads on a page: without backticks, and with links for the pages that it names."""
    words = " ".join(text.split()).replace("`", "")
    return re.sub(r"docs/([\w-]+)\.md", lambda page: page[1].replace("-", " "), words)


def summary(thing: object) -> str:
    """Return the first line of a docstring as it reads on a page."""
    return plain((inspect.getdoc(thing) or "").partition("\n")[0])


def settings_are_told(page: Page, heading: str, prefix: str, settings: type[Settings]) -> None:
    """Check that every setting has its row, with default and description, under a heading."""
    rows = page.under(heading)
    for name, field in settings.model_fields.items():
        values, default, about = rows[f"{prefix}.{name}"]
        assert values
        assert yaml.safe_load(f"[{default}]") == as_list(field.get_default(call_default_factory=True))
        assert about == plain(field.description or "")


def as_list(value: object) -> list[object]:
    """Return a default as it is typed, which for one value is itself."""
    return list(value) if isinstance(value, tuple | list) else [value]


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.kind)
def test_the_page_of_a_kind_tells_of_every_component_and_setting(site: Path, interface: type[Component]) -> None:
    page, registry = read(site / "reference" / f"{interface.kind}.html"), Registry()
    for name in registry.names(interface):
        component = registry.get(interface, name)
        assert name in page.headings
        assert page.under("What is installed")[name] == (summary(component), registry.package(component))
        settings_are_told(page, name, component.option_prefix(), component)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.kind)
def test_the_page_of_a_kind_tells_of_its_interface_and_its_check(site: Path, interface: type[Component]) -> None:
    page = read(site / "reference" / f"{interface.kind}.html")
    public = [name for name in vars(interface) if not name.startswith("_") and inspect.getdoc(vars(interface)[name])]
    for name in public:
        member = vars(interface)[name]
        if callable(member) or isinstance(member, property):
            assert f"{interface.__name__}.{name}" in page.headings
            assert page.says(summary(member))
    for line in (inspect.getdoc(import_module(interface.__module__)) or "").partition("::\n")[2].splitlines():
        assert page.says(line), line
    assert f"check_{interface.kind}" in page.headings


def test_every_section_of_a_configuration_is_told_with_its_settings(site: Path) -> None:
    page = read(site / "reference" / "configuration.html")
    for name, section in Configuration.SECTIONS.items():
        assert page.says(summary(section))
        settings_are_told(page, name, name, section)
    assert {"seed", "data"} <= set(page.under("Sections of a configuration"))


def test_every_preset_is_told_whole(site: Path) -> None:
    page = read(site / "reference" / "presets.html")
    for name, path in Registry().presets().items():
        assert name in page.headings
        assert page.says(f"ddmkit train --preset {name}")
        for line in path.read_text(encoding="utf-8").splitlines():
            assert page.says(line.removeprefix("# ")), line


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command by what is typed for it."""
    waiting: list[tuple[str, Any]] = [("ddmkit", typer.main.get_command(app))]
    while waiting:
        path, command = waiting.pop()
        yield path, command
        waiting += [(f"{path} {name}", child) for name, child in getattr(command, "commands", {}).items()]


COMMANDS = dict(commands())


@pytest.mark.parametrize("typed", COMMANDS)
def test_every_command_is_told_with_its_options_and_examples(site: Path, typed: str) -> None:
    command = COMMANDS[typed]
    page = read(site / "reference" / "commands.html")
    assert typed in page.headings
    assert page.says((command.help or "").partition("\n")[0])
    told = {first.partition(" ")[0].strip("[]."): rest for first, rest in page.under(typed).items()}
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        name = (parameter.metavar or parameter.name) if argument else parameter.opts[0]
        [about] = told[name]
        assert parameter.help in about
    for example in re.findall(r"\[bold\](.*?)\[/bold\]", command.epilog or ""):
        assert page.says(example)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_told_with_its_arguments(site: Path, hook: str) -> None:
    specification = getattr(hookspecs, hook)
    arguments = inspect.signature(specification).parameters
    page = read(site / "reference" / (f"events/{hook}.html" if arguments else "hooks.html"))
    assert hook in page.headings
    assert page.says(summary(specification))
    assert page.says(f"def {hook}{inspect.signature(specification)}".replace("'", ""))
    if arguments:
        told = {name: about for name, (about,) in page.under(hook).items()}
        assert told == {"argument": "type", **{name: str(of.annotation) for name, of in arguments.items()}}
        assert ("a", f"events/{hook}.html") in read(site / "reference" / "hooks.html").targets
        example = (inspect.getdoc(specification) or "").partition("::\n")[2]
        assert "@hookimpl" in example
        for line in example.splitlines():
            assert page.says(line), line


def told_by(hook: str) -> set[str]:
    """Return the facts that an event's arguments hold, and those that their fields hold in turn."""
    kinds = {fact.__name__: fact for fact in FACTS}
    found: set[str] = set()
    waiting = " ".join(str(of.annotation) for of in inspect.signature(getattr(hookspecs, hook)).parameters.values())
    while new := set(re.findall(r"\w+", waiting)) & kinds.keys() - found:
        found |= new
        waiting = " ".join(str(kind) for name in new for kind in kinds[name].__annotations__.values())
    return found


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if inspect.signature(getattr(hookspecs, hook)).parameters])
def test_the_page_of_an_event_tells_every_field_of_all_that_it_tells(site: Path, hook: str) -> None:
    page, kinds = read(site / "reference" / "events" / f"{hook}.html"), {fact.__name__: fact for fact in FACTS}
    assert "Run" in told_by(hook)
    for name in told_by(hook):
        rows = page.under(name)
        fields: tuple[str, ...] = getattr(kinds[name], "_fields")  # noqa: B009 - of every NamedTuple, which no type says
        assert tuple(rows) == ("attribute", *fields)
        assert all(kind and about for kind, about in rows.values())


@pytest.mark.parametrize("event", FACTS, ids=lambda event: event.__name__)
def test_every_field_of_an_event_is_told_with_its_meaning(site: Path, event: type[tuple[object, ...]]) -> None:
    pages = [read(path) for path in (site / "reference" / "events").glob("*.html")]
    telling = [rows for page in pages if (rows := page.under(event.__name__))]
    assert telling
    fields: tuple[str, ...] = getattr(event, "_fields")  # noqa: B009 - of every NamedTuple, which no type says
    for rows in telling:
        assert tuple(rows) == ("attribute", *fields)
        assert all(kind and about for kind, about in rows.values())


@pytest.mark.parametrize(
    ("page", "module"),
    [("ddmkit", ddmkit), ("testing", ddmkit.testing), ("ddmkit", events), ("ddmkit", assembly), ("ddmkit", memory)],
)
def test_every_name_that_a_plugin_may_import_is_told(site: Path, page: str, module: ModuleType) -> None:
    found = read(site / "reference" / f"{page}.html")
    listed = {row.cells[0] for row in found.rows} | set(found.headings)
    assert [name for name in vars(module)["__all__"] if name not in listed] == []


def test_every_link_leads_somewhere_and_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        if path.name == "404.html":  # whose links begin at the root of a server
            continue
        for tag, target in read(path).targets:
            parts = urlsplit(target)
            if parts.scheme:
                assert tag == "a", f"{path.name} fetches {target}"
                continue
            aimed = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            aimed = aimed / "index.html" if aimed.is_dir() else aimed
            assert aimed.is_file(), f"{path.name}: {target}"
            if parts.fragment and aimed.suffix == ".html":
                assert unquote(parts.fragment) in read(aimed).anchors, f"{path.name}: {target}"


def test_a_link_to_nowhere_ends_the_build(tmp_path: Path) -> None:
    """The site's own settings, for two pages of which one is left out of the navigation."""
    settings = {"INHERIT": str(ROOT / "mkdocs.yml"), "hooks": [], "extra_css": [], "nav": ["index.md"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(
        "# One\n\n[page](no-such-page.md), [heading](other.md#no-such-heading)\n"
    )
    (tmp_path / "docs" / "other.md").write_text("# Other\n")
    result = build(tmp_path, tmp_path / "site")
    assert result.returncode != 0
    assert "no-such-page.md" in result.stderr
    assert "no-such-heading" in result.stderr
    assert "other.md" in result.stderr.partition("no-such")[0]
