"""One device: steps beside hand-written ones, averages, checkpoints, and what goes wrong."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Batch, CheckpointError, ConfigurationError, DeviceError, DivergedError, arithmetic
from ddmkit.configuration import Training
from ddmkit.diffusion import Diffusion
from ddmkit.memory import used
from ddmkit.randomness import normal
from ddmkit.rate import learning_rate
from ddmkit_plugins.backbones.unet3d_avg import UNet3dAverage
from ddmkit_plugins.backbones.unet3d_concat import UNet3dConcat
from ddmkit_plugins.engines.single import Single

if TYPE_CHECKING:
    from collections.abc import Callable

    from ddmkit import Backbone, Session
    from ddmkit.footprint import Work

LOSS = Diffusion().loss


class Network(nn.Module):
    """A convolution, a part that is never learned, and a running mean that only training moves."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 4, 3, padding=1)
        self.last = nn.Conv3d(4, 1, 1)
        self.fixed = nn.Parameter(torch.tensor(0.5), requires_grad=False)
        self.register_buffer("seen", torch.zeros(()))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        answer: Tensor = self.last(torch.tanh(self.first(x) + self.fixed * t.reshape(-1, 1, 1, 1, 1) / 100))
        return answer


@pytest.fixture
def network() -> Network:
    return make_network()


