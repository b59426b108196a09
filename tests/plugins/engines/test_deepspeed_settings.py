"""What is asked of the engine `deepspeed`, and how it answers what cannot be: before any process is begun."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Batch, ConfigurationError, DeviceError
from ddmkit.configuration import Training
from ddmkit.stages import Divisible
from ddmkit.testing.engine_problem import probe
from ddmkit_plugins.engines import deepspeed
from ddmkit_plugins.engines.deepspeed import DeepSpeed
from ddmkit_plugins.engines.distributed import gathering
from ddmkit_plugins.engines.distributed.channel import Form, written
from ddmkit_plugins.engines.distributed.configuring import configuration
from ddmkit_plugins.engines.distributed.launch import Place, launched, meeting_of
from ddmkit_plugins.engines.distributed.session import deal
from ddmkit_plugins.engines.distributed.share import held_by, parts_of

TRAINING = Training(batch_size=4, learning_rate=1e-3, gradient_clip=1.0)


class Uncut(nn.Module):
    """A network that cannot be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(2, 1, 1)

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        answer: Tensor = self.layer(x)
        return answer


def two(**settings: Any) -> DeepSpeed:  # noqa: ANN401 - whatever a setting may be
    return DeepSpeed(device="cpu", devices=2, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": 3, "stages": 2}, "devices=3 is no multiple of stages=2"),
        ({"stages": 2, "zero": 3}, "zero=3 does not go with stages=2; type -o engine.zero=1 or 0"),
        ({"offload": True}, "type -o engine.zero=1, 2 or 3 with it"),
        (
            {"stages": 2, "cuts": (3, 5)},
            "cuts=3,5 makes 3 stages, and stages=2; type -o engine.stages=3, or -o ",
        ),
        ({"cuts": 5}, "cuts=5 makes 2 stages, and stages=1; type -o engine.stages=2, or -o engine.cuts=null"),
        ({"stages": 3, "cuts": (5, 5)}, "cuts=5,5 should be rising numbers of layers from 1 on, such as 3,6; type"),
        ({"stages": 2, "cuts": 0}, "cuts=0 should be rising numbers of layers from 1 on, such as 3; type"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DeepSpeed(**settings)


def test_one_cut_may_be_typed_as_a_number() -> None:
    assert DeepSpeed.model_validate({"stages": 2, "cuts": 7}).cuts == (7,)  # as YAML reads it


def test_deepspeed_that_is_not_installed_is_answered_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="type pip install deepspeed"):
        two().open(probe(), TRAINING)
    with pytest.raises(ConfigurationError, match="type pip install deepspeed"):
        two().check(probe(), TRAINING)


def test_deepspeed_is_imported_without_the_tracker_that_it_would_import() -> None:
    code = (
        "import sys; from ddmkit_plugins.engines.distributed.engines import import_quietly; import_quietly('cpu'); "
        "assert 'deepspeed' in sys.modules; assert 'mlflow' not in sys.modules; import mlflow"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("size", "fitting"), [(3, "2 or 4"), (1, "2"), (5, "4 or 6")])
def test_a_batch_that_does_not_divide_is_answered_with_those_that_do(size: int, fitting: str) -> None:
    training = TRAINING.model_copy(update={"batch_size": size})
    for asked in (two().open, two().check):
        with pytest.raises(ConfigurationError, match=rf"batch_size={size} .* -o training.batch_size={fitting},"):
            asked(probe(), training)


def test_more_gpus_than_there_are_is_answered_with_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match=r"more than the 1 CUDA devices .* -o engine.devices=1, or .*cuda:0"):
        DeepSpeed(devices=2).open(probe(), TRAINING)


