"""Predictions compared with references: matched by case, read by what their numbers mean, scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ddmkit.detection import recognise
from ddmkit.errors import DataError
from ddmkit.labels import classes_of
from ddmkit.run.answers import read_answered
from ddmkit.scoring import Segmentation, score_case, told
from ddmkit.volume import check_same_grid, read_header, read_labels, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ddmkit.dataset import Case
    from ddmkit.registry import Registry
    from ddmkit.run.answers import Answered
    from ddmkit.scoring import Score
    from ddmkit.task import Task

_ANSWERS = ("_seg.nii.gz", "_seg.nii")
_SUFFIXES = (*_ANSWERS, ".nii.gz", ".nii")


class Pair(NamedTuple):
    """A prediction and the case that has its reference."""

    prediction: Path
    case: Case


class Meanings(NamedTuple):
    """What the numbers of predictions mean; the first that says so counts."""

    given: Mapping[int, str] | None
    """What the user says, of all predictions."""
    answered: Mapping[str, Answered]
    """What the sampling that made them wrote down."""
    described: Mapping[str, Mapping[int, str]]
    """What a file beside them says, such as nnU-Net's dataset.json."""

    @classmethod
    def of(cls, registry: Registry, predictions: Path, given: Mapping[int, str] | None) -> Meanings:
        """Look at the folder of the predictions.

        Raises:
            DataError: what lies beside them cannot be read, and the user does not say what they mean.
        """
        if given is not None:
            return cls(given, {}, {})
        answered = read_answered(predictions)
        return cls(None, answered, {} if answered else _described(registry, predictions))

    def labels(self, case: Case) -> Mapping[int, str]:
        """Return what the numbers in the prediction of a case mean; by default the same as in its reference."""
        if self.given is not None:
            return self.given
        if case.name in self.answered:
            return {int(number): name for number, name in self.answered[case.name].answers.items()}
        return self.described.get(case.name, case.labels)


def _described(registry: Registry, predictions: Path) -> dict[str, Mapping[int, str]]:
    try:
        layout = recognise(registry, predictions)
    except DataError:  # a mere folder of files
        return {}
    return {case.name: case.labels for case in layout.survey(predictions).cases}


def match(predictions: Path, cases: Mapping[str, Case], wrong: Mapping[str, str], reference: Path) -> list[Pair]:
    """Match files to cases by name; what a sampling wrote beside its answers (_mean, _var) is no prediction.

    Args:
        predictions: the folder of the files.
        cases: those with a reference, by name.
        wrong: why other cases cannot be used, by name.
        reference: where the cases lie.

    Raises:
        DataError: there is no prediction, one is there twice, or one has no reference.
    """
    if not predictions.is_dir():
        msg = f"{predictions} is no folder; give the one that ddmkit sample --out wrote."
        raise DataError(msg)
    files = sorted(path for path in predictions.iterdir() if not path.name.startswith("."))
    suffixes = _ANSWERS if any(path.name.endswith(_ANSWERS) for path in files) else _SUFFIXES
    found: dict[str, Pair] = {}
    for path in files:
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix is None:
            continue
        name = path.name.removesuffix(suffix)
        if name in wrong:
            raise DataError(wrong[name])
        if name not in cases:
            msg = f"{path} answers the case {name!r}, which has no reference under {reference}: add it or move this."
            raise DataError(msg)
        if name in found:
            msg = f"{path} and {found[name].prediction.name} both answer the case {name!r}: move one of them away."
            raise DataError(msg)
        found[name] = Pair(path, cases[name])
    if not found:
        msg = f"{predictions} holds no answer: looked for CASE_seg.nii.gz and CASE.nii.gz; give their folder."
        raise DataError(msg)
    return list(found.values())


def score_pair(pair: Pair, labels: Mapping[int, str], task: Task) -> list[Score]:
    """Score a prediction in every region that both sides tell.

    Args:
        pair: the prediction and its case, which has a reference.
        labels: what the prediction's numbers mean.
        task: whose regions.

    Raises:
        DataError: a file cannot be read, they lie on two grids, or there is nothing to compare.
    """
    path, case = pair
    assert case.reference is not None  # noqa: S101 - only labelled cases are paired
    header = read_header(case.reference)
    check_same_grid(case, case.reference, header, path, read_header(path))
    classes = classes_of(labels)
    regions = told(task.regions, classes, case.classes)
    if not regions:
        msg = (
            f"Case {case.name}: the prediction knows {', '.join(classes[1:])} and the reference "
            f"{', '.join(case.classes[1:])}, which have no region of the task {task.name!r} in common; say with "
            "--labels what the prediction's numbers mean, or choose another --task."
        )
        raise DataError(msg)
    prediction = Segmentation(read_labels(path, labels), classes)
    reference = Segmentation(read_labels(case.reference, case.labels), case.classes)
    return score_case(case.name, prediction, reference, regions, spacing_of(header.affine))
