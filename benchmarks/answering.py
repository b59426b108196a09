"""Ensembles of growing size, scored on the way: one sampling of 15 members answers for all smaller ones too.

The starting noise of a member comes from seed, case and its number, so that the first five members of fifteen are the
ensemble of five. Members are taken in one by one and none is kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks.kept import Found
from ddmkit.building import key
from ddmkit.combination import Combination
from ddmkit.run.folder import weights_digest
from ddmkit.run.trainer import open_session
from ddmkit.run.validation import score_answer
from ddmkit.sampling import Model, answer_case
from ddmkit.task import label_task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from benchmarks.kept import Kept
    from benchmarks.subjects import Subject
    from ddmkit.configuration import Configuration
    from ddmkit.stored_case import StoredCase

_IRRELEVANT = ("data", "training", "validation", "loading", "split", "dataset")
"""Parts of a configuration that no answer of a trained network depends on."""


class Answering:
    """Asks one run; its network is opened when it is first needed, which may be never.

    Args:
        subject: the run and its cases.
        kept: what was found before; what is found goes there.
        progress: told of (what, calls of the network done, calls there will be).
    """

    def __init__(self, subject: Subject, kept: Kept, progress: Callable[[str, int, int], None]) -> None:
        self._subject = subject
        self._kept = kept
        self._progress = progress
        self._weights = weights_digest(subject.weights)
        self._model: Model | None = None

    def ensembles(self, sizes: Sequence[int], steps: int | None = None) -> dict[int, list[Found]]:
        """Return, for each size of ensemble, what was found of every case.

        Args:
            sizes: numbers of members.
            steps: of the sampler; None: the run's.
        """
        subject = self._subject if steps is None else self._subject.with_steps(steps)
        for case in subject.cases:
            self._complete(subject.configuration, case, sizes)
        keys = [self._key(subject.configuration, case) for case in subject.cases]
        found = {size: [self._kept.get(name, size) for name in keys] for size in sizes}
        return {size: [one for one in of_size if one is not None] for size, of_size in found.items()}

    def model(self, configuration: Configuration | None = None) -> Model:
        """Return the network at work, with other settings of the sampling if they are given."""
        if self._model is None:
            self._subject.configuration.engine.serve()
            session = open_session(self._subject.configuration, self._subject.weights)
            self._model = Model(self._subject.configuration, session)
        return self._model if configuration is None else self._model._replace(configuration=configuration)

    def key_of(self, case: StoredCase) -> str:
        """Return a name for all that answers to a case depend on."""
        return self._key(self._subject.configuration, case)

    def _complete(self, configuration: Configuration, case: StoredCase, sizes: Sequence[int]) -> None:
        """Sample a case once for all sizes that are not there yet."""
        name = self._key(configuration, case)
        missing = [size for size in sizes if self._kept.get(name, size) is None]
        if not missing:
            return
        growing = _Growing(configuration, case, missing, lambda *found: self._kept.add(Found(name, *found)))
        what = f"{self._subject.name}, {configuration.sampler.steps} steps, {case.name}"
        answer_case(
            self.model(configuration),
            case,
            ensemble=max(missing),
            seed=configuration.seed,
            progress=partial(self._progress, what),
            keep=growing.take,
        )

    def _key(self, configuration: Configuration, case: StoredCase) -> str:
        tree = {part: value for part, value in configuration.tree().items() if part not in _IRRELEVANT}
        sampling = {"combine": tree["sampling"]["combine"], "members_at_once": tree["sampling"]["members_at_once"]}
        facts = [self._weights, case.name, key(case.case, case.recipe), {**tree, "sampling": sampling}]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


class _Growing:
    """An ensemble that is scored whenever it has one of the sizes asked for.

    Args:
        configuration: of the run.
        case: with a reference.
        sizes: numbers of members.
        tell: called with the number of members, the seconds that sampling them took, and the scores.
    """

    def __init__(
        self, configuration: Configuration, case: StoredCase, sizes: Sequence[int], tell: Callable[..., None]
    ) -> None:
        self._configuration = configuration
        self._case = case
        self._sizes = sizes
        self._tell = tell
        self._combination = Combination(label_task(configuration.task), configuration.sampling.combine)
        self._seconds = 0.0
        self._since = time.perf_counter()

    def take(self, _number: int, readout: np.ndarray) -> None:
        """Take in a member's read-out, (C, X, Y, Z); the time for scoring does not count."""
        self._seconds += time.perf_counter() - self._since
        self._combination.add(torch.from_numpy(readout))
        members = self._combination.members
        if members in self._sizes:
            scores = score_answer(self._configuration, self._case, self._combination.labels().numpy())
            self._tell(members, round(self._seconds, 3), scores)
        self._since = time.perf_counter()
