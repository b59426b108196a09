"""What the README shows is what works."""

from __future__ import annotations

import re
import types
from pathlib import Path

from ddmkit import Registry, Schedule
from ddmkit.testing import check

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def _python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_plugin_in_the_readme_works_and_keeps_its_promises() -> None:
    module = types.ModuleType("my_schedules")
    exec(_python_blocks()[0], module.__dict__)  # noqa: S102 - the README's own code
    check(Registry(module).get(Schedule, "sigmoid"))


def test_the_plugin_in_the_readme_takes_no_more_than_thirty_lines() -> None:
    assert _python_blocks()[0].count("\n") <= 30


def test_the_readme_lists_every_preset() -> None:
    table = README.partition("| preset |")[2].partition("\n\n")[0]
    listed = set(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE))
    assert listed == set(Registry().presets())
