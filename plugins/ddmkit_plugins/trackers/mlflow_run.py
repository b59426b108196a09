"""One run in an MLflow store."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from ddmkit.files import write_text
from ddmkit_plugins.trackers.scalars import scalars_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ddmkit.events import Report, Run
    from ddmkit_plugins.trackers.follower import Record
    from ddmkit_plugins.trackers.mlflow import Mlflow

_METRICS, _PARAMETERS = 990, 100
"""What is sent at once, at most: MLflow takes 1000 metrics, parameters and tags together, of which 100 parameters."""
_STATUS = {"completed": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_SENT = "ddmkit.sent."
"""Before a kind of record: the tag that says up to which step MLflow has them. It goes with them in one request."""


class MlflowRun:
    """The MLflow run of a run folder, which names it in `mlflow-run`; it goes on when the run does.

    Args:
        tracker: its settings.
        run: that is told of.
    """

    def __init__(self, tracker: Mlflow, run: Run) -> None:
        from mlflow import MlflowClient

        self._run = run
        self._client = MlflowClient(tracker.uri)
        self._id = self._known() or self._created(tracker)
        self._client.update_run(self._id, status="RUNNING")
        data = self._client.get_run(self._id).data
        self._sent = {tag.removeprefix(_SENT): int(step) for tag, step in data.tags.items() if tag.startswith(_SENT)}
        self._send_settings(set(data.params))

    def take(self, records: list[Record]) -> None:
        """Send what is not there yet; MLflow keeps a step that it is sent twice twice."""
        from mlflow.entities import Metric, RunTag

        now = time.time_ns() // 1_000_000
        for batch in _batches([record for record in records if record["step"] > self._sent.get(record["kind"], 0)]):
            metrics = [
                Metric(_allowed(name), value, now, record["step"])
                for record in batch
                for name, value in scalars_of(record).items()
            ]
            sent = {record["kind"]: record["step"] for record in batch}
            tags = [RunTag(f"{_SENT}{kind}", str(step)) for kind, step in sent.items()]
            self._client.log_batch(self._id, metrics=metrics, tags=tags)
            self._sent |= sent

    def end(self, report: Report) -> None:
        """Send files and say how the run ended."""
        try:
            self._client.log_artifact(self._id, str(self._run.folder / "config.yaml"))
            for path in sorted((self._run.folder / "pictures").glob("*.png")):
                self._client.log_artifact(self._id, str(path), "pictures")
        finally:
            self._client.set_terminated(self._id, _STATUS[report.status])

    def _known(self) -> str | None:
        """Return the MLflow run that this store has of the folder, if it has one."""
        from mlflow.exceptions import MlflowException

        if not self._file.is_file():
            return None
        name = self._file.read_text(encoding="utf-8").strip()
        try:
            found = self._client.get_run(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return name if found.info.lifecycle_stage == "active" else None

    def _created(self, tracker: Mlflow) -> str:
        found = self._client.get_experiment_by_name(tracker.experiment)
        experiment = self._client.create_experiment(tracker.experiment) if found is None else found.experiment_id
        name: str = self._client.create_run(experiment, run_name=tracker.run_name or self._run.folder.name).info.run_id
        write_text(self._file, f"{name}\n")
        return name

    def _send_settings(self, there: set[str]) -> None:
        """Send settings; those of a run that goes on stay what they were, since MLflow lets none change."""
        from mlflow.entities import Param

        settings = settings_of(self._run.configuration).items()
        new = [Param(_allowed(name), str(value)) for name, value in settings if _allowed(name) not in there]
        for start in range(0, len(new), _PARAMETERS):
            self._client.log_batch(self._id, params=new[start : start + _PARAMETERS])

    @property
    def _file(self) -> Path:
        return self._run.folder / "mlflow-run"


def _batches(records: list[Record]) -> Iterator[list[Record]]:
    """Yield as many records at once as make no more metrics than MLflow takes."""
    batch: list[Record] = []
    count = 0
    for record in records:
        metrics = len(scalars_of(record))
        if batch and count + metrics > _METRICS:
            yield batch
            batch, count = [], 0
        batch.append(record)
        count += metrics
    if batch:
        yield batch


def _allowed(name: str) -> str:
    """Return a name with nothing in it that MLflow refuses."""
    return re.sub(r"[^/\w.\- ]", "_", name)
