"""One device: steps beside hand-written ones, averages, checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.plugins.engines.stepping import (
    LOSS,
    Network,
    batch,
    do_steps,
    equal,
    gradients,
    make_network,
    open_cpu,
    parts,
    saved,
    training,
    weights,
)

from ddmkit import Batch, ConfigurationError
from ddmkit.configuration import Training
from ddmkit.rate import learning_rate
from ddmkit_plugins.engines.single import Single

pytestmark = pytest.mark.usefixtures("bfloat16_is_trained")


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


def test_auto_takes_a_gpu_where_there_is_one(network: Network) -> None:
    assert Single().open(network).device.type == ("cuda" if torch.cuda.is_available() else "cpu")
