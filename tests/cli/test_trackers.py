"""`ddmkit train --tracker`, as its users run it, read back with the trackers' own libraries."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.cli.program import Run, environment, fork, kill_after, refused, tiny_job
from tests.installing import install

Said = subprocess.CompletedProcess[str]
Points = list[tuple[int, float]]


LIBRARIES = ("mlflow", "tensorboard.summary.writer.record_writer", "tensorboard.plugins.hparams.summary_v2")
"""What trackers import when they begin to follow a run, which takes longer than such a small run."""


def tracked(folder: Path, *arguments: str) -> Said:
    """Run ddmkit, as `call` does; the trackers' libraries are there already."""
    return fork("ddmkit", folder, *arguments, imports=LIBRARIES)


def written(run: Path, kind: str) -> list[dict[str, float]]:
    """Return the lines of one kind in `metrics.jsonl`."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["kind"] == kind]


def losses(run: Path) -> Points:
    return [(int(record["step"]), record["loss"]) for record in written(run, "step")]


def steps(run: Path, kind: str) -> list[int]:
    return [int(record["step"]) for record in written(run, kind)]


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> Points:
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def stored(client: MlflowClient, experiment: str = "ddmkit") -> list[StoredRun]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def history(client: MlflowClient, run: StoredRun, metric: str) -> Points:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]


def test_nothing_is_tracked_unless_it_is_asked_for(trained: tuple[Path, Said]) -> None:
    run = trained[0] / "run"
    assert "tracker: {}" in (run / "config.yaml").read_text(encoding="utf-8")
    assert not (run / "tensorboard").exists()


def test_a_run_that_was_killed_and_goes_on_is_whole_in_every_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would take seconds to make
    store = (tmp_path / "store").as_uri()
    options = ["--tracker", "tensorboard,mlflow", f"-otracker.mlflow.uri={store}", "-otracker.mlflow.experiment=brains"]
    run = tmp_path / "run"
    kill_after(5, run / "metrics.jsonl", tmp_path, *tiny_job("run", *options), imports=LIBRARIES)
    resumed = tracked(tmp_path, "train", "--resume", "run")
    assert resumed.returncode == 0, resumed.stderr
    assert "tracker" not in resumed.stderr

    assert steps(run, "step") == [1, 2, 3, 4, 5, 6]
    folder = run / "tensorboard"
    assert len(curve(folder, "train/loss")) == len(losses(run))
    assert dict(curve(folder, "train/loss")) == pytest.approx(dict(losses(run)))
    assert [step for step, _ in curve(folder, "validation/whole/hd95")] == steps(run, "validation")
    assert [step for step, _ in curve(folder / "end", "test/whole/dice")] == steps(run, "test")
    end = events(folder / "end")
    for path in (run / "pictures").iterdir():
        assert end.Images(f"pictures/{path.stem}")[0].encoded_image_string == path.read_bytes()

    client = MlflowClient(store)
    (found,) = stored(client, "brains")
    assert found.info.status == "FINISHED"
    assert history(client, found, "train/loss") == losses(run)
    assert [step for step, _ in history(client, found, "validation/whole/hd95")] == steps(run, "validation")
    assert [step for step, _ in history(client, found, "test/whole/dice")] == steps(run, "test")
    assert {Path(file.path).stem for file in client.list_artifacts(found.info.run_id, "pictures")} == {
        path.stem for path in (run / "pictures").iterdir()
    }


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own mappings
def test_a_run_may_go_on_with_other_trackers_which_are_told_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracked(tmp_path, *tiny_job("run", "--tracker", "tensorboard", "-ovalidation.test=false")).returncode == 0
    resumed = tracked(tmp_path, "train", "--resume", "run", "--steps", "7", "--tracker", "mlflow")
    assert resumed.returncode == 0, resumed.stderr
    run = tmp_path / "run"
    assert [step for step, _ in curve(run / "tensorboard", "train/loss")] == [1, 2, 3, 4, 5, 6]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")  # MLflow's own default
    (found,) = stored(client)
    assert history(client, found, "train/loss") == losses(run)
    assert [step for step, _ in losses(run)] == [1, 2, 3, 4, 5, 6, 7]
    without = tracked(tmp_path, "train", "--resume", "run", "--tracker", "none")
    assert without.returncode == 0, without.stderr
    assert "tracker: {}" in (run / "config.yaml").read_text(encoding="utf-8")


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Return the address of a server that takes requests and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_does_not_answer_costs_a_run_nothing_but_a_warning(
    tmp_path: Path, silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    job = tiny_job("run", "--tracker", "mlflow", f"-otracker.mlflow.uri={silent_server}", "-ovalidation.test=false")
    job = [*job, "-otracker.mlflow.patience=2"]
    result = tracked(tmp_path, *job)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "The tracker mlflow had not taken everything within the 2 s" in " ".join(result.stderr.split())
    assert "Next: ddmkit sample run" in result.stdout
    assert len(losses(tmp_path / "run")) == 6


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--tracker", "tensorbord"], "No tracker is named 'tensorbord'. Did you mean 'tensorboard'?"),
        (["-otracker.mlflow.uri=x"], "add --tracker mlflow"),
        (["--tracker", "mlflow", "-otracker.mlflow.url=x"], "Did you mean 'uri'?"),
    ],
)
def test_a_tracker_or_setting_that_does_not_exist_is_refused(
    tmp_path: Path, ddmkit: Run, options: list[str], error: str
) -> None:
    refused(ddmkit(*tiny_job("run", *options)), 2, error)
    assert not (tmp_path / "run").exists()


def test_a_tracker_whose_library_is_missing_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    code = (
        "import sys; from importlib.machinery import PathFinder; from ddmkit_cli.app import run; found = "
        "PathFinder.find_spec; PathFinder.find_spec = lambda name, *rest: None if name == 'mlflow' else "
        f"found(name, *rest); sys.argv = {['ddmkit', *tiny_job('run', '--tracker', 'mlflow')]!r}; run()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    refused(result, 2, "needs mlflow, which is not installed: type pip install mlflow, or leave mlflow out")
    assert not (tmp_path / "run").exists()


FRAIL = """
    from typing import ClassVar

    from ddmkit import Component, Tracker, hookimpl


    class Frail(Tracker):
        '''Fails before the run begins.'''

        name: ClassVar[str] = "frail"

        def check(self):
            return {}["token"]

        def listen(self, run):
            return self


    class Deaf(Tracker):
        '''Returns no listener.'''

        name: ClassVar[str] = "deaf"

        def listen(self, run):
            return None


    @hookimpl
    def ddmkit_components() -> list[type[Component]]:
        return [Frail, Deaf]
"""


def test_a_tracker_of_a_package_that_fails_is_named_with_it(
    tmp_path: Path, ddmkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "acme", FRAIL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    said = "The tracker frail of acme 1.0 cannot be used: its check() fails with KeyError: 'token'; leave frail out"
    refused(ddmkit(*tiny_job("run", "--tracker", "frail")), 2, said)
    assert not (tmp_path / "run").exists()
    result = ddmkit(*tiny_job("run", "--tracker", "deaf", "-otraining.steps=1", "-ovalidation.test=false"))
    assert result.returncode == 0, result.stderr
    said = (
        "The tracker deaf of acme 1.0 cannot follow this run, which goes on without it: PluginError: listen() returns"
    )
    assert said in " ".join(result.stderr.split())


def test_plugins_tell_of_trackers_and_their_settings(ddmkit: Run) -> None:
    listed = ddmkit("plugins", "list").stdout
    assert [line.split("│")[2].strip() for line in listed.splitlines() if "│ tracker" in line] == [
        "mlflow",
        "tensorboard",
    ]
    shown = ddmkit("plugins", "show", "tracker").stdout
    for setting in ("tracker.mlflow.uri", "tracker.mlflow.experiment", "tracker.mlflow.run_name"):
        assert setting in shown
