"""DeepSpeed's configuration: what a run settles, and what else a user's file says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from typing_extensions import override

from ddmkit import ConfigurationError
from ddmkit.spelling import nearest
from ddmkit_plugins.engines.distributed.engines import import_quietly

if TYPE_CHECKING:
    from pathlib import Path

    from ddmkit import Training
    from ddmkit_plugins.engines.deepspeed import DeepSpeed

_REFUSED = {
    "optimizer": "it is AdamW with the settings of training",
    "scheduler": "the learning rate follows training.decay and training.warmup",
    "fp16": "ddmkit calculates in float32 or bfloat16 (engine.precision)",
    "amp": "ddmkit calculates in float32 or bfloat16 (engine.precision)",
    "bfloat16": "it is called bf16 by now",
    "torch_autocast": "ddmkit calculates in float32 or bfloat16 (engine.precision)",
    "communication_data_type": "gradients are added up in float32",
    "data_types": "gradients are added up in float32",
    "elasticity": "the batch is training.batch_size",
    "compression_training": "it would train another network",
}
"""Sections that have no place beside a run's settings, and why."""
_REFUSED_OF_ZERO = (
    "offload_param",
    "zero_hpz_partition_size",
    "mics_shard_size",
    "zero_quantized_weights",
    "zero_quantized_nontrainable_weights",
    "zero_quantized_gradients",
)
"""Options with which weights lie elsewhere than where they are averaged, saved and loaded, or are others."""
_BUCKET = 2**24
"""Gradients that ZeRO adds up at once, in memory of their own: 67 MB, where DeepSpeed would take 2 GB."""
_NEVER = 10**9
"""Steps between two lines of DeepSpeed's own."""


class Settled(NamedTuple):
    """What a run settles of DeepSpeed's configuration."""

    setting: str | None
    """Where a user sets it; None for what is always so."""
    value: Any
    """As DeepSpeed has it."""


def configuration(settings: DeepSpeed, training: Training, rows: int) -> dict[str, Any]:
    """Return what DeepSpeed is given: the user's file, and over it what makes its engine do what a run says.

    Args:
        settings: as the user has set them.
        training: how to learn.
        rows: how many processes, or rows of stages, share a batch out.

    Raises:
        ConfigurationError: the file cannot be read, or contradicts the run.
    """
    file = {} if settings.config is None else _read(settings.config)
    if settings.config is not None:
        import_quietly(settings.chosen())
        _refuse_unknown(file, settings.config)
    for path, settled in _settled(settings, training, rows).items():
        _compare(file, path, settled, settings.config)
    for name, why in _REFUSED.items():
        if _is_on(file.pop(name, None)):
            msg = f"{settings.config} has {name!r}, which does not go with ddmkit: {why}. Take it out of the file."
            raise ConfigurationError(msg)
    theirs: dict[str, Any] = file.pop("zero_optimization", {})
    for name in _REFUSED_OF_ZERO:
        if theirs.get(name):
            msg = (
                f"{settings.config} has zero_optimization.{name}, which does not go with ddmkit: it shares weights out "
                "in a way of its own, which could not be saved whole. Take it out of the file."
            )
            raise ConfigurationError(msg)
    if theirs.get("overlap_comm") and settings.zero == 1:
        msg = (
            f"{settings.config} has zero_optimization.overlap_comm, which DeepSpeed only has with engine.zero=2 or 3: "
            "take it out of the file, or type -o engine.zero=2."
        )
        raise ConfigurationError(msg)
    zero = {
        "reduce_bucket_size": _BUCKET,
        **theirs,
        # Every weight is shared out, small ones too, so that all are saved and averaged alike.
        "stage3_param_persistence_threshold": 0,
        "stage": settings.zero,
    }
    if settings.offload:
        zero["offload_optimizer"] = {**theirs.get("offload_optimizer", {}), "device": "cpu"}
    # One example a process, as far as DeepSpeed knows: ddmkit deals out batches, and weighs them, by itself.
    made = {
        **file,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": _NEVER,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "gradient_clipping": (training.gradient_clip or 0.0) if settings.zero else 0.0,
        "zero_optimization": zero,
    }
    if settings.config is not None:
        _refuse_wrong(made, settings.config)
    return made


def _refuse_unknown(file: dict[str, Any], where: Path) -> None:
    """Make sure that DeepSpeed asks for everything in the file, since it passes over the rest in silence."""
    known = _Asked.of_deepspeed()
    for name in file:
        if name not in known and not name.startswith("_"):  # as comments are kept in JSON
            near = nearest(name, known)
            advice = f"did you mean {near!r}?" if near else "take it out of the file."
            msg = f"{where} has {name!r}, which DeepSpeed does not know: {advice}"
            raise ConfigurationError(msg)


