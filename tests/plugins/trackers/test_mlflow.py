"""MLflow runs as its own client reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from tests.plugins.trackers.told import MEANS, step, validation, write_steps, write_validation

from ddmkit import ConfigurationError
from ddmkit.assembly import assemble
from ddmkit.configuration import Configuration
from ddmkit.events import Report, Run
from ddmkit.registry import Registry
from ddmkit.run.folder import RunFolder
from ddmkit.testing import check, check_tracker
from ddmkit_plugins.trackers.mlflow import Mlflow
from ddmkit_plugins.trackers.mlflow_run import MlflowRun


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mlflow:
    """Return a tracker with a store of files, which unlike a database takes no seconds to make."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return Mlflow(uri=(tmp_path / "store").as_uri(), experiment="brains")


@pytest.fixture
def client(tracker: Mlflow) -> MlflowClient:
    return MlflowClient(tracker.uri)


def runs(client: MlflowClient, experiment: str = "brains") -> list[StoredRun]:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def history(client: MlflowClient, run: StoredRun, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]


def take(receiver: MlflowRun, run: Run) -> None:
    """Hand on all that the run's folder has."""
    receiver.take(RunFolder(run.folder).metrics())


def test_an_mlflow_tracker_keeps_its_promises(tracker: Mlflow, quick: Configuration, client: MlflowClient) -> None:
    check(Mlflow)
    with patch.dict("os.environ"):  # to which the tracker adds
        check_tracker(tracker, quick)
    by_name = {found.info.run_name: found for found in runs(client)}
    assert by_name.keys() == {"run", "straight", "volumes"}
    assert {found.info.status for found in by_name.values()} == {"FINISHED"}
    assert history(client, by_name["volumes"], "test/all/mmd") == [(2, 0.125)]
    stored = by_name["run"]
    assert history(client, stored, "train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    assert history(client, stored, "test/whole/dice") == [(4, 0.625)]


def test_every_number_of_steps_and_validations_is_read_back(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run]
) -> None:
    run = make_run()
    write_steps(RunFolder(run.folder), step(1, loss=1.0), step(2))
    write_validation(RunFolder(run.folder), validation(2))
    take(MlflowRun(tracker, run), run)
    (stored,) = runs(client)
    assert (stored.info.run_name, stored.info.status) == ("run", "RUNNING")
    assert history(client, stored, "train/loss") == [(1, 1.0), (2, 0.5)]
    told = {"gradient_norm": 1.5, "learning_rate": 1e-4, "seconds": 0.25, "peak_memory": 1e6}
    assert {name: history(client, stored, f"train/{name}")[1] for name in told} == {
        name: (2, value) for name, value in told.items()
    }
    assert {name: history(client, stored, f"validation/whole/{name}") for name in MEANS} == {
        name: [(2, value)] for name, value in MEANS.items()
    }


def test_a_run_that_goes_on_is_the_same_mlflow_run_and_no_step_is_there_twice(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run]
) -> None:
    run = make_run()
    folder = RunFolder(run.folder)
    write_steps(folder, *map(step, range(1, 5)))
    write_validation(folder, validation(4))
    take(MlflowRun(tracker, run), run)
    folder.metrics_file.unlink()  # what came after step 2 comes again, and more
    write_steps(folder, *map(step, range(1, 7)))
    write_validation(folder, validation(4))
    write_validation(folder, validation(6))
    resumed = MlflowRun(tracker, make_run(first_step=2))
    take(resumed, run)
    take(resumed, run)
    (stored,) = runs(client)
    assert [number for number, _ in history(client, stored, "train/loss")] == [1, 2, 3, 4, 5, 6]
    assert [number for number, _ in history(client, stored, "validation/whole/dice")] == [4, 6]


def test_more_than_mlflow_takes_at_once_comes_in_parts(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run]
) -> None:
    run = make_run()
    write_steps(RunFolder(run.folder), *map(step, range(1, 302)))
    take(MlflowRun(tracker, run), run)
    (stored,) = runs(client)
    assert len(history(client, stored, "train/seconds")) == 301


def test_settings_are_parameters_and_those_that_change_do_no_harm(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run], quick: Configuration
) -> None:
    MlflowRun(tracker, make_run())
    after = assemble(Registry(), base=[quick.tree()], options=["training.learning_rate=0.5"])
    again = MlflowRun(tracker, make_run(configuration=after))
    (stored,) = runs(client)
    assert stored.data.params["training.learning_rate"] == str(quick.training.learning_rate)
    assert stored.data.params["backbone.name"] == quick.backbone.name
    assert len(stored.data.params) > 50
    again.end(Report("interrupted", 0))
    saved = client.download_artifacts(stored.info.run_id, "config.yaml")
    assert "learning_rate: 0.5" in Path(saved).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("status", "said"), [("completed", "FINISHED"), ("interrupted", "KILLED"), ("failed", "FAILED")]
)
def test_the_end_says_how_it_was_and_brings_the_pictures(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run], status: str, said: str
) -> None:
    run = make_run()
    pictures = RunFolder(run.folder).pictures
    pictures.mkdir()
    (pictures / "curves.png").write_bytes(b"a picture")
    MlflowRun(tracker, run).end(Report(status, 2))  # type: ignore[arg-type]  # pytest hands a string over
    (stored,) = runs(client)
    assert stored.info.status == said
    assert Path(client.download_artifacts(stored.info.run_id, "pictures/curves.png")).read_bytes() == b"a picture"


def test_a_run_that_the_store_has_no_more_is_made_anew(
    tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    MlflowRun(tracker, make_run())
    (first,) = runs(client)
    client.delete_run(first.info.run_id)
    MlflowRun(tracker, make_run())
    (second,) = runs(client)
    assert second.info.run_id != first.info.run_id
    elsewhere = tracker.model_copy(update={"uri": (tmp_path / "elsewhere").as_uri(), "run_name": "mine"})
    MlflowRun(elsewhere, make_run())
    assert [run.info.run_name for run in runs(MlflowClient(elsewhere.uri))] == ["mine"]


def test_a_region_may_have_any_name(tracker: Mlflow, client: MlflowClient, make_run: Callable[..., Run]) -> None:
    run = make_run()
    write_validation(RunFolder(run.folder), validation(1, region="tumour, whole (ET+NCR)"))
    take(MlflowRun(tracker, run), run)
    (stored,) = runs(client)
    assert stored.data.metrics["validation/tumour_ whole _ET_NCR_/dice"] == MEANS["dice"]


def test_a_missing_library_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddmkit_plugins.trackers.libraries.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs mlflow, which is not installed: type pip install mlflow, or"):
        Mlflow().check()
