"""Predictions compared with references: matched by case, read by what their numbers mean, scored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ddmkit.checked import checked_judge
from ddmkit.detection import recognise
from ddmkit.errors import DataError
from ddmkit.labels import classes_of
from ddmkit.run.cases import few, refuse_or_skip
from ddmkit.scoring import Segmentation, told
from ddmkit.searching import image_stem
from ddmkit.volume import check_same_grid, read_header, read_labels, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from ddmkit.dataset import Case
    from ddmkit.definition import Scoring
    from ddmkit.registry import Registry
    from ddmkit.run.answers import Answered
    from ddmkit.run.cases import Place
    from ddmkit.scoring import Score
    from ddmkit.task import LabelTask


_BESIDE = r"_(?:mean|var|prob|member-\d+)(?=_|$)"
"""How the names of what a sampling writes beside an answer go on behind the case's."""
_SAY_LABELS = "say what the numbers in the predictions mean, as in --labels 1=liver,2=lesion"


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
    def of(
        cls,
        registry: Registry,
        predictions: Path,
        given: Mapping[int, str] | None,
        answered: Mapping[str, Answered],
    ) -> Meanings:
        """Look at the folder of the predictions, if nobody says what they mean.

        Raises:
            DataError: the dataset.json beside them cannot be read.
        """
        known = given is not None or answered
        return cls(given, answered, {} if known else _described(registry, predictions))

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


class Matched(NamedTuple):
    """Predictions and what they are predictions of."""

    pairs: list[Pair]
    unlabelled: list[str]
    """What else is predicted: cases that have no reference, or are not there."""
    left_out: dict[str, str]
    """Why cases that are predicted cannot be used, by name."""


def match(
    predictions: Path, cases: Mapping[str, Case], wrong: Mapping[str, str], place: Place, *, skip_bad: bool = False
) -> Matched:
    """Match files to cases by name; what a sampling wrote beside its answers (_mean, _var, _prob) is no prediction.

    Args:
        predictions: the folder of the files.
        cases: those that there are, by name.
        wrong: why other cases cannot be used, by name.
        place: where the cases lie.
        skip_bad: whether to go on without the wrong ones.

    Raises:
        DataError: there is no prediction of a case with a reference, one is there twice, or its case is wrong and may
            not be skipped.
    """
    found = _predicted(predictions, cases.keys() | wrong.keys())
    bad = {name: wrong[name] for name in found if name in wrong}
    refuse_or_skip(bad, len(found), place, skip_bad=skip_bad)
    labelled = {name: case for name, case in cases.items() if case.reference is not None}
    pairs = [Pair(path, labelled[name]) for name, path in found.items() if name in labelled]
    if not pairs:
        named = (
            f"its files are named after {few(list(found))}" if found else "looked for CASE_seg.nii.gz and CASE.nii.gz"
        )
        those = f", the cases there are {few(list(labelled))}" if found and labelled else ""
        msg = (
            f"{predictions} holds no answer to a case with a reference under {place.path}: {named}{those}; give the "
            "folders that belong together."
        )
        raise DataError(msg)
    return Matched(pairs, [name for name in found if name not in labelled and name not in bad], bad)


def _predicted(predictions: Path, names: AbstractSet[str]) -> dict[str, Path]:
    """Return the predictions in a folder by what they are of, be it among the names of cases or not."""
    files = images_in(predictions)
    stems = {image_stem(path.name) for path in files}
    known = names | stems | {stem.removesuffix("_seg") for stem in stems}
    found: dict[str, Path] = {}
    for path in files:
        stem = image_stem(path.name)
        if stem not in names and _lies_beside(stem, known):
            continue
        name = stem if stem in names else stem.removesuffix("_seg")
        if name in found:
            msg = f"{path} and {found[name].name} both answer the case {name!r}: move one of them away."
            raise DataError(msg)
        found[name] = path
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder, of a pair the header.

    Raises:
        DataError: it is no folder.
    """
    if not folder.is_dir():
        msg = f"{folder} is no folder; give the one that ddmkit sample --out wrote."
        raise DataError(msg)
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in visible if image_stem(path.name) and path.suffix.lower() != ".img"]


def _lies_beside(stem: str, known: AbstractSet[str]) -> bool:
    """Tell whether a file is a map, of one channel or the only one, or a member beside a prediction."""
    return any(stem[: ending.start()] in known for ending in re.finditer(_BESIDE, stem))


def score_pair(pair: Pair, labels: Mapping[int, str], task: LabelTask, scoring: Scoring) -> list[Score]:
    """Score a prediction in every region that both sides tell.

    Args:
        pair: the prediction and its case, which has a reference.
        labels: what the prediction's numbers mean.
        task: whose regions.
        scoring: the definitions that the scores follow.

    Raises:
        DataError: a file cannot be read, they lie on two grids, or there is nothing to compare.
    """
    path, case = pair
    assert case.reference is not None  # noqa: S101 - only labelled cases are paired
    header = read_header(case.reference)
    check_same_grid(case, case.reference, header, path, read_header(path))
    classes = classes_of(labels)
    if not told(task.regions, classes, case.classes):
        msg = (
            f"Case {case.name}: the prediction knows {', '.join(classes[1:])} and the reference "
            f"{', '.join(case.classes[1:])}, which have no region of the task {task.name!r} in common; {_SAY_LABELS}, "
            "or choose another --task."
        )
        raise DataError(msg)
    prediction = Segmentation(read_labels(path, labels, advice=_SAY_LABELS), classes)
    reference = Segmentation(read_labels(case.reference, case.labels), case.classes)
    return checked_judge(task, scoring).add(case.name, prediction, reference, spacing_of(header.affine))


def unscored_classes(labels: Mapping[int, str], task: LabelTask) -> list[str]:
    """Return the classes that no region of a task knows, and which therefore count as background."""
    known = {"background", *task.regions}.union(*task.regions.values())
    return [name for name in classes_of(labels) if name not in known]
