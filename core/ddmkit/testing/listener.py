"""What a listener owes that hears every run: no event makes it fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit.offer import EVENTS, Manager
from ddmkit.testing.promises import called, in_a_sentence
from ddmkit.testing.tracker import check_tracker
from ddmkit.tracker import Tracker

if TYPE_CHECKING:
    from ddmkit.configuration import Configuration
    from ddmkit.events import Run


@in_a_sentence
def check_listener(plugin: object, configuration: Configuration) -> None:
    """Tell a plugin that listens to every run of runs that stop, go on and are completed, as `check_tracker` does.

    Nothing is trained: numbers, scores and a picture are made up, and the run's folder is gone afterwards.

    Args:
        plugin: a module, or an object, with hooks of run events.
        configuration: of the run.

    Raises:
        AssertionError: it fails at an event.
    """
    hooks, manager = _Hooks(), Manager()
    manager.register(plugin)
    for event in EVENTS:
        for found in getattr(manager.hook, event).get_hookimpls():
            setattr(hooks, found.function.__name__, found.function)

    class Always(Tracker):
        """Follows every run by the plugin's hooks of run events; what else it offers is no concern of a run."""

        name: ClassVar[str] = "always"

        @override
        def listen(self, run: Run) -> object:
            return hooks

    Always.__qualname__ = called(plugin)
    check_tracker(Always(), configuration)


class _Hooks:
    """The hooks of a plugin that tell of a run."""
