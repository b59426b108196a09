"""What an engine owes."""

from __future__ import annotations

import shutil
from functools import partial
from math import isclose, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from ddmkit.configuration import Training
from ddmkit.errors import CheckpointError, DivergedError
from ddmkit.testing.engine_problem import EXAMPLES, cut, mean_squared, plainly_trained, probe, problem
from ddmkit.testing.promises import described, in_a_sentence, outcome, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ddmkit.engine import Batch, Engine, Loss, Session, StepResult

_TRAINING = Training(
    steps=12, batch_size=EXAMPLES, learning_rate=0.2, warmup=2, decay="cosine", weight_decay=0.1, gradient_clip=1.0
)
_AVERAGED = _TRAINING.model_copy(update={"ema": 0.9})


@in_a_sentence
def check_engine(engine: Engine, tolerance: float = 1e-5) -> None:
    """Check that an engine learns as plain AdamW does, however a batch is cut, and loses nothing when it is stopped.

    A network of four weights is trained for a few steps; on the CPU, saved and loaded sessions must agree bit for bit.

    Args:
        engine: its settings.
        tolerance: how far, relatively, numbers may lie from those of float32 arithmetic; raise it for an engine that
            calculates more coarsely.

    Raises:
        AssertionError: it breaks a promise.
    """
    engine.check(probe(), _TRAINING)
    _check_learning(engine, tolerance)
    _check_averaging(engine, tolerance)
    for training in (None, _TRAINING, _AVERAGED):
        _check_predictions(engine, training, tolerance)
    for training in (_TRAINING, _AVERAGED):
        _check_resuming(engine, training, after=0)
        _check_resuming(engine, training, after=3)
        _check_divergence(engine, training)
    _check_wrong_checkpoints(engine)
    used = engine.open(probe()).peak_memory()
    require(used > 0, f"{type(engine).__qualname__} says that it used {used} bytes at most.")


def _check_learning(engine: Engine, tolerance: float) -> None:
    """Compare with plain AdamW, and whole batches with batches in pieces."""
    title = type(engine).__qualname__
    expected, truth = plainly_trained(_TRAINING)
    results, session = _trained(engine, _TRAINING, [EXAMPLES])
    finite = all(isfinite(value) for result in results for value in result)
    require(finite, f"{title} reports numbers that are not finite: {results}.")
    first, last = results[0].loss, results[-1].loss
    require(last < first / 2, f"{title} does not learn: the loss goes from {first:.3g} to {last:.3g}.")
    _compare(results, expected, f"{title} reports", "plain AdamW", tolerance)
    weights = _saved_weights(session)
    require(_near(weights, truth, tolerance), f"{title} learns other weights than plain AdamW.")
    for sizes in ([2, 2], [1, 3], [1, 1, 1, 1]):
        pieces = " + ".join(map(str, sizes))
        again, session = _trained(engine, _TRAINING, sizes)
        _compare(again, results, f"{title}, given {pieces} examples, reports", "the whole batch", tolerance)
        same = _near(_saved_weights(session), weights, tolerance)
        require(same, f"{title} learns other weights from {pieces} examples than from the whole batch.")


def _check_averaging(engine: Engine, tolerance: float) -> None:
    title = type(engine).__qualname__
    results, plain = _trained(engine, _TRAINING, [EXAMPLES])
    again, averaging = _trained(engine, _AVERAGED, [EXAMPLES])
    _compare(again, results, f"{title} with training.ema reports", "training without it", tolerance)
    same = _near(_saved_weights(averaging), _saved_weights(plain), 1e-4)
    require(not same, f"{title} answers with its last weights, though training.ema asks for their average.")


def _check_predictions(engine: Engine, training: Training | None, tolerance: float) -> None:
    title = f"{type(engine).__qualname__}'s predict"
    session, batch = engine.open(probe(dropout=0.5), training), problem()
    if training is not None:
        _step(session, [batch], 1)
    inputs, times = batch.inputs.to(session.device), batch.times.to(session.device)
    answer = session.predict(inputs, times)
    shape, promised = tuple(answer.shape), tuple(batch.target.shape)
    require(shape == promised, f"{title} answers with shape {shape}, not {promised}.")
    together = session.members_at_once(tuple(inputs.shape[1:]), EXAMPLES, 0)
    require(1 <= together <= EXAMPLES, f"{title} is said to have memory for {together} of {EXAMPLES} examples at once.")
    require(answer.dtype == torch.float32, f"{title} answers with {answer.dtype}, not float32.")
    require(answer.device == inputs.device, f"{title} answers on {answer.device}, not on {inputs.device}.")
    require(answer.isfinite().all(), f"{title} answers with numbers that are not finite.")
    require(not answer.requires_grad, f"{title} keeps what a gradient needs, which costs memory.")
    require(not answer.is_inference(), f"{title} answers with a tensor that nobody may write to; use torch.no_grad.")
    require(torch.equal(inputs.cpu(), problem().inputs), f"{title} writes into its inputs.")
    plain = probe().eval()
    plain.load_state_dict(_saved_weights(session))
    expected = plain(batch.inputs, batch.times).detach()
    near = _near({"": answer}, {"": expected}, tolerance)
    require(near, f"{title} answers otherwise than the weights it saves, in evaluation mode.")
    kept = answer.clone()
    session.predict(-inputs, times)
    require(torch.equal(answer, kept), f"{title} hands out one tensor twice; make a fresh one.")


