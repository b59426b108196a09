r"""Trackers: where a run is written down for people to look at.

A tracker is chosen and has settings, as any component; the listener that it returns for a run may have state, and hears
the run's events, as any plugin's hooks do. What needs no choice is a plugin of such hooks alone.

A complete tracker::

    class Losses(Tracker):
        '''The loss, as lines of losses.csv in the run's folder.'''

        name: ClassVar[str] = "losses"
        every: int = Field(default=1, ge=1, description="Steps between two lines.")

        def listen(self, run: Run) -> object:
            return LossWriter(run.folder / "losses.csv", self.every, run.first_step)


    class LossWriter:
        def __init__(self, path: Path, every: int, first_step: int) -> None:
            self._path = path
            self._every = every
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
            # A run that was killed does again, and tells again, the steps after its last checkpoint.
            whole = [line for line in lines if line.endswith("\n")]  # and none that the kill cut short
            path.write_text("".join(line for line in whole if int(line.split(",")[0]) <= first_step), encoding="utf-8")

        @hookimpl
        def ddmkit_step_done(self, step: StepDone) -> None:
            if step.step % self._every == 0:
                with self._path.open("a", encoding="utf-8") as file:
                    print(step.step, step.loss, sep=",", file=file)
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit.component import Component

if TYPE_CHECKING:
    from ddmkit.events import Run

NO_TRACKER = "none"
"""What is typed in place of names for no tracker."""


class Tracker(Component):
    """Follows the runs that choose it; a run may choose several, and none changes its result."""

    kind: ClassVar[str] = "tracker"
    contained: ClassVar[bool] = False
    """Whether it writes into the run's folder alone, and needs no server: `ddmkit plugins check` tells it of a run."""

    @override
    @classmethod
    def option_prefix(cls) -> str:
        """Return "tracker.NAME": there may be several, each with settings."""
        return f"{cls.kind}.{cls.name}"

    def check(self) -> None:
        """Refuse what a user has to put right before a run begins, such as a library that is missing.

        Raises:
            ConfigurationError: the tracker cannot work here.
        """

    @abstractmethod
    def listen(self, run: Run) -> object:
        """Return a listener to one run: an object with hooks of run events, its methods, each marked with `hookimpl`.

        It is called when the run begins or goes on, before the first event. What a listener raises, here or later, is
        a warning and never ends the run; what it waits for, the run waits for.

        Args:
            run: its folder and configuration stand. Where it goes on (`first_step` > 0), events of later steps may
                have been told before: they come again, with `ddmkit_run_ended`.
        """