@pytest.fixture(autouse=True)
def _bfloat16_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor: sizes here are too small for what goes wrong on some (`multiplies_tiles`)."""
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: False)


def make_network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network()


def batch(step: int, size: int = 4) -> Batch:
    x, target = (normal((size, channels, 4, 5, 6), 0, what, step) for what, channels in (("x", 2), ("target", 1)))
    return Batch(x, torch.arange(1.0, size + 1), target)


def parts(whole: Batch, sizes: list[int]) -> list[Batch]:
    return [Batch(*pieces) for pieces in zip(*(torch.split(tensor, sizes) for tensor in whole), strict=True)]


def training(**settings: object) -> Training:
    return Training.model_validate({"steps": 100, "learning_rate": 0.01, **settings})


def open_cpu(network: nn.Module, learn: Training | None = None, **settings: object) -> Session:
    return Single.model_validate({"device": "cpu", **settings}).open(network, learn)


def do_steps(session: Session, first: int, last: int) -> list[float]:
    return [session.step([batch(step)], 4, LOSS, step).loss for step in range(first, last + 1)]


def gradients(network: nn.Module, given: Batch) -> dict[str, Tensor]:
    learned = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    loss = (network(given.inputs, given.times) - given.target).square().mean()
    return dict(zip(learned, torch.autograd.grad(loss, list(learned.values())), strict=True))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters() if weight.requires_grad}


def saved(session: Session, folder: Path) -> dict[str, Tensor]:
    folder.mkdir()
    session.save(folder)
    return {path.name + ":" + name: tensor for path in folder.iterdir() for name, tensor in load_file(path).items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_launcher_of_several_processes_is_told_which_engine_works_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    Single().serve()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    Single().serve()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match=r"began 2 processes .* add --engine deepspeed"):
        Single().serve()


def test_three_steps_are_those_of_a_hand_written_adamw(network: Network) -> None:
    """Algorithm 2 of Loshchilov & Hutter (2019), in float64, with a warm-up."""
    learn = training(betas=(0.8, 0.95), weight_decay=0.1, warmup=2)
    twin = make_network().double()
    first = {name: torch.zeros_like(weight) for name, weight in weights(twin).items()}
    second = {name: torch.zeros_like(weight) for name, weight in weights(twin).items()}
    session = open_cpu(network, learn)
    for step in (1, 2, 3):
        session.step([batch(step)], 4, LOSS, step)
        rate = learning_rate(learn, step)
        assert rate == pytest.approx({1: 0.005}.get(step, 0.01))
        found = gradients(twin, Batch(*(tensor.double() for tensor in batch(step))))
        for name, parameter in twin.named_parameters():
            if parameter.requires_grad:
                first[name] = 0.8 * first[name] + 0.2 * found[name]
                second[name] = 0.95 * second[name] + 0.05 * found[name] ** 2
                mean, square = first[name] / (1 - 0.8**step), second[name] / (1 - 0.95**step)
                parameter.data -= rate * (mean / (square.sqrt() + 1e-8) + 0.1 * parameter.data)
    for name, weight in weights(network).items():
        assert torch.allclose(weight.double(), weights(twin)[name], rtol=0, atol=2e-6), name


def test_a_step_tells_the_loss_and_the_gradients_norm_before_it(network: Network) -> None:
    twin = make_network()
    expected = (twin(batch(1).inputs, batch(1).times) - batch(1).target).square().mean()
    norm = math.sqrt(sum(float(part.square().sum()) for part in gradients(twin, batch(1)).values()))
    result = open_cpu(network, training()).step([batch(1)], 4, LOSS, 1)
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-6)
    assert result.gradient_norm == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("sizes", [[1, 1, 1, 1], [2, 2], [3, 1], [1, 3]])
def test_gradients_of_micro_batches_add_up_to_that_of_the_batch(sizes: list[int]) -> None:
    networks = make_network(), make_network()
    at_once, in_parts = (open_cpu(network, training(gradient_clip=0.5)) for network in networks)
    for step in (1, 2, 3):
        whole = at_once.step([batch(step)], 4, LOSS, step)
        split = in_parts.step(iter(parts(batch(step), sizes)), 4, LOSS, step)
        assert split == pytest.approx(whole, abs=1e-6)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("clip", [0.05, 1000.0])
def test_a_clipped_gradient_has_the_norm_asked_for_and_its_own_is_told(
    network: Network, tmp_path: Path, clip: float
) -> None:
    found = gradients(make_network(), batch(1))
    session = open_cpu(network, training(gradient_clip=clip))
    norm = session.step([batch(1)], 4, LOSS, 1).gradient_norm
    assert 0.05 < norm < 1000
    state = saved(session, tmp_path / "a")
    for name, gradient in found.items():
        moment = state[f"training.safetensors:exp_avg.{name}"]
        assert torch.allclose(moment, 0.1 * gradient * min(1, clip / norm), rtol=1e-4, atol=1e-8)


def test_the_average_is_that_of_a_hand_written_loop(network: Network) -> None:
    session = open_cpu(network, training(ema=0.7))
    average = {name: weight.double() for name, weight in weights(network).items()}
    decays = [min(0.7, (1 + step) / (10 + step)) for step in range(1, 21)]
    assert (decays[0], decays[-1]) == (2 / 11, 0.7)
    for step, decay in enumerate(decays, start=1):
        session.step([batch(step)], 4, LOSS, step)
        average = {name: decay * average[name] + (1 - decay) * weight for name, weight in weights(network).items()}
    answering = make_network().eval()
    answering.load_state_dict({**answering.state_dict(), **average})
    expected = answering(batch(0).inputs, batch(0).times)
    assert torch.allclose(session.predict(batch(0).inputs, batch(0).times), expected, atol=1e-5)
    now = network.eval()(batch(0).inputs, batch(0).times)
    assert not torch.allclose(session.predict(batch(0).inputs, batch(0).times), now, atol=1e-3)


def test_the_average_takes_over_what_is_counted_and_not_learned(network: Network, tmp_path: Path) -> None:
    session = open_cpu(network, training(ema=0.7))
    do_steps(session, 1, 3)
    assert saved(session, tmp_path / "a")["model.safetensors:seen"] == 3


def test_prediction_needs_no_gradient_and_changes_nothing(network: Network) -> None:
    session = open_cpu(network, training())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    answer = session.predict(batch(0).inputs, batch(0).times)
    assert answer.dtype == torch.float32
    assert not answer.requires_grad
    assert equal(dict(network.state_dict()), before)


@pytest.mark.parametrize(
    "settings", [{"precision": "bfloat16"}, {"channels_last": True}, {"precision": "bfloat16", "channels_last": True}]
)
def test_other_arithmetic_and_layout_give_nearly_the_same_from_float32_weights(
    settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    networks = make_network(), make_network()
    plain, other = open_cpu(networks[0], training()), open_cpu(networks[1], training(), **settings)
    tolerance = 0.03 if "precision" in settings else 1e-5
    assert do_steps(other, 1, 3) == pytest.approx(do_steps(plain, 1, 3), rel=tolerance)
    found, expected = (session.predict(batch(0).inputs, batch(0).times) for session in (other, plain))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=tolerance)
    assert not torch.equal(found, expected) or "precision" not in settings
    assert {weight.dtype for weight in networks[1].parameters()} == {torch.float32}


@pytest.mark.parametrize("settings", [{}, {"channels_last": True}, {"precision": "bfloat16"}], ids=str)
@pytest.mark.parametrize(
    "learn", [training(), training(ema=0.9, warmup=3, decay="cosine", gradient_clip=0.1)], ids=["plain", "all"]
)
def test_a_run_from_a_checkpoint_is_bit_for_bit_the_run_that_never_stopped(
    tmp_path: Path, settings: dict[str, object], learn: Training
) -> None:
    through = open_cpu(make_network(), learn, **settings)
    losses = do_steps(through, 1, 6)
    before = open_cpu(make_network(), learn, **settings)
    do_steps(before, 1, 3)
    saved(before, tmp_path / "step-3")
    after = open_cpu(Network(), learn, **settings)
    after.load(tmp_path / "step-3")
    assert do_steps(after, 4, 6) == losses[3:]
    assert equal(saved(after, tmp_path / "after"), saved(through, tmp_path / "through"))


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_session_that_only_predicts_reads_the_answering_weights_alone(tmp_path: Path, ema: float | None) -> None:
    session = open_cpu(make_network(), training(ema=ema))
    do_steps(session, 1, 3)
    saved(session, tmp_path / "a")
    (tmp_path / "a" / "training.safetensors").unlink()
    reading = open_cpu(Network())
    reading.load(tmp_path / "a")
    x, t, _ = batch(0)
    assert torch.equal(reading.predict(x, t), session.predict(x, t))


def test_an_average_may_be_switched_on_or_off_between_two_halves_of_a_run(tmp_path: Path) -> None:
    for number, (before, after) in enumerate([(None, 0.9), (0.9, None)]):
        first = open_cpu(trained := make_network(), training(ema=before))
        do_steps(first, 1, 3)
        folder = tmp_path / str(number)
        saved(first, folder)
        second = open_cpu(resumed := Network(), training(ema=after))
        second.load(folder)
        assert equal(weights(resumed), weights(trained))
        assert all(math.isfinite(loss) for loss in do_steps(second, 4, 5))


def nan_loss(output: Tensor, target: Tensor) -> Tensor:
    return LOSS(output, target) * math.nan


def infinite_gradient(output: Tensor, target: Tensor) -> Tensor:
    return (0 * LOSS(output, target)).sqrt()


@pytest.mark.parametrize(("loss", "what"), [(nan_loss, "loss is nan"), (infinite_gradient, "gradient's norm is nan")])
def test_what_is_not_finite_ends_the_run_with_its_step_and_leaves_the_weights(
    network: Network, loss: Callable[[Tensor, Tensor], Tensor], what: str
) -> None:
    session = open_cpu(network, training(ema=0.9))
    do_steps(session, 1, 2)
    before = weights(network)
    with pytest.raises(DivergedError, match=rf"^The {what} at step 3: lower training.learning_rate"):
        session.step([batch(3)], 4, loss, 3)
    assert equal(weights(network), before)


def test_a_session_goes_on_after_a_step_that_failed_as_if_it_had_not_been(tmp_path: Path) -> None:
    sessions = open_cpu(make_network(), training()), open_cpu(make_network(), training())
    with pytest.raises(DivergedError):
        sessions[0].step(parts(batch(1), [2, 2]), 4, next_is_nan(), 1)
    for session in sessions:
        do_steps(session, 1, 2)
    states = [saved(session, tmp_path / str(number)) for number, session in enumerate(sessions)]
    for state in states:
        state.pop("model.safetensors:seen")  # counts every pass
    assert equal(*states)


def next_is_nan() -> Callable[[Tensor, Tensor], Tensor]:
    calls = count()
    return lambda output, target: LOSS(output, target) * (math.nan if next(calls) else 1)


def test_a_checkpoint_of_another_network_names_the_tensor_and_both_shapes(network: Network, tmp_path: Path) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    state = saved(session, tmp_path / "a")
    model = {
        name.removeprefix("model.safetensors:"): value for name, value in state.items() if name.startswith("model")
    }
    for change, said in (
        ({"first.bias": torch.zeros(7)}, r"its first.bias is 7, the configured network's is 4\."),
        ({"other.bias": torch.zeros(())}, r"its other.bias is a number, the configured network's is absent\."),
    ):
        save_file({**model, **change}, tmp_path / "a" / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"belongs to another configuration: {said} Use the config.yaml"):
            open_cpu(Network()).load(tmp_path / "a")
    save_file(
        {name: value for name, value in model.items() if name != "last.bias"}, tmp_path / "a" / "model.safetensors"
    )
    with pytest.raises(CheckpointError, match=r"its last.bias is absent"):
        open_cpu(Network()).load(tmp_path / "a")


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_missing_or_damaged_checkpoint_is_one_sentence(network: Network, tmp_path: Path, name: str) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    saved(session, tmp_path / "a")
    content = (tmp_path / "a" / name).read_bytes()
    for damage in (b"", content[:20], content[:-3]):
        (tmp_path / "a" / name).write_bytes(damage)
        with pytest.raises(CheckpointError, match=rf"Cannot read the checkpoint file .*{name}"):
            open_cpu(Network(), training()).load(tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"Cannot read the checkpoint file .*{name}"):
        open_cpu(Network(), training()).load(tmp_path / "a")


def test_a_checkpoint_without_moments_is_refused(network: Network, tmp_path: Path) -> None:
    session = open_cpu(network, training())
    do_steps(session, 1, 1)
    saved(session, tmp_path / "a")
    save_file({"step": torch.tensor(1.0)}, tmp_path / "a" / "training.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks AdamW's moments of first.weight"):
        open_cpu(Network(), training()).load(tmp_path / "a")


def test_a_gpu_that_is_not_there_is_said_with_what_to_type() -> None:
    with pytest.raises(
        DeviceError, match=r"^The device cuda:99 is not there: .* Type -o engine.device=cpu, or auto\.$"
    ):
        Single(device="cuda:99").open(Network())


def test_a_device_without_a_name_that_torch_knows_is_refused() -> None:
    with pytest.raises(ValidationError):
        Single(device="gpu")


def test_auto_takes_a_gpu_where_there_is_one(network: Network) -> None:
    assert Single().open(network).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_peak_memory_is_the_most_that_the_process_ever_had(network: Network) -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kibibytes,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    assert open_cpu(network).peak_memory() == pytest.approx(1024 * int(kibibytes), rel=0.02)


LITTLE_MEMORY = """
    import resource, sys
    from pathlib import Path
    import torch
    from ddmkit import DdmkitError
    from ddmkit_plugins.engines.single import Single

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = torch.nn.Conv3d(1, 512, 1)
        def forward(self, x, t):
            return self.wide(x)

    session = Single(device="cpu").open(Network())
    session.predict(torch.zeros(1, 1, 4, 4, 4), torch.ones(1))
    x = torch.zeros(1, 1, 64, 64, 64)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
    try:
        session.predict(x, torch.ones(1))
    except DdmkitError as error:
        print(type(error).__name__, error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        session.save(Path(sys.argv[1]))
    except DdmkitError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits and /proc are Linux's")
def test_memory_and_disk_that_do_not_suffice_are_one_sentence_each(tmp_path: Path) -> None:
    command = [sys.executable, "-c", dedent(LITTLE_MEMORY), str(tmp_path)]
    ran: Any = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, disk = ran.stdout.splitlines()
    # Where memory is out, there is none to work out what would fit either.
    assert memory.startswith("OutOfMemoryError The memory of cpu does not suffice: ask ddmkit plan")
    assert disk.startswith(f"StorageError Cannot write {tmp_path / 'model.safetensors'}")


class Copying(nn.Module):
    """A network with two ways: one that makes eight copies of a volume on its way, and one that makes none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.went: list[str] = []

    def ways(self, work: Work, device: torch.device) -> tuple[str, str]:
        del work, device
        return "wide", "narrow"

    @override
    def forward(self, x: Tensor, t: Tensor, way: str = "plain") -> Tensor:
        if not x.is_meta:
            self.went.append(way)
        return torch.stack([x] * 8).mean(0) * self.weight if way == "wide" else x * self.weight


VOLUME = (1, 1, 50, 100, 500)
"""Ten megabytes in float32."""


def allowed(megabytes: float) -> str:
    """Return the setting by which a process may use so many more than it does."""
    return f"{used(torch.device('cpu')) / 1e6 + megabytes:.0f}MB"


@pytest.mark.parametrize(("megabytes", "way"), [(200, "wide"), (60, "narrow")])
def test_the_memory_allowed_decides_which_way_a_network_goes(megabytes: float, way: str) -> None:
    network = Copying()
    session = open_cpu(network, memory=allowed(megabytes))
    assert torch.equal(session.predict(torch.ones(VOLUME), torch.ones(1)), torch.ones(VOLUME))
    assert network.went == [way]


def test_as_many_examples_go_at_once_as_the_memory_allows() -> None:
    """One makes ten volumes of ten megabytes; two fit into 250 MB."""
    session = open_cpu(Copying(), memory=allowed(250))
    assert session.members_at_once(VOLUME[1:], 5, 0) == 2
    x = torch.ones(2, *VOLUME[1:])
    assert torch.equal(session.predict(x, torch.ones(2)), x)


def test_too_little_memory_is_refused_and_the_least_that_is_named_is_enough() -> None:
    x, t = torch.ones(VOLUME), torch.ones(1)
    with pytest.raises(DeviceError) as caught:
        open_cpu(Copying(), memory="1MB").predict(x, t)
    told = re.match(
        r"engine\.memory=1MB is too little: an evaluation on 50×100×500 voxels needs at least ([\d.]+[MG]B)\. "
        r"Type -o engine\.memory=\1, or ",
        str(caught.value),
    )
    assert told is not None
    open_cpu(network := Copying(), memory=told[1]).predict(x, t)
    assert network.went == ["narrow"]


class Large(nn.Module):
    """Twenty megabytes of weights, and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(5_000_000))

    @override
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.weights[:1]