@pytest.mark.parametrize("settings", [{"stages": 2}, {"checkpointing": True}])
def test_a_network_that_cannot_be_cut_is_answered_with_those_that_can(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"Backbones that can: unet3d-avg, unet3d-concat"):
        two(**settings).open(Uncut(), TRAINING)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": 4, "stages": 4}, "The network has 2 layers, too few for engine.stages=4: type 2 or fewer"),
        ({"devices": 2, "stages": 2, "cuts": (2,)}, "The network has 2 layers, 0 to 1, too few for engine.cuts=2"),
    ],
)
def test_more_stages_than_layers_are_refused(settings: dict[str, Any], words: str) -> None:
    engine = DeepSpeed(device="cpu", **settings)
    for asked in (engine.open, engine.check):
        with pytest.raises(ConfigurationError, match=words):
            asked(probe(), TRAINING)


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeviceError, match=rf"port {port} of 127.0.0.1 is in use: type -o engine.port=0"):
            two(port=port).open(probe(), TRAINING)


def test_a_launcher_s_number_of_processes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigurationError, match=r"started 4 processes, and engine\.devices=2"):
        two().open(probe(), TRAINING)


def test_nobody_is_served_where_there_is_no_launcher() -> None:
    two().serve()


def test_a_network_that_cannot_be_sent_is_refused_before_any_process_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "begin", None)
    network = probe()
    network.register_forward_hook(lambda *_: None)
    with pytest.raises(ConfigurationError, match="cannot be sent to other processes"):
        two().open(network, TRAINING)