def _check_resuming(engine: Engine, training: Training, after: int) -> None:
    """Compare sessions that go on from a checkpoint, after some steps, with the one that wrote it."""
    title = type(engine).__qualname__
    session, resumed, reader = engine.open(probe(), training), engine.open(probe(1), training), engine.open(probe(2))
    for number in range(1, after + 1):
        _step(session, [problem()], number)
    with TemporaryDirectory() as folder:
        written, moved, bare = (Path(folder) / name for name in ("written", "moved", "bare"))
        written.mkdir()
        saved = outcome(partial(session.save, written))
        require(saved is None, f"{title} {described(saved)} where it saves after step {after}.")
        written.rename(moved)
        _load(resumed, moved, f"{title}, from what it saved,")
        bare.mkdir()
        shutil.copy(moved / "model.safetensors", bare)
        _load(reader, bare, f"{title}, without training, from model.safetensors alone,")
    for other in (resumed, reader):
        same = _same(_predictions(other), _predictions(session))
        require(same, f"{title} predicts otherwise once its checkpoint is loaded.")
    for number in (after + 1, after + 2):
        gone_on, again = (_step(one, [problem()], number) for one in (session, resumed))
        same = _same(torch.tensor(again, device=session.device), torch.tensor(gone_on, device=session.device))
        require(same, f"{title} reports {again} at a step after resuming, and {gone_on} without a stop.")
    require(_same(_predictions(resumed), _predictions(session)), f"{title} learns other weights after resuming.")


def _check_divergence(engine: Engine, training: Training) -> None:
    """Compare a session that met numbers that are not finite with one that did not."""
    title = type(engine).__qualname__
    session, spared = engine.open(probe(), training), engine.open(probe(), training)
    for one in (session, spared):
        _step(one, [problem()], 1)
    batch = problem()
    batch.target[-1] = torch.nan
    bad_steps = {
        "a target that is NaN": partial(_step, session, cut(batch, [1, 3]), 2),
        "an infinite gradient": partial(_step, session, [problem()], 2, loss=_cliff),
    }
    for what, bad_step in bad_steps.items():
        result = outcome(bad_step)
        require(isinstance(result, DivergedError), f"{title} {described(result)} for {what}, not DivergedError.")
        same = _same(_predictions(session), _predictions(spared))
        require(same, f"{title} has other weights after {what}; leave them as they were.")
    for one in (session, spared):
        _step(one, [problem()], 2)
    same = _same(_predictions(session), _predictions(spared))
    require(same, f"{title} goes on otherwise after it diverged; leave the optimizer as it was.")


def _check_wrong_checkpoints(engine: Engine) -> None:
    title, wider = type(engine).__qualname__, engine.open(probe(in_channels=3), _TRAINING)
    session = engine.open(probe(), _TRAINING)
    _step(session, [problem()], 1)
    with TemporaryDirectory() as folder:
        session.save(Path(folder))
        foreign = outcome(partial(wider.load, Path(folder)))
        missing = outcome(partial(session.load, Path(folder) / "missing"))
    for result, what in ((foreign, "another network's checkpoint"), (missing, "a checkpoint that is not there")):
        require(isinstance(result, CheckpointError), f"{title} {described(result)} for {what}, not CheckpointError.")


def _trained(engine: Engine, training: Training, sizes: Sequence[int]) -> tuple[list[StepResult], Session]:
    """Return what each step reports and the session after the last."""
    session = engine.open(probe(), training)
    results = [_step(session, cut(problem(), sizes), number) for number in range(1, training.steps + 1)]
    return results, session


def _step(session: Session, batches: Sequence[Batch], number: int, loss: Loss = mean_squared) -> StepResult:
    return session.step(iter(batches), EXAMPLES, loss, number)


def _cliff(output: Tensor, _target: Tensor) -> Tensor:
    """Return a loss of 0 whose gradient is infinite."""
    return (output - output.detach()).sum().sqrt()


def _saved_weights(session: Session) -> dict[str, Tensor]:
    title, names = type(session).__qualname__, probe().state_dict().keys()
    with TemporaryDirectory() as folder:
        session.save(Path(folder))
        file = Path(folder) / "model.safetensors"
        require(file.is_file(), f"{title} saves no model.safetensors.")
        weights = load_file(file)
    require(weights.keys() == names, f"{title} saves {sorted(weights)}, but the network names {sorted(names)}.")
    return weights


def _load(session: Session, folder: Path, say: str) -> None:
    result = outcome(partial(session.load, folder))
    require(result is None, f"{say} {described(result)}.")


def _predictions(session: Session) -> Tensor:
    batch = problem()
    return session.predict(batch.inputs.to(session.device), batch.times.to(session.device))


def _compare(
    results: Sequence[StepResult], expected: Sequence[StepResult], reports: str, other: str, tolerance: float
) -> None:
    """Check that two trainings report the same of every step."""
    for number, (result, truth) in enumerate(zip(results, expected, strict=True), start=1):
        near = all(isclose(*pair, rel_tol=tolerance, abs_tol=tolerance) for pair in zip(result, truth, strict=True))
        require(near, f"{reports} {result} at step {number}, where {other} gives {truth}.")


def _near(weights: dict[str, Tensor], others: dict[str, Tensor], tolerance: float) -> bool:
    pairs = ((weight.cpu().float(), others[name].cpu().float()) for name, weight in weights.items())
    return all(torch.allclose(*pair, rtol=tolerance, atol=tolerance) for pair in pairs)


def _same(one: Tensor, other: Tensor) -> bool:
    """Compare bit for bit; where an accelerator may add in any order, nearly so."""
    return torch.equal(one, other) if one.device.type == "cpu" else torch.allclose(one, other, rtol=1e-5, atol=1e-5)
