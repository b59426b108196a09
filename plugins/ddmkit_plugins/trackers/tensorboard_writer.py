"""Write a run's events into its folder for TensorBoard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit import hookimpl
from ddmkit.assembly import write_tree
from ddmkit.run.folder import RunFolder
from ddmkit_plugins.trackers.event_file import EventFile, event_files, steps_held
from ddmkit_plugins.trackers.scalars import scalars_of, settings_of, step_scalars, validation_scalars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit.events import Report, Run, StepDone, Validation


class TensorBoardWriter:
    """Writes event files below the run's `tensorboard/`.

    What comes at the end of a run, and again at the end of one that went on, stands in a folder of its own, where it
    replaces what an earlier end said.
    """

    def __init__(self, run: Run) -> None:
        self._folder = run.folder / "tensorboard"
        held = steps_held(self._folder)
        self._events = EventFile(self._folder, run.first_step + 1)
        self._end: EventFile | None = None
        self._catch_up(run, held)
        self._tell_settings(run)

    @hookimpl
    def ddmkit_step_done(self, step: StepDone) -> None:
        self._events.add_scalars(step.step, step_scalars(step))

    @hookimpl
    def ddmkit_validated(self, validation: Validation) -> None:
        events = self._events if validation.split == "validation" else self._at_end()
        events.add_scalars(validation.step, validation_scalars(validation))

    @hookimpl
    def ddmkit_run_ended(self, run: Run, report: Report) -> None:
        try:
            for path in sorted((run.folder / "pictures").glob("*.png")):
                self._at_end().add_picture(report.step, f"pictures/{path.stem}", path.read_bytes())
        finally:
            for events in (self._events, self._end):
                if events is not None:
                    events.close()

    def _at_end(self) -> EventFile:
        if self._end is None:
            self._end = EventFile(self._folder / "end", first=0)
            for path in event_files(self._folder / "end"):
                if path != self._end.path:  # TensorBoard's fast loader shows all steps of all files
                    path.unlink()
        return self._end

    def _catch_up(self, run: Run, held: Mapping[str, int]) -> None:
        """Tell what came before and is not there: this tracker may have been chosen late, or left out for a while.

        Args:
            run: that goes on.
            held: the last step that is there, by the first word of curves' names.
        """
        for record in RunFolder(run.folder).records():
            word = "train" if record["kind"] == "step" else record["kind"]
            if record["step"] > held.get(word, 0):
                self._events.add_scalars(record["step"], scalars_of(record))

    def _tell_settings(self, run: Run) -> None:
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.plugins.text.summary_v2 import text_pb

        yaml = "".join(f"    {line}\n" for line in write_tree(run.configuration.tree()).splitlines())
        step = run.first_step + 1  # whose settings they are; if it comes again, so do they
        self._events.add(step, text_pb("configuration", yaml))  # indented, Markdown leaves it as it is
        self._events.add(step, hparams_pb(settings_of(run.configuration)))