def test_a_network_of_the_running_script_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "begin", None)
    monkeypatch.setattr(Uncut, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Uncut", Uncut, raising=False)
    with pytest.raises(ConfigurationError, match="is defined in the program that is running"):
        two().open(Uncut(), TRAINING)


def test_a_stage_with_nothing_to_learn_is_refused() -> None:
    network = probe()
    assert isinstance(network, Divisible)
    network.part(range(1)).requires_grad_(requires_grad=False)
    with pytest.raises(ConfigurationError, match="Stage 0 has nothing to learn in its layers 0 to 0"):
        two(stages=2, cuts=1).open(network, TRAINING)


# Launchers


@pytest.mark.parametrize("wrong", [{"RANK": "x"}, {"WORLD_SIZE": "two"}, {"LOCAL_RANK": "-1"}])
def test_a_launcher_s_number_that_is_none_is_named(wrong: dict[str, str]) -> None:
    ((name, text),) = wrong.items()
    with pytest.raises(ConfigurationError, match=f"{name}={text} is no number"):
        launched({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", **wrong})
    with pytest.raises(ConfigurationError, match="MASTER_PORT=b is no number"):
        meeting_of({"MASTER_ADDR": "here", "MASTER_PORT": "b"})


def test_processes_of_launchers_know_their_place() -> None:
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    slurm = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "1"}
    assert launched(torchrun) == Place(3, 4, 1)
    assert launched(slurm) == Place(5, 8, 1)
    assert launched({}) is None
    assert launched({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None


@pytest.mark.parametrize(
    ("nodes", "first"), [("node[08-11,15],other", "node08"), ("a,b", "a"), ("gpu-1", "gpu-1"), ("n[3]", "n3")]
)
def test_slurm_s_processes_meet_on_its_first_machine(nodes: str, first: str) -> None:
    meeting = meeting_of({"SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "4711"})
    assert (meeting.host, meeting.port, meeting.hosted) == (first, 24711, True)


def test_processes_meet_where_the_launcher_says() -> None:
    said = {"MASTER_ADDR": "here", "MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert meeting_of(said) == ("here", 29500, False)
    with pytest.raises(ConfigurationError, match="set MASTER_ADDR"):
        meeting_of({})


# What is dealt out


@given(
    sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=4),
    rows=st.integers(1, 3),
    at_once=st.none() | st.integers(1, 3),
)
def test_every_example_is_dealt_out_once(sizes: list[tuple[int, int]], rows: int, at_once: int | None) -> None:
    batches, number = [], 0
    for side, count in sizes:
        names = torch.arange(number, number + count, dtype=torch.float32)
        number += count
        batches.append(Batch(torch.zeros(count, 2, side, 1, 1), names, torch.zeros(count, 1, side, 1, 1)))
    dealt = deal(batches, rows, at_once)
    assert all(len(row) == rows and row[0] is not None for row in dealt)
    given_out = [batch for row in dealt for batch in row if batch is not None]
    assert sorted(torch.cat([batch.times for batch in given_out]).tolist()) == list(range(number))
    assert all(at_once is None or len(batch.times) <= at_once for batch in given_out)
    most = {side: -(-sum(count for other, count in sizes if other == side) // rows) for side, _ in sizes}
    assert all(len(batch.times) <= most[batch.inputs.shape[2]] for batch in given_out)


def test_an_earlier_stage_holds_more_micro_batches() -> None:
    assert [held_by(stage, 3, 8) for stage in range(3)] == [3, 2, 1]
    assert [held_by(stage, 3, 2) for stage in range(3)] == [2, 2, 1]
    assert parts_of(two(stages=2), 4, 1) == 4
    assert parts_of(two(), 4, 2) == 1
    assert parts_of(two(micro_batch=1), 5, 2) == 3


def test_a_form_is_that_of_its_tensor() -> None:
    for tensor in (torch.zeros(2, 3, 4, 5, 6, dtype=torch.bfloat16), torch.zeros(2, 3), torch.zeros(())):
        form = Form.of(tensor)
        made = form.empty(torch.device("cpu"))
        assert (made.shape, made.dtype, made.stride()) == (tensor.shape, tensor.dtype, tensor.stride())
    turned = torch.zeros(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d)
    assert Form.of(turned).empty(torch.device("cpu")).stride() == turned.stride()


def test_states_that_are_too_many_to_be_told_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="300 tensors from stage to stage at once"):
        written([Form((1,))] * 300)
    with pytest.raises(ConfigurationError, match=r"tensors of torch.complex64 from stage to stage"):
        written([Form((1,), torch.complex64)])


# DeepSpeed's own configuration


def configured(tmp_path: Path, file: object, **settings: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a setting may be
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(file), encoding="utf-8")
    return configuration(two(config=path, **settings), TRAINING, 2)


def test_what_is_deepspeed_s_own_is_passed_on(tmp_path: Path) -> None:
    file = {
        "zero_optimization": {"stage": "auto", "reduce_bucket_size": 1000},
        "train_batch_size": 4,
        "optimizer": {"type": "AdamW", "params": {"lr": "auto"}},
        "fp16": {"enabled": False},
        "wall_clock_breakdown": True,
    }
    made = configured(tmp_path, file, zero=2)
    assert made["wall_clock_breakdown"] is True
    assert made["zero_optimization"]["reduce_bucket_size"] == 1000
    assert made["zero_optimization"]["stage"] == 2
    assert made["gradient_clipping"] == 1.0
    assert not {"optimizer", "fp16", "train_batch_size"} & made.keys()
    assert configured(tmp_path, {})["gradient_clipping"] == 0.0  # without ZeRO, ddmkit clips by itself
    offloaded = configured(tmp_path, {}, zero=1, offload=True)
    assert offloaded["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}


@pytest.mark.parametrize(
    ("file", "both"),
    [
        ({"train_batch_size": 8}, r"train_batch_size=8, and the run training.batch_size, which is 4"),
        ({"gradient_clipping": 0.5}, r"gradient_clipping=0.5, and the run training.gradient_clip, which is 1.0"),
        ({"zero_optimization": {"stage": 3}}, r"zero_optimization.stage=3, and the run engine.zero, which is 0"),
        ({"optimizer": {"params": {"lr": 0.1}}}, r"optimizer.params.lr=0.1, .* which is 0.001"),
        ({"optimizer": {"params": {"eps": 1e-6}}}, "has 'optimizer'"),
        (
            {"optimizer": {"type": "Lamb"}},
            r'optimizer.type="Lamb", which is always "AdamW" here: take it out of the file\.$',
        ),
        ({"bf16": {"enabled": True}}, r"bf16.enabled=true, and the run engine.precision=bfloat16, which is false"),
    ],
)
def test_what_contradicts_the_run_is_refused_with_both_values(tmp_path: Path, file: object, both: str) -> None:
    with pytest.raises(ConfigurationError, match=both):
        configured(tmp_path, file)


@pytest.mark.parametrize("section", ["scheduler", "fp16", "amp", "bfloat16", "torch_autocast"])
def test_sections_that_have_no_place_are_refused(tmp_path: Path, section: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has '{section}', .* Take it out of the file"):
        configured(tmp_path, {section: {"type": "x"}})


def test_options_of_zero_that_keep_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has zero_optimization.mics_shard_size, .* Take it out of the file"):
        configured(tmp_path, {"zero_optimization": {"mics_shard_size": 2}}, zero=3)
    with pytest.raises(ConfigurationError, match=r"type -o engine.zero=2"):
        configured(tmp_path, {"zero_optimization": {"overlap_comm": True}}, zero=1)


@pytest.mark.parametrize("value", [True, None, [1]])
@pytest.mark.parametrize("section", ["zero_optimization", "bf16", "optimizer"])
def test_a_section_that_is_no_mapping_is_refused(tmp_path: Path, section: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{section}=.* should be a mapping"):
        configured(tmp_path, {section: value})


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ({"zero_optimisation": {}}, "'zero_optimisation', which DeepSpeed does not know: did you mean 'zero_optimizat"),
        ({"xyzzy": 1}, "'xyzzy', which DeepSpeed does not know: take it out of the file"),
        ({"nebula": {"enabled": True}}, "does not take what stands in .*ds.json"),
        ({"checkpoint": {"tag_validation": "foo"}}, "does not take what stands in .*ds.json"),
        ({"zero_optimization": {"bucket": 1}}, "does not take bucket=1 in .*ds.json: it has no such setting"),
        ({"zero_optimization": {"reduce_bucket_size": "all"}}, 'does not take reduce_bucket_size="all" in'),
    ],
)
def test_what_deepspeed_does_not_know_is_named(tmp_path: Path, file: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        configured(tmp_path, file)


@pytest.mark.parametrize("name", ["flops_profiler", "activation_checkpointing", "tensorboard", "comms_logger", "aio"])
def test_sections_that_deepspeed_knows_are_passed_on(tmp_path: Path, name: str) -> None:
    assert name in configured(tmp_path, {name: {}, "_comment": "for people"})


def test_offload_stays_on_where_the_file_says_more_of_it(tmp_path: Path) -> None:
    file = {"zero_optimization": {"offload_optimizer": {"device": "cpu", "pin_memory": True}}}
    made = configured(tmp_path, file, zero=1, offload=True)
    assert made["zero_optimization"]["offload_optimizer"] == {"device": "cpu", "pin_memory": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "is no mapping"),
        ("{", "it is not JSON at line 1, column 2"),
        (
            '{"steps_per_print": 2,}',
            r"it is not JSON at line 1, column 2\d .*no comma before a closing bracket",
        ),
        (" \n", r"it is empty\. Mend it, or type -o engine.config=null"),
        ('{"zero_optimization": {}, "zero_optimization": {}}', "'zero_optimization' stands there twice"),
        ("\N{LATIN SMALL LETTER U WITH DIAERESIS}", "can't decode"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "ds.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=rf"engine\.config=.*ds\.json.*{words}"):
        configuration(two(config=path), TRAINING, 2)


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_bytes(b'\xef\xbb\xbf{"wall_clock_breakdown": true}')
    assert configuration(two(config=path), TRAINING, 2)["wall_clock_breakdown"] is True
