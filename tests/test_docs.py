"""The pages under docs/ say what the program does."""

from __future__ import annotations

from pathlib import Path

from ddmkit import Dataset, Registry
from ddmkit.rules import RULES

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_of_rules_holds_every_rule_with_its_verdict_and_reason() -> None:
    rows = [line for line in (DOCS / "rules.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    assert rows[1:] == [f"| {name} | {rule.verdict} | {rule.reason} |" for name, rule in RULES.items()]


def test_the_page_of_layouts_names_every_dataset_that_is_told_by_looking() -> None:
    registry = Registry()
    page = (DOCS / "own-data.md").read_text("utf-8")
    looking = [
        name for name in registry.names(Dataset) if registry.get(Dataset, name).recognises is not Dataset.recognises
    ]
    assert len(looking) > 1
    assert [name for name in looking if f"| `{name}`" not in page] == []
