"""Names of contrasts and tissues: what data sets write is understood, what users write is kept."""

from __future__ import annotations

import pytest

from ddmkit_plugins.datasets.vocabulary import modality, region, tissue, tissues


@pytest.mark.parametrize(
    ("canonical", "written"),
    [
        ("t1", ["T1", "t1", "T1w", "T1-weighted", "t1n", "T1 native", "T1_pre", "T1w pre-contrast", "native T1"]),
        ("t1ce", ["t1ce", "T1CE", "T1Gd", "t1gd", "t1c", "T1C+", "T1+C", "T1+", "T1 Gd", "T1-Gd", "ce-T1w", "CT1"]),
        ("t1ce", ["T1wCE", "T1w_post", "T1 post-contrast", "contrast-enhanced T1", "T1 post gadolinium", "T1km"]),
        ("t1ce", ["Gd-enhanced T1-weighted", "T1-weighted contrast-enhanced", "T1 (contrast-enhanced)", "T1 with Gd"]),
        ("t2", ["T2", "t2w", "T2-weighted", " T2w "]),
        (
            "flair",
            ["FLAIR", "Flair", "t2f", "T2-FLAIR", "T2_FLAIR", "T2w-FLAIR", "Fluid-attenuated inversion recovery"],
        ),
    ],
)
def test_contrasts_are_known_by_any_of_their_names(canonical: str, written: list[str]) -> None:
    assert {name: modality(name) for name in written} == dict.fromkeys(written, canonical)


@pytest.mark.parametrize("name", ["t1-flair", "t2*", "adc", "ct", "t10", "mri", "t1 map", "zscore", ""])
def test_a_contrast_that_is_not_known_keeps_its_name(name: str) -> None:
    assert modality(f" {name.upper()}\n") == name


@pytest.mark.parametrize(
    ("dataset", "labels"),
    [
        ("MSD Task01", {"edema": "edema", "non-enhancing tumor": "necrotic", "enhancing tumour": "enhancing"}),
        ("nnU-Net", {"edema": "edema", "non_enhancing_and_necrosis": "necrotic", "enhancing_tumor": "enhancing"}),
        (
            "BraTS 2017",
            {
                "the necrotic and non-enhancing tumor core (NCR/NET)": "necrotic",
                "peritumoral edema (ED)": "edema",
                "GD-enhancing tumor (ET)": "enhancing",
            },
        ),
        (
            "BraTS 2021",
            {
                "necrotic tumor core (NCR)": "necrotic",
                "peritumoral edematous/invaded tissue (ED)": "edema",
                "the GD-enhancing tumour": "enhancing",
            },
        ),
        (
            "BraTS 2024",
            {
                "Non-enhancing tumor core (NETC)": "necrotic",
                "Surrounding non-enhancing FLAIR hyperintensity (SNFH)": "edema",
                "Enhancing tissue (ET)": "enhancing",
                "Resection cavity (RC)": "cavity",
            },
        ),
        ("short", {"NCR": "necrotic", "NET": "necrotic", "NETC": "necrotic", "ED": "edema", "SNFH": "edema"}),
        ("short", {"ET": "enhancing", "RC": "cavity", "WT": "whole"}),
        ("British", {"Peritumoural oedema": "edema", "Necrotic / non-enhancing tumour core": "necrotic"}),
        ("own", {name: name for name in ("necrotic", "edema", "enhancing", "cavity", "whole")}),
    ],
)
def test_tissues_are_known_by_the_names_of_each_data_set(dataset: str, labels: dict[str, str]) -> None:
    assert {name: tissue(name) for name in labels} == labels, dataset


@pytest.mark.parametrize("name", ["core", "Tumor core", "tumour_core", "TC"])
def test_the_core_is_what_does_not_enhance_as_a_label_and_all_of_it_as_a_region(name: str) -> None:
    assert tissue(name) == "necrotic"
    assert region(name) == "core"


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("whole_tumor", "whole"),
        ("Whole tumour (WT)", "whole"),
        ("enhancing tumor", "enhancing"),
        ("Left lung", "left lung"),
    ],
)
def test_other_regions_are_called_as_their_tissues(name: str, meaning: str) -> None:
    assert region(name) == tissue(name) == meaning


@pytest.mark.parametrize("name", ["liver", "anterior", "left lung (upper lobe)", "cystic component", "tumor", "cancer"])
def test_a_tissue_that_is_not_known_keeps_its_name(name: str) -> None:
    assert tissue(f"  {name.title()} ") == name


@pytest.mark.parametrize("name", ["tumor", "Tumour", "brain tumour", "glioma"])
def test_a_tumor_is_the_whole_one_where_nothing_else_is_labelled(name: str) -> None:
    assert tissues({1: name}) == {1: "whole"}
    assert tissues({2: "kidney", 1: name}) == {2: "kidney", 1: name.lower()}
