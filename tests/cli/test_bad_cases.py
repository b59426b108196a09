"""A case that cannot be used is named by `check`, `train` and `sample` alike, and never silently left out."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.layouts import write
from tests.cli.program import ONE_STEP, Run, refused


def test_a_bad_case_stops_every_command_until_it_may_be_skipped(ddmkit: Run, tmp_path: Path) -> None:
    bad = write("brats", tmp_path / "data").names[0]
    flair = tmp_path / f"data/{bad}/{bad}_flair.nii.gz"
    content = bytearray(flair.read_bytes())
    content[-6] ^= 1  # of the checksum: every voxel is still there
    flair.write_bytes(content)
    refused(ddmkit("check", "data", "--json", "report.json"), 1, "1 of 4 cases")
    [found] = [case for case in json.loads((tmp_path / "report.json").read_text())["cases"] if case["error"]]
    assert found["case"] == bad
    assert "checksum" in found["error"]
    assert found["rule"] == "wrong-checksum"

    training = ["train", "--data", "data", "--run", "run", *ONE_STEP]
    refused(ddmkit(*training), 1, "1 of 4 cases", bad, "checksum", "--skip-bad", "ddmkit check")
    assert not (tmp_path / "run").exists()
    skipped = ddmkit(*training, "--skip-bad")
    assert skipped.returncode == 0, skipped.stderr
    assert "Left out" in skipped.stderr
    assert json.loads((tmp_path / "run/left-out.json").read_text()).keys() == {bad}
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert len([name for names in split.values() for name in names if name != bad]) == 3

    sampling = ["sample", "run", "--input", "data", "--out", "answers"]
    refused(ddmkit(*sampling), 1, "1 of 4 cases", bad, "checksum", "--skip-bad")
    assert not (tmp_path / "answers").exists()
    sampled = ddmkit(*sampling, "--skip-bad")
    assert sampled.returncode == 0, sampled.stderr
    assert "Left out" in sampled.stderr
    assert len(list((tmp_path / "answers").glob("*_seg.nii.gz"))) == 3
