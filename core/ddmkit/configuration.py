"""The configuration of a run: one component of every kind, and the sections that belong to no plugin.

A configuration is complete: what `config.yaml` of a run says is all there is to say, and `--config` reads it back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from ddmkit.backbone import Backbone, DiffusionAware
from ddmkit.checked import Outputs, checked_alphas_bar, checked_network, checked_size
from ddmkit.combination import Combine
from ddmkit.component import Component, Settings
from ddmkit.dataset import Dataset
from ddmkit.definition import Scoring
from ddmkit.diffusion import Diffusion
from ddmkit.encoding import Encoding
from ddmkit.engine import Engine
from ddmkit.kinds import KINDS
from ddmkit.objective import Objective
from ddmkit.patch import Patch
from ddmkit.preprocessing import Preprocessing, centred, grown
from ddmkit.sampler import Sampler
from ddmkit.schedule import Schedule
from ddmkit.settling import STEADY
from ddmkit.task import LabelTask, Task, VolumeTask
from ddmkit.tracker import Tracker
from ddmkit.window import Window

if TYPE_CHECKING:
    from torch import nn

INTERFACES = tuple(interface for interface in KINDS.values() if interface is not Tracker)
"""Every kind of which a configuration names one component, in the order it is written; of trackers it names any."""
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Number: TypeAlias = Annotated[int, Field(ge=1)]


class Split(Settings):
    """Which cases are trained on, which choose the best checkpoint, which are kept for the end."""

    method: Literal["seeded", "official"] = Field(
        default="seeded",
        description="seeded: patients are drawn by the seed and the shares below; official: the 295, 37 and 37 cases "
        "of BraTS 2020 that the paper's own code draws.",
    )
    validation: float = Field(
        default=0.1, ge=0, lt=1, description="Share of the patients that choose the best checkpoint."
    )
    test: float = Field(default=0.1, ge=0, lt=1, description="Share of the patients that training never sees.")
    seed: int = Field(default=0, ge=0, description="Seed of the split; the same names and seed give the same split.")


class Training(Settings):
    """How the weights are learned. The optimizer is AdamW (Loshchilov & Hutter 2019)."""

    steps: int = Field(default=100_000, ge=1, description="Optimizer steps.")
    batch_size: int = Field(default=1, ge=1, description="Examples per optimizer step, over all processes.")
    learning_rate: float = Field(default=1e-5, gt=0, description="Step size of AdamW.")
    betas: tuple[Share, Share] = Field(default=(0.9, 0.999), description="Decay rates of AdamW's two moments.")
    weight_decay: float = Field(default=0.01, ge=0, description="Decoupled weight decay of AdamW.")
    warmup: int = Field(default=0, ge=0, description="Steps over which the learning rate rises from 0.")
    decay: Literal["constant", "cosine"] = Field(
        default="constant", description="The learning rate after the warm-up: kept, or falling to 0 along a cosine."
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="Largest Euclidean norm of the gradient; null: not clipped."
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="Decay of the averaged weights that answer; null: the weights themselves."
    )
    checkpoint_every: int = Field(default=1000, ge=1, description="Steps between checkpoints.")


class Validation(Settings):
    """How often whole held-out volumes are sampled and scored."""

    every: int = Field(default=1000, ge=1, description="Steps between validations; the last step always validates.")
    cases: int = Field(default=37, ge=1, description="Validation cases that are sampled, at most.")
    test: bool = Field(default=False, description="Whether training ends by scoring the test cases.")
    picture_members: int = Field(default=5, ge=1, description="Ensemble members of the pictured case at the end.")


class Loading(Settings):
    """How windows are read while the device works; what they hold does not depend on it."""

    threads: int = Field(default=2, ge=1, description="Threads that read and prepare examples.")
    prefetch: int = Field(default=4, ge=1, description="Steps whose examples are prepared ahead; memory grows with it.")


class Sampling(Settings):
    """How many samples make an answer, and how (docs/ensembles.md)."""

    ensemble: Number | Literal["auto"] = Field(
        default=1,
        description="Members per case, samples from different starting noise; auto: as many as change the labels.",
    )
    combine: Combine = Field(
        default="mean",
        description="How labels come of the members. mean: the answer to their mean (the paper); vote: the class that "
        "most of them say; staple: the truth that they most likely stand for (Warfield et al. 2004).",
    )
    tolerance: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Where ensemble is auto: the change of the labels, 1 - Dice of the class that changes most, that "
        "counts as none.",
    )
    most: int = Field(
        default=15, ge=STEADY + 1, description="Where ensemble is auto: members at most; fewer cannot tell."
    )
    members_at_once: Number | Literal["auto"] = Field(
        default=1,
        description="Members per call of the network; memory grows with it. auto: as many as fit.",
    )

    @property
    def members(self) -> int:
        """Members per case, at most."""
        return self.most if self.ensemble == "auto" else self.ensemble


class Configuration(Settings):
    """Everything a run depends on."""

    seed: int = Field(default=0, ge=0, description="Seed of everything that is drawn.")
    data: Path | None = Field(default=None, description="The folder of the data; null: the dataset makes its own.")
    task: Task
    dataset: Dataset
    backbone: Backbone
    schedule: Schedule
    sampler: Sampler
    patch: Patch
    encoding: Encoding
    engine: Engine
    tracker: tuple[Tracker, ...] = ()
    diffusion: Diffusion = Diffusion()
    preprocessing: Preprocessing = Preprocessing()
    split: Split = Split()
    training: Training = Training()
    loading: Loading = Loading()
    validation: Validation = Validation()
    sampling: Sampling = Sampling()
    scoring: Scoring = Scoring()

    @model_validator(mode="after")
    def _steps_fit_the_schedule(self) -> Self:
        steps, timesteps = self.sampler.steps, self.schedule.timesteps
        if steps > timesteps:
            msg = (
                f"sampler.steps={steps} is more than schedule.timesteps={timesteps}, and each step needs a time of its "
                f"own: type -o sampler.steps={timesteps} or fewer"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _members_can_be_combined(self) -> Self:
        combine, task = self.sampling.combine, self.task
        if combine != "mean" and not (isinstance(task, LabelTask) and task.answers):
            msg = (
                f"sampling.combine={combine} compares the classes that members say, and the task {task.name!r} "
                "answers with none: type -o sampling.combine=mean"
            )
            raise ValueError(msg)
        if self.sampling.ensemble == "auto" and isinstance(task, VolumeTask):
            msg = (
                f"sampling.ensemble=auto takes members until the labels stay, and the task {task.name!r} answers with "
                "volumes, one a member: say how many, as in -o sampling.ensemble=1"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _losses_go_together(self) -> Self:
        if self.task.adds_loss and self.diffusion.prediction != "x0":
            msg = (
                f"the task {self.task.name!r} has a loss of its own on estimates of x_0, which does not go with "
                f"diffusion.prediction={self.diffusion.prediction}: type -o diffusion.prediction=x0, or leave the "
                "task's loss out"
            )
            raise ValueError(msg)
        return self

    SECTIONS: ClassVar[dict[str, type[Settings]]] = {
        "diffusion": Diffusion,
        "preprocessing": Preprocessing,
        "split": Split,
        "training": Training,
        "loading": Loading,
        "validation": Validation,
        "sampling": Sampling,
        "scoring": Scoring,
    }

    def tree(self) -> dict[str, Any]:
        """Return every setting as plain values, ready for YAML."""
        tree: dict[str, Any] = {"seed": self.seed, "data": None if self.data is None else str(self.data)}
        for interface in INTERFACES:
            component: Component = getattr(self, interface.kind)
            tree[interface.kind] = component.tree()
        tree[Tracker.kind] = {tracker.name: tracker.model_dump(mode="json") for tracker in self.tracker}
        for section in self.SECTIONS:
            settings: Settings = getattr(self, section)
            tree[section] = settings.model_dump(mode="json")
        return tree

    def region_of(self, brain: Window) -> Window:
        """Return what windows of a volume are taken from, as a window of the frame.

        Args:
            brain: where the brain lies in the volume, as a window of it; its frame is the volume's shape.
        """
        frame = self.preprocessing.padded(brain.frame)
        box = centred(brain, frame) if self.preprocessing.frame == "brain" else Window.whole(frame)
        return grown(box, checked_size(self.patch, box.size))

    def network(self) -> nn.Module:
        """Return the network with fresh weights, told of the diffusion if it asks (`DiffusionAware`).

        Raises:
            ConfigurationError: the network does not go with schedule or prediction.
        """
        import torch

        network = checked_network(self.backbone, self.in_channels, self.out_channels)
        if isinstance(network, DiffusionAware):
            with torch.device("cpu"):  # though weights may be shapes alone
                network.set_diffusion(checked_alphas_bar(self.schedule), self.diffusion.prediction)
        return network

    @property
    def objective(self) -> Objective:
        """What a step makes small."""
        return Objective(self.diffusion, self.task, Outputs.of(self.backbone))

    @property
    def in_channels(self) -> int:
        """Input channels of the network: condition, encoding, x_t."""
        return self.task.condition_channels + self.encoding.channels + self.out_channels

    @property
    def out_channels(self) -> int:
        """Output channels of the network: those of x_0."""
        return len(self.task.x0_channels)
