"""A run to tell trackers of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ddmkit import Registry
from ddmkit.assembly import assemble, read_tree
from ddmkit.configuration import Configuration
from ddmkit.events import Run
from ddmkit.run.folder import RunFolder


@pytest.fixture(scope="session")
def quick() -> Configuration:
    """Return the configuration of the main job."""
    registry = Registry()
    return assemble(registry, base=[read_tree(registry.preset("quick"))], options=["split.validation=0.25"])


@pytest.fixture
def make_run(tmp_path: Path, quick: Configuration) -> Callable[..., Run]:
    """Return `make_run(first_step=0, configuration=…)`: the same run, begun or gone on with."""

    def make_run(first_step: int = 0, configuration: Configuration = quick) -> Run:
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir(exist_ok=True)
        folder.write_configuration(configuration)
        return Run(folder.path, configuration, first_step)

    return make_run