def test_a_step_leaves_room_for_the_moments_that_it_makes() -> None:
    x = torch.ones(1, 1, 2, 2, 2)
    # Twenty megabytes of gradients fit, but not forty of moments beside them.
    with pytest.raises(DeviceError, match=r"a training step on 2×2×2 voxels needs at least"):
        open_cpu(Large(), training(), memory=allowed(45)).step([Batch(x, torch.ones(1), x)], 1, LOSS, 1)
    roomy = open_cpu(Large(), training(), memory=allowed(150))
    assert math.isfinite(roomy.step([Batch(x, torch.ones(1), x)], 1, LOSS, 1).loss)


@pytest.mark.parametrize("memory", ["abc", "16", 16, "-1GB", ""])
def test_a_limit_that_is_no_size_is_refused_with_an_example_of_one(memory: object) -> None:
    with pytest.raises(ValidationError, match="is no size such as 16GB or 900MB"):
        Single.model_validate({"memory": memory})


def test_a_device_without_bfloat16_calculates_in_float32_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: False)
    lowered, plain = open_cpu(make_network(), precision="bfloat16"), open_cpu(make_network())
    assert caplog.messages == ["cpu does not calculate in bfloat16: float32 is used instead."]
    x, t, _ = batch(1)
    assert torch.equal(lowered.predict(x, t), plain.predict(x, t))


