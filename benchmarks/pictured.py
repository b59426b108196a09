"""One slice of a case and of all its members: what a gallery shows, kept in a file of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ddmkit.files import whole_file
from ddmkit.run.validation import score_answer, scored_mask
from ddmkit.sampling import answer_case
from ddmkit.scoring import Score
from ddmkit.task import label_task
from ddmkit_plugins.trackers.slices import Slice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ddmkit.sampling import Model
    from ddmkit.stored_case import StoredCase


class Pictured(NamedTuple):
    """A case as it was answered, in one slice of H rows and W columns; several channels are added up."""

    case: str
    level: int
    """Voxels from the feet."""
    aspect: float
    """Height of a pixel by its width."""
    channels: int
    """Of a member: the highest value that there can be."""
    contrast: np.ndarray
    """(H, W), 0 to 1: the last of the task's images."""
    reference: np.ndarray
    """(H, W), bool: where there is anything that is scored."""
    members: np.ndarray
    """(M, H, W): read-outs."""
    mean: np.ndarray
    """(H, W), over the members."""
    variance: np.ndarray
    """(H, W), over the members."""
    alone: list[list[Score]]
    """Of the whole answer of each member, by region."""
    together: list[Score]
    """Of the whole answer of all, by region."""


def look(model: Model, case: StoredCase, members: int, progress: Callable[[int, int], None]) -> Pictured:
    """Answer a case with an ensemble, and keep one slice of each member.

    Args:
        model: the network.
        case: with a reference.
        members: how many.
        progress: told of calls of the network.
    """
    configuration = model.configuration
    contrast = case.leave(case.read(case.whole()).images.numpy())[-1]
    reference = scored_mask(configuration, case)
    assert reference is not None  # noqa: S101 - only cases with a reference are asked for
    shown = Slice.with_most(reference if reference.any() else contrast > 0, np.asarray(case.affine))
    slices: list[np.ndarray] = []
    alone: list[list[Score]] = []

    def keep(_number: int, readout: np.ndarray) -> None:
        slices.append(shown.of(readout.sum(axis=0)).copy())
        alone.append(
            score_answer(configuration, case, label_task(configuration.task).answer(torch.from_numpy(readout)).numpy())
        )

    answer = answer_case(model, case, ensemble=members, seed=configuration.seed, progress=progress, keep=keep)
    return Pictured(
        case=case.name,
        level=shown.level,
        aspect=shown.aspect,
        channels=len(configuration.task.x0_channels),
        contrast=shown.of(contrast),
        reference=shown.of(reference),
        members=np.stack(slices),
        mean=shown.of(answer.mean.sum(axis=0)),
        variance=shown.of(answer.variance.sum(axis=0)),
        alone=alone,
        together=score_answer(configuration, case, answer.labels),
    )


def write(path: Path, pictured: Pictured) -> None:
    """Write it, whole or not at all."""
    values = pictured._asdict().items()
    arrays: dict[str, Any] = {name: value for name, value in values if isinstance(value, np.ndarray)}
    plain = {
        **{name: value for name, value in values if name not in arrays},
        "alone": [[score._asdict() for score in scores] for scores in pictured.alone],
        "together": [score._asdict() for score in pictured.together],
    }
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, plain=np.array(json.dumps(plain)), **arrays)


def read(path: Path) -> Pictured:
    """Read what `write` wrote; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name != "plain"}
        plain = json.loads(str(file["plain"]))
    plain["alone"] = [[Score(**score) for score in scores] for scores in plain["alone"]]
    plain["together"] = [Score(**score) for score in plain["together"]]
    return Pictured(**plain, **arrays)
