"""Follow a run in TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from ddmkit import Tracker
from ddmkit_plugins.trackers.libraries import require_library

if TYPE_CHECKING:
    from ddmkit.events import Run


class TensorBoard(Tracker):
    """Curves, settings and pictures in the run's own folder; look at all runs with tensorboard --logdir runs."""

    name: ClassVar[str] = "tensorboard"
    contained: ClassVar[bool] = True

    @override
    def check(self) -> None:
        require_library(self.name, "tensorboard")

    @override
    def listen(self, run: Run) -> object:
        from ddmkit_plugins.trackers.tensorboard_writer import TensorBoardWriter

        return TensorBoardWriter(run)