def _refuse_wrong(made: dict[str, Any], where: Path) -> None:
    """Make sure that DeepSpeed takes what stands in the file's sections."""
    from deepspeed.runtime.config import DeepSpeedConfig, DeepSpeedConfigError

    try:
        DeepSpeedConfig(made)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = "it has no such setting" if first["type"] == "extra_forbidden" else first["msg"]
        msg = f"DeepSpeed does not take {name}={json.dumps(first['input'], default=str)} in {where}: {reason}."
        raise ConfigurationError(msg) from error
    except (DeepSpeedConfigError, ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        msg = f"DeepSpeed does not take what stands in {where}: {error}."
        raise ConfigurationError(msg) from error


class _Asked(dict[str, Any]):
    """A configuration that takes down what it is asked for; DeepSpeed has no list of what it knows."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.names: set[str] = set()

    @classmethod
    def of_deepspeed(cls) -> set[str]:
        """Return what DeepSpeed, in the version that is installed, asks for."""
        from deepspeed.runtime.config import DeepSpeedConfig

        asked = cls({"train_micro_batch_size_per_gpu": 1})  # which goes with any number of processes
        DeepSpeedConfig(asked)
        return asked.names

    @override
    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    @override
    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)

    @override
    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    @override
    def keys(self) -> Any:  # in which it looks for names, and never goes through them all
        return self


def _settled(settings: DeepSpeed, training: Training, rows: int) -> dict[str, Settled]:
    at_once = settings.at_once or training.batch_size // rows
    beta1, beta2 = training.betas
    return {
        "train_batch_size": Settled("training.batch_size", training.batch_size),
        "train_micro_batch_size_per_gpu": Settled("engine.micro_batch", at_once),
        "gradient_accumulation_steps": Settled(
            "training.batch_size and engine.micro_batch", -(-training.batch_size // (rows * at_once))
        ),
        "gradient_clipping": Settled("training.gradient_clip", training.gradient_clip or 0.0),
        "optimizer.type": Settled(None, "AdamW"),
        "optimizer.params.lr": Settled("training.learning_rate", training.learning_rate),
        "optimizer.params.betas": Settled("training.betas", [beta1, beta2]),
        "optimizer.params.weight_decay": Settled("training.weight_decay", training.weight_decay),
        "bf16.enabled": Settled("engine.precision=bfloat16", settings.precision == "bfloat16"),
        "zero_optimization.stage": Settled("engine.zero", settings.zero),
        "zero_optimization.offload_optimizer.device": Settled("engine.offload", "cpu" if settings.offload else "none"),
        "zero_allow_untested_optimizer": Settled(None, value=True),
    }


def _compare(file: dict[str, Any], path: str, settled: Settled, where: Path | None) -> None:
    """Take a value that a run settles out of the file, in which it may stand alike or as "auto"."""
    *sections, name = path.split(".")
    section: dict[str, Any] = file
    for number, part in enumerate(sections, start=1):
        inner = section.get(part, {})
        if not isinstance(inner, dict):
            msg = (
                f"{where} says {'.'.join(sections[:number])}={json.dumps(inner)}, which should be a mapping "
                "of settings to values: take it out of the file, or write it out."
            )
            raise ConfigurationError(msg)
        section = inner
    if name not in section:
        return
    value = section.pop(name)
    if sections and not section:
        _drop(file, sections)
    if value not in ("auto", settled.value):
        said, ours = f"{path}={json.dumps(value)}", json.dumps(settled.value)
        if settled.setting is None:
            msg = f"{where} says {said}, which is always {ours} here: take it out of the file."
        else:
            msg = (
                f"{where} says {said}, and the run {settled.setting}, which is {ours}: take it out of the file, or set "
                f"{settled.setting} alike."
            )
        raise ConfigurationError(msg)


def _drop(file: dict[str, Any], sections: list[str]) -> None:
    """Take a section out that is empty by now, and those around it that are then."""
    *around, last = sections
    outer = file
    for part in around:
        outer = outer[part]
    del outer[last]
    if around and not outer:
        _drop(file, around)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping of JSON's, in which nothing may be said twice."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"{twice!r} stands there twice"
        raise ValueError(msg)
    return mapping


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        if not error.doc.strip():
            return "it is empty"
        where = f"line {error.lineno}, column {error.colno}"
        return f"it is not JSON at {where} ({error.msg.lower()}; JSON has no comma before a closing bracket)"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _is_on(section: Any) -> bool:  # noqa: ANN401 - whatever stood in the user's JSON
    return bool(section.get("enabled", True)) if isinstance(section, dict) else bool(section)


def _read(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once_each)
    except (OSError, ValueError) as error:
        msg = (
            f"Cannot read engine.config={path}: {_reason(error)}. Mend it, or type -o engine.config=null to go without."
        )
        raise ConfigurationError(msg) from error
    if not isinstance(file, dict):
        msg = f"engine.config={path} is no mapping of DeepSpeed's settings to values."
        raise ConfigurationError(msg)
    return file
