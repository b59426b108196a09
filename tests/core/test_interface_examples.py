"""The example that opens each interface's module is a component that keeps its promises."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
from torch import nn
from typing_extensions import override

from ddmkit import Backbone, Component, Dataset, Tracker, stages
from ddmkit.configuration import INTERFACES, Configuration
from ddmkit.testing import check, check_dataset, check_tracker

WITH_EXAMPLE = [interface for interface in INTERFACES if interface.kind != "engine"]  # an engine does not fit on a page
WITH_EXAMPLE.append(Tracker)
IMPORTS = """
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ddmkit import *
from ddmkit.events import Run, StepDone
"""


def defined(module: str) -> dict[str, Any]:
    """Run the code in a module's docstring and return all that it defines."""
    docstring = inspect.getdoc(import_module(module)) or ""
    _, _, code = docstring.partition("::\n")
    namespace: dict[str, Any] = {"__name__": f"example_{module}"}
    exec(IMPORTS + dedent(code), namespace)  # noqa: S102 - the code is ours
    return {
        name: value for name, value in namespace.items() if getattr(value, "__module__", None) == namespace["__name__"]
    }


def example(interface: type[Component]) -> type[Component]:
    """Return the component that the interface's module docstring defines."""
    made: list[type[Component]] = [
        value
        for value in defined(interface.__module__).values()
        if isinstance(value, type) and issubclass(value, interface)
    ]
    assert len(made) == 1
    return made[0]


@pytest.mark.parametrize("interface", WITH_EXAMPLE, ids=lambda interface: interface.kind)
def test_the_example_of_an_interface_keeps_its_promises(interface: type[Component]) -> None:
    check(example(interface))


def test_the_example_of_a_network_that_can_be_cut_keeps_its_promises() -> None:
    class Chained(Backbone):
        """Builds the network of the example."""

        name: ClassVar[str] = "chained"
        divisible: ClassVar[bool] = True

        @override
        def build(self, in_channels: int, out_channels: int) -> nn.Module:
            network: nn.Module = defined(stages.__name__)["Chain"](in_channels, out_channels)
            return network

    check(Chained)


@pytest.fixture
def flat_folder(tmp_path: Path) -> Path:
    """Return a folder as the example of a dataset expects it, with a mask for one of its three cases."""
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for name, array in {"a-flair": voxels, "a-b-flair": voxels, "c-flair": voxels, "c-mask": voxels % 2}.items():
        image = nib.Nifti1Image(array, np.eye(4))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    return tmp_path


def test_the_example_of_a_dataset_finds_cases(flat_folder: Path) -> None:
    make: Callable[[], Component] = example(Dataset)
    flat = make()
    assert isinstance(flat, Dataset)
    check_dataset(flat, flat_folder)
    found = [(case.name, case.reference and case.reference.name) for case in flat.cases(flat_folder)]
    assert found == [("a", None), ("a-b", None), ("c", "c-mask.nii.gz")]


def test_the_example_of_a_tracker_follows_a_run(configured: Callable[..., Configuration]) -> None:
    make: Callable[[], Component] = example(Tracker)
    losses = make()
    assert isinstance(losses, Tracker)
    check_tracker(losses, configured())