@pytest.mark.parametrize(("tiles", "training"), [(True, True), (True, False), (False, True)])
def test_bfloat16_is_not_trained_where_torchs_gradients_are_wrong(
    *, tiles: bool, training: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: tiles)
    session = open_cpu(make_network(), Training() if training else None, precision="bfloat16")
    told = [message for message in caplog.messages if message.endswith("(AMX): float32 is used instead.")]
    assert len(told) == (tiles and training)
    x, t, _ = batch(1)
    widened = torch.equal(session.predict(x, t), open_cpu(make_network()).predict(x, t))
    assert widened == (tiles and training)


def test_a_device_with_bfloat16_says_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    open_cpu(make_network(), precision="bfloat16")
    assert not caplog.messages


class Trained(NamedTuple):
    """What five steps and an answer came to."""

    losses: list[float]
    norms: list[float]
    weights: dict[str, Tensor]
    answer: Tensor


def five_steps(backbone: Backbone, way: str, monkeypatch: pytest.MonkeyPatch, **settings: object) -> Trained:
    """Train the same network on the same batches, whatever way it goes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = backbone.build(2, 1)
    monkeypatch.setattr(type(network), "ways", lambda *_: (way,))
    session = open_cpu(network, training(learning_rate=1e-3, ema=0.9, gradient_clip=1.0), **settings)
    sides = (9, 8, 7)
    results = []
    for step in range(1, 6):
        x, target = (normal((2, channels, *sides), 0, what, step) for what, channels in (("x", 2), ("target", 1)))
        whole = Batch(x, torch.tensor([3.0, 700.0]), target + x[:, :1])
        results.append(session.step(parts(whole, [1, 1]) if step % 2 else [whole], 2, LOSS, step))
    answer = session.predict(normal((1, 2, *sides), 0, "new"), torch.tensor([500.0]))
    return Trained([one.loss for one in results], [one.gradient_norm for one in results], weights(network), answer)


@pytest.mark.parametrize("way", ["slabs", "recompute"])
@pytest.mark.parametrize(
    ("merged", "normalization"), [(UNet3dAverage, {"groups": 3}), (UNet3dConcat, {"normalization": "channel"})]
)
def test_training_goes_the_same_way_down_whatever_way_the_network_goes(
    merged: type[Backbone], normalization: dict[str, object], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = merged.model_validate({"width": 6, "multipliers": (1, 2), "blocks": 1, **normalization})
    plain, lean = (five_steps(backbone, one, monkeypatch) for one in ("plain", way))
    assert plain.losses[-1] < plain.losses[0]
    assert lean.losses == pytest.approx(plain.losses, rel=1e-5)
    assert lean.norms == pytest.approx(plain.norms, rel=1e-4)
    for name, weight in lean.weights.items():
        assert torch.allclose(weight, plain.weights[name], rtol=0, atol=1e-5), name
    assert torch.allclose(lean.answer, plain.answer, rtol=0, atol=1e-5)
