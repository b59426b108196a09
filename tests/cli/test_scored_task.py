"""Whose regions are scored: what is named, else what was sampled, else what fits."""

from __future__ import annotations

from typing import Any

import pytest

from ddmkit import ConfigurationError, DataError, Registry, UnknownComponentError
from ddmkit_cli.scored_task import scored_task

LIVER = ("background", "liver", "lesion")
TUMOUR = ("background", "necrotic", "edema", "enhancing")
SAMPLED = {"name": "segmentation", "images": ["ct"], "classes": ["spleen"]}


def regions(
    *compared: tuple[tuple[str, ...], tuple[str, ...]],
    name: str | None = None,
    options: tuple[str, ...] = (),
    sampled: dict[str, Any] | None = None,
) -> list[str]:
    return list(scored_task(Registry(), name, options, sampled, compared).regions)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        (TUMOUR, TUMOUR, ["whole", "core", "enhancing"]),
        (("background", "whole"), TUMOUR, ["whole", "core", "enhancing"]),
        (LIVER, (*TUMOUR, "cavity"), ["whole", "core", "enhancing"]),
        (LIVER, LIVER, ["liver", "lesion"]),
        (("background", "lesion", "liver", "spleen"), (*LIVER, "vessel"), ["liver", "lesion"]),
        (TUMOUR, (*TUMOUR, "vessel"), ["necrotic", "edema", "enhancing"]),
        (("background", "cavity"), ("background", "cavity"), ["cavity"]),
    ],
)
def test_without_a_name_the_references_decide(
    prediction: tuple[str, ...], reference: tuple[str, ...], expected: list[str]
) -> None:
    assert regions((prediction, reference)) == expected


def test_a_class_that_some_case_names_is_scored() -> None:
    assert regions((LIVER, LIVER[:2]), (LIVER[:2], LIVER), (LIVER, LIVER)) == ["liver", "lesion"]


def test_what_was_sampled_comes_before_what_fits_and_a_name_before_both() -> None:
    assert regions((LIVER, LIVER), sampled=SAMPLED) == ["spleen"]
    assert regions((LIVER, LIVER), sampled=SAMPLED, name="segmentation") == ["spleen"]
    assert regions((LIVER, LIVER), sampled=SAMPLED, name="brats") == ["whole", "core", "enhancing"]
    assert regions((TUMOUR, TUMOUR), name="segmentation") == ["necrotic", "edema", "enhancing"]


@pytest.mark.parametrize("sampled", [None, SAMPLED])
@pytest.mark.parametrize("name", [None, "segmentation"])
def test_options_come_over_all(name: str | None, sampled: dict[str, Any] | None) -> None:
    options = ("task.classes=Lesion,liver",)
    assert regions((LIVER, LIVER), name=name, sampled=sampled, options=options) == ["lesion", "liver"]


def test_what_has_nothing_in_common_is_refused_unless_it_is_said_what_to_score() -> None:
    said = r"predictions know spleen and the references liver, lesion, .* as in --labels 1=liver\.$"
    with pytest.raises(DataError, match=said):
        regions((("background", "spleen"), LIVER))
    with pytest.raises(DataError, match="know nothing and the references liver"):
        regions((("background",), LIVER))
    assert regions((("background", "spleen"), LIVER), options=("task.classes=liver",)) == ["liver"]


def test_a_task_or_a_setting_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownComponentError, match=r"No task is named 'gone'.* install"):
        regions((LIVER, LIVER), sampled={"name": "gone"})
    with pytest.raises(
        ConfigurationError, match=r"task\.clases is no setting of segmentation. Did you mean 'classes'\?"
    ):
        regions((LIVER, LIVER), options=("task.clases=liver",))
