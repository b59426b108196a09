"""What an engine owes is checked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typing_extensions import override

from ddmkit import Batch, CheckpointError, DivergedError, Engine, Session, StepResult, arithmetic
from ddmkit.configuration import Training
from ddmkit.engine import Loss
from ddmkit.testing import check, check_engine
from ddmkit_plugins.engines.single import Single


@pytest.mark.parametrize("engine", [Single(device="cpu"), Single(device="cpu", channels_last=True)])
def test_an_engine_that_keeps_its_promises_passes(engine: Engine) -> None:
    check(engine)


def test_an_engine_that_calculates_coarsely_can_say_so(
    refuses: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "multiplies_bfloat16", lambda _: True)
    monkeypatch.setattr(arithmetic, "multiplies_tiles", lambda: False)  # where a plain network is not trained coarsely
    coarse = Single(device="cpu", precision="bfloat16")
    refuses(coarse, "where plain AdamW gives")
    check_engine(coarse, tolerance=0.03)


class Handed(Session):
    """Hands everything on to a session that keeps its promises; a broken session differs in one method."""

    def __init__(self, engine: Single, network: nn.Module, training: Training | None) -> None:
        self.network, self.training = network, training
        self.inner = Single.open(engine, network, training)
        self.device = self.inner.device

    @override
    def step(self, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
        return self.inner.step(batches, count, loss, number)

    @override
    def predict(self, inputs: Tensor, times: Tensor) -> Tensor:
        return self.inner.predict(inputs, times)

    @override
    def save(self, folder: Path) -> None:
        self.inner.save(folder)

    @override
    def load(self, folder: Path) -> None:
        self.inner.load(folder)

    @override
    def peak_memory(self) -> int:
        return self.inner.peak_memory()


Refuses = Callable[[str, Callable[..., object], str], None]


@pytest.fixture
def refuses_session(refuses: Callable[..., None]) -> Refuses:
    """Return a function that sees to it that an engine is caught whose sessions differ in one method."""

    def refuse(method: str, broken: Callable[..., object], sentence: str) -> None:
        session = type("Broken", (Handed,), {method: broken})
        refuses(Single(device="cpu"), sentence, open=partial_method(session))

    return refuse


def partial_method(session: Callable[..., Session]) -> Callable[..., Session]:
    return lambda engine, network, training=None: session(engine, network, training)


def test_a_session_that_only_hands_on_passes() -> None:
    methods = {"__doc__": "Handed.", "__module__": __name__, "open": partial_method(Handed)}
    check(type("Handing", (Single,), methods))


def doubled(self: Handed, *arguments: object) -> StepResult:
    loss, norm = Handed.step(self, *arguments)  # type: ignore[arg-type]  # handed on as they come
    return StepResult(2 * loss, norm)


def clipped_norm(self: Handed, *arguments: object) -> StepResult:
    loss, norm = Handed.step(self, *arguments)  # type: ignore[arg-type]  # as above
    return StepResult(loss, min(norm, 1.0))


def without_warmup(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    return Handed.step(self, batches, count, loss, number + 1)


def first_piece(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    return Handed.step(self, list(batches)[:1], count, loss, number)


def mean_of_means(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    pieces = list(batches)

    def equal_say(output: Tensor, target: Tensor) -> Tensor:
        return loss(output, target) * count / len(output) / len(pieces)

    return Handed.step(self, pieces, count, equal_say, number)


def swallows(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    try:
        return Handed.step(self, batches, count, loss, number)
    except DivergedError:
        return StepResult(0.0, 0.0)


def moves_on(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    try:
        return Handed.step(self, batches, count, loss, number)
    except DivergedError:
        with torch.no_grad():
            next(self.network.parameters()).add_(1)
        raise


def remembers(self: Handed, batches: Iterable[Batch], count: int, loss: Loss, number: int) -> StepResult:
    pieces = list(batches)
    try:
        return Handed.step(self, pieces, count, loss, number)
    except DivergedError:
        weights = copy.deepcopy(self.network.state_dict())
        finite = [piece._replace(target=piece.target.nan_to_num()) for piece in pieces]
        Handed.step(self, finite, count, lambda output, target: (output - target).square().mean(), number)
        self.network.load_state_dict(weights)
        raise


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (lambda *_: StepResult(float("nan"), 1.0), "reports numbers that are not finite"),
        (lambda *_: StepResult(1.0, 1.0), "does not learn: the loss goes from 1 to 1"),
        (doubled, "at step 1, where plain AdamW gives"),
        (clipped_norm, "at step 1, where plain AdamW gives"),
        (without_warmup, "at step 2, where plain AdamW gives"),
        (first_piece, r"given 2 \+ 2 examples, reports .* at step 1, where the whole batch gives"),
        (mean_of_means, r"given 1 \+ 3 examples, reports .* at step 1, where the whole batch gives"),
        (swallows, "returns StepResult.* for a target that is NaN, not DivergedError"),
        (moves_on, "has other weights after a target that is NaN"),
        (remembers, "goes on otherwise after it diverged"),
    ],
)
def test_a_broken_step_is_caught(step: Callable[..., StepResult], sentence: str, refuses_session: Refuses) -> None:
    refuses_session("step", step, sentence)


def keeps_graph(self: Handed, inputs: Tensor, times: Tensor) -> Tensor:
    answer: Tensor = self.network.eval()(inputs, times)
    return answer


def in_inference_mode(self: Handed, inputs: Tensor, times: Tensor) -> Tensor:
    with torch.inference_mode():
        return Handed.predict(self, inputs, times)


def in_training_mode(self: Handed, inputs: Tensor, times: Tensor) -> Tensor:
    with torch.no_grad():
        answer: Tensor = self.network.train()(inputs, times)
        return answer


def timeless(self: Handed, inputs: Tensor, times: Tensor) -> Tensor:
    return Handed.predict(self, inputs, torch.ones_like(times))


SHARED = torch.empty(4, 1, 3, 4, 5)


@pytest.mark.parametrize(
    ("predict", "sentence"),
    [
        (lambda self, x, t: Handed.predict(self, x, t)[:1], r"answers with shape \(1, 1, 3, 4, 5\)"),
        (lambda self, x, t: Handed.predict(self, x, t).double(), r"answers with torch\.float64, not float32"),
        (lambda self, x, t: Handed.predict(self, x, t).to("meta"), "answers on meta, not on cpu"),
        (lambda self, x, t: Handed.predict(self, x, t).sqrt(), "answers with numbers that are not finite"),
        (lambda self, x, t: Handed.predict(self, x.mul_(2), t), "writes into its inputs"),
        (lambda self, x, t: SHARED.copy_(Handed.predict(self, x, t)), "hands out one tensor twice"),
        (keeps_graph, "keeps what a gradient needs"),
        (in_inference_mode, r"that nobody may write to; use torch\.no_grad"),
        (in_training_mode, "answers otherwise than the weights it saves, in evaluation mode"),
        (timeless, "answers otherwise than the weights it saves, in evaluation mode"),
    ],
)
def test_a_broken_prediction_is_caught(predict: Callable[..., Tensor], sentence: str, refuses_session: Refuses) -> None:
    refuses_session("predict", predict, sentence)


def elsewhere(self: Handed, folder: Path) -> None:
    Handed.save(self, folder)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def prefixed(self: Handed, folder: Path) -> None:
    Handed.save(self, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors")


def only_once_stepped(self: Handed, folder: Path) -> None:
    Handed.save(self, folder)
    if self.training is not None and not any(tensor.any() for tensor in moments(folder)):
        raise KeyError("exp_avg")  # noqa: EM101 - as a dictionary says it


def moments(folder: Path) -> list[Tensor]:
    return [tensor for name, tensor in load_file(folder / "training.safetensors").items() if name.startswith("exp_")]


def rounded(self: Handed, folder: Path) -> None:
    Handed.save(self, folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("together", [0, 5])
def test_no_examples_or_more_than_there_are_at_once_are_caught(together: int, refuses_session: Refuses) -> None:
    sentence = f"is said to have memory for {together} of 4 examples at once"
    refuses_session("members_at_once", lambda *_: together, sentence)


@pytest.mark.parametrize(
    ("save", "sentence"),
    [
        (elsewhere, "saves no model.safetensors"),
        (only_once_stepped, "raises KeyError: 'exp_avg' where it saves after step 0"),
        (prefixed, r"saves \['module\.drift', .* but the network names \['drift'"),
        (rounded, "learns other weights than plain AdamW"),
    ],
)
def test_a_broken_save_is_caught(save: Callable[..., None], sentence: str, refuses_session: Refuses) -> None:
    refuses_session("save", save, sentence)


def weights_alone(self: Handed, folder: Path) -> None:
    try:
        self.network.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError) as error:
        raise CheckpointError from error


def greedy(self: Handed, folder: Path) -> None:
    load_file(folder / "training.safetensors")
    Handed.load(self, folder)


def raw(self: Handed, folder: Path) -> None:
    try:
        Handed.load(self, folder)
    except CheckpointError as error:
        raise KeyError("mix.weight") from error  # noqa: EM101 - as a dictionary says it


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (lambda *_: None, "predicts otherwise once its checkpoint is loaded"),
        (weights_alone, "reports .* at a step after resuming, and .* without a stop"),
        (greedy, r"without training, from model\.safetensors alone, raises FileNotFoundError"),
        (raw, "raises KeyError: 'mix.weight' for another network's checkpoint, not CheckpointError"),
    ],
)
def test_a_broken_load_is_caught(load: Callable[..., None], sentence: str, refuses_session: Refuses) -> None:
    refuses_session("load", load, sentence)


def test_an_engine_that_forgets_to_average_is_caught(refuses: Callable[..., None]) -> None:
    def forgetful(engine: Single, network: nn.Module, training: Training | None = None) -> Session:
        plain = None if training is None else training.model_copy(update={"ema": None})
        return Single.open(engine, network, plain)

    refuses(Single(device="cpu"), "answers with its last weights", open=forgetful)


def test_an_engine_that_does_not_know_its_memory_is_caught(refuses_session: Refuses) -> None:
    refuses_session("peak_memory", lambda _: 0, "says that it used 0 bytes at most")
