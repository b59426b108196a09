"""Conformance checks: does a component keep its interface's promises?

For the tests of a plugin, whatever runs them::

    from ddmkit.testing import check

    def test_my_schedule_keeps_its_promises() -> None:
        check(MySchedule(keep=0.98))

`check` takes a component of any kind. The check of one kind may be told more than the component: a folder with real
cases of a dataset, the classes that a task knows, how coarsely an engine calculates, the run that a tracker follows.
Each check raises AssertionError with one sentence that says which promise was broken.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from ddmkit.backbone import Backbone
from ddmkit.dataset import Dataset
from ddmkit.encoding import Encoding
from ddmkit.engine import Engine
from ddmkit.patch import Patch
from ddmkit.sampler import Sampler
from ddmkit.schedule import Schedule
from ddmkit.task import Task
from ddmkit.testing.backbone import check_backbone
from ddmkit.testing.component import check_component, kept_state
from ddmkit.testing.dataset import check_dataset
from ddmkit.testing.encoding import check_encoding
from ddmkit.testing.engine import check_engine
from ddmkit.testing.listener import check_listener
from ddmkit.testing.patch import check_patch
from ddmkit.testing.promises import alike, in_a_sentence, made, require, untouched_chance
from ddmkit.testing.sampler import Gaussian, Mixture, check_sampler, order_of
from ddmkit.testing.schedule import check_schedule
from ddmkit.testing.task import check_task
from ddmkit.testing.tracker import check_tracker

if TYPE_CHECKING:
    from ddmkit.component import Component

__all__ = [
    "Gaussian",
    "Mixture",
    "check",
    "check_backbone",
    "check_component",
    "check_dataset",
    "check_encoding",
    "check_engine",
    "check_listener",
    "check_patch",
    "check_sampler",
    "check_schedule",
    "check_task",
    "check_tracker",
    "order_of",
]


@in_a_sentence
def check(component: Component | type[Component]) -> None:
    """Check what every component owes, then what its kind promises; a class is made with its defaults.

    Of a tracker only the settings: `check_tracker` needs to be told where it may write.

    Raises:
        AssertionError: it breaks a promise.
    """
    own = made(component)
    check_component(own)
    before, title = kept_state(own), type(own).__qualname__
    # What builds networks, or trains them, draws from torch's generator, as torch does.
    with nullcontext() if isinstance(own, Backbone | Engine) else untouched_chance(title):
        _check_kind(own)
    require(alike(kept_state(own), before), f"{title} changes while it is used; state goes into methods and comes out.")


def _check_kind(own: Component) -> None:
    match own:
        case Backbone():
            check_backbone(own)
        case Dataset():
            check_dataset(own)
        case Encoding():
            check_encoding(own)
        case Engine():
            check_engine(own)
        case Patch():
            check_patch(own)
        case Sampler():
            check_sampler(own)
        case Schedule():
            check_schedule(own)
        case Task():
            check_task(own)
        case _:
            pass
