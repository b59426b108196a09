"""What a run tells its listeners, and how they are called."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

from ddmkit.errors import PluginError, named
from ddmkit.offer import EVENTS
from ddmkit.origin import UNPACKED
from ddmkit.registry import Registry
from ddmkit.tracking import titled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pluggy

    from ddmkit.configuration import Configuration
    from ddmkit.definition import Scoring
    from ddmkit.judging import Figure, Summary
    from ddmkit.scoring import Score
    from ddmkit.tracker import Tracker

__all__ = ["Announcer", "Picture", "Report", "Run", "Samples", "StepDone", "Validation"]

_log = logging.getLogger(__name__)


class Run(NamedTuple):
    """Which run an event is about."""

    folder: Path
    """Where the run is kept; a listener may write files of its own into it."""
    configuration: Configuration
    """Everything that the run depends on."""
    first_step: int
    """The step it starts from: 0, or that of the checkpoint it goes on from."""
    where: str = ""
    """Where the work runs, in a few words; empty where nobody says."""


class StepDone(NamedTuple):
    """One optimizer step."""

    step: int
    """Counted from 1."""
    loss: float
    """Mean loss over the global batch."""
    gradient_norm: float
    """Euclidean norm before clipping."""
    learning_rate: float
    """That this step was done with."""
    seconds: float
    """Wall-clock time of this step, waiting for data included."""
    peak_memory: int
    """Bytes, the largest so far."""


class Validation(NamedTuple):
    """Whole volumes that were sampled and scored."""

    step: int
    """That the weights are of."""
    split: Literal["validation", "test"]
    """Which cases: those that choose the best checkpoint, or those kept for the end."""
    scores: Sequence[Score]
    """By case and region; none where only the set as a whole is judged."""
    summary: Summary
    """By region, or by what else the task tells apart."""
    scoring: Scoring
    """The definitions that scores by region follow."""
    seconds: float
    """Wall-clock time of sampling and scoring."""
    best: bool
    """Whether this is the best so far, by the first figure."""
    figures: Sequence[Figure]
    """What the numbers of the summary are called."""


class Picture(NamedTuple):
    """One case as it was answered, on its own voxel grid."""

    case: str
    """Its name."""
    image: np.ndarray
    """(X, Y, Z), float32 in [0, 1]: the last of the case's modalities."""
    reference: np.ndarray
    """(X, Y, Z), bool: union of all scored regions."""
    answer: np.ndarray
    """(X, Y, Z), bool."""
    variance: np.ndarray
    """(X, Y, Z), float32: over the members, summed over channels."""
    members: int
    """Samples that the answer and the variance are of."""
    affine: np.ndarray
    """(4, 4): voxel indices to millimetres."""
    modality: str
    """Which of the case's modalities the image is."""


class Samples(NamedTuple):
    """Volumes that were generated, beside a real one on the same voxel grid."""

    case: str
    """Whose grid it is."""
    image: np.ndarray
    """(X, Y, Z), float32: the read-out of the case's own x_0, its first channel."""
    samples: np.ndarray
    """(M, X, Y, Z), float32: the same channel of M members."""
    affine: np.ndarray
    """(4, 4): voxel indices to millimetres."""


class Report(NamedTuple):
    """How a run ended."""

    status: Literal["completed", "interrupted", "failed"]
    """Interrupted: by Ctrl-C or a signal, and saved; failed: by an error."""
    step: int
    """Steps done."""
    best_step: int | None = None
    """Whose checkpoint validated best; None: none was validated."""
    final: Validation | None = None
    """The scores of the best checkpoint on the held-out cases."""
    picture: Picture | None = None
    """A held-out case of a task that answers with labels, answered with the best checkpoint."""
    samples: Samples | None = None
    """A held-out case of one that answers with volumes, likewise."""


class Announcer:
    """Calls the listeners of one run; a listener that fails is named in one warning and never ends a run.

    Args:
        registry: whose plugins listen.
        run: that they hear of.
        trackers: that the run chose. They hear of each event after the plugins, so that what those write, such as
            pictures, is there.
    """

    def __init__(self, registry: Registry, run: Run, trackers: Iterable[Tracker] = ()) -> None:
        self.run = run
        self._registry = registry
        self._trackers: dict[str, Registry] = {}
        """By how they are named in a warning."""
        self._failed: set[pluggy.HookImpl] = set()
        for tracker in trackers:
            self._let_listen(tracker)

    def tell(self, event: str, **facts: object) -> None:
        """Call every listener of `event`, such as "ddmkit_step_done", with the run and `facts`.

        One that fails is not called again for this event: a warning at each of a million steps would help nobody.
        """
        arguments: dict[str, object] = {"run": self.run, **facts}
        for title, listener in self._listeners(event):
            if listener in self._failed:
                continue
            try:
                listener.function(*[arguments[name] for name in listener.argnames])
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a tracker may fail in any way
                self._failed.add(listener)
                said = "%s failed in %s and is not called for it again: %s"
                _log.warning(said, title or self._title(listener.plugin), event, named(error))

    def _let_listen(self, tracker: Tracker) -> None:
        try:
            self._trackers[titled(tracker)] = _heard_by(tracker.listen(self.run))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            _log.warning("%s cannot follow this run, which goes on without it: %s", titled(tracker), named(error))

    def _listeners(self, event: str) -> Iterator[tuple[str, pluggy.HookImpl]]:
        """Yield each with the title of its tracker, if it has one."""
        for title, registry in (("", self._registry), *self._trackers.items()):
            yield from ((title, listener) for listener in registry.listeners(event))

    def _title(self, plugin: object) -> str:
        """Name a plugin that always listens: a module, or an object of one."""
        packages = [known.package for known in self._registry.always_listening() if known.plugin is plugin]
        name = getattr(plugin, "__name__", type(plugin).__name__)
        return f"The plugin {name} of {packages[0] if packages else UNPACKED}"


def _heard_by(listener: object) -> Registry:
    """Return what calls a tracker's listener.

    Raises:
        PluginError: it has no hook that could be called, or one that does not fit.
    """
    registry = Registry(listener)
    if not any(registry.listeners(event) for event in EVENTS):
        msg = (
            f"listen() returns {listener!r}, which hears of no event; return an object whose methods are hooks, such "
            "as ddmkit_step_done, each marked with @hookimpl"
        )
        raise PluginError(msg)
    return registry
