"""Follow a run in MLflow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from ddmkit import Tracker, hookimpl
from ddmkit_plugins.trackers.follower import Follower
from ddmkit_plugins.trackers.libraries import require_library

if TYPE_CHECKING:
    from ddmkit.events import Report, Run
    from ddmkit_plugins.trackers.mlflow_run import MlflowRun

_QUIET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # we try again by ourselves
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # or it tells of each table of a new store
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # where results are
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nobody asked for it
}
"""Where MLflow, which takes these settings from the environment alone, would wait long or say what nobody asked for."""


class Mlflow(Tracker):
    """Curves, settings and pictures in MLflow: a local store, or a server."""

    name: ClassVar[str] = "mlflow"
    uri: str | None = Field(
        default=None,
        description="Of a server or a store, as http://host:5000 or sqlite:////folder/mlflow.db; null: what MLflow "
        "takes by itself, $MLFLOW_TRACKING_URI or mlflow.db in the working folder.",
    )
    experiment: str = Field(default="ddmkit", min_length=1, description="Under which the run is filed.")
    run_name: str | None = Field(default=None, min_length=1, description="null: that of the run's folder.")
    patience: float = Field(
        default=30, ge=0, allow_inf_nan=False, description="Seconds that the end of a run waits for a server, at most."
    )

    @override
    def check(self) -> None:
        require_library(self.name, "mlflow")

    @override
    def listen(self, run: Run) -> object:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        return MlflowSender(self, run)


class MlflowSender:
    """Sends what `metrics.jsonl` says, whatever the network does, and the rest when the run ends."""

    def __init__(self, tracker: Mlflow, run: Run) -> None:
        def connect() -> MlflowRun:
            from ddmkit_plugins.trackers.mlflow_run import MlflowRun

            return MlflowRun(tracker, run)

        metrics = run.folder / "metrics.jsonl"
        self._follower = Follower(tracker.name, metrics, connect, patience=tracker.patience)

    @hookimpl
    def ddmkit_run_ended(self, report: Report) -> None:
        self._follower.end(report)
