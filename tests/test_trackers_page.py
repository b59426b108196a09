"""The tracker on the page about trackers works as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from ddmkit import Registry, Tracker
from ddmkit.assembly import assemble, read_tree
from ddmkit.events import Announcer, Report, Run, StepDone
from ddmkit_plugins import hooks

PAGE = (Path(__file__).parents[1] / "docs" / "trackers.md").read_text(encoding="utf-8")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """Return the page's Python files as modules, which can be imported, by name."""
    made: dict[str, types.ModuleType] = {}
    for path, code in re.findall(r"```python\n# (?:tests/)?(\w+)\.py\n(.*?)```", PAGE, flags=re.DOTALL):
        made[path] = types.ModuleType(path)
        monkeypatch.setitem(sys.modules, path, made[path])
        exec(code, made[path].__dict__)  # noqa: S102 - the page's own code
    return made


def test_the_tracker_on_the_page_hears_a_run(modules: dict[str, types.ModuleType], tmp_path: Path) -> None:
    registry = Registry(hooks, modules["my_table"])
    base = [read_tree(registry.preset("quick"))]
    options = ["tracker.table.every=2"]
    configuration = assemble(registry, base=base, names={"tracker": "table"}, options=options)
    announcer = Announcer(registry, Run(tmp_path, configuration, 0), configuration.tracker)
    for number in (1, 2, 3, 4):
        announcer.tell("ddmkit_step_done", step=StepDone(number, 1 / number, 1.0, 1e-4, 0.5, 1000))
    announcer.tell("ddmkit_run_ended", report=Report("completed", 4))
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines() == ["2,0.5,0.5", "4,0.25,0.5"]


def test_the_test_on_the_page_passes(modules: dict[str, types.ModuleType]) -> None:
    modules["test_table"].test_table_keeps_its_promises()


def test_the_page_names_every_tracker() -> None:
    for name in Registry().names(Tracker):
        assert f"| `{name}` |" in PAGE
