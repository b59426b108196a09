"""One word for what data sets write in many: MR contrasts, and the parts of a brain tumour.

What MSD, nnU-Net, BraTS 2013 to 2024 and papers write is known, in capital or small letters, in British or American
spelling, with any punctuation. Other names are a user's own, and stay what they are.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SPELLINGS = (("tumour", "tumor"), ("oedema", "edema"), ("+", " plus "), ("&", " and "), ("*", " star "))
_T1 = ("t1", "t1w", "t1weighted")
_BEFORE_CONTRAST = ("n", "native", "pre", "pregd", "precontrast", "nocontrast", "noncontrast", "withoutcontrast")
_AGENT = ("c", "ce", "gd", "gad", "gado", "gadolinium", "contrast", "km")
_WITH_CONTRAST = (
    *_AGENT,
    *map("with{}".format, _AGENT),
    *map("{}plus".format, _AGENT),
    *map("plus{}".format, ("", *_AGENT)),
    *map("post{}".format, ("", *_AGENT)),
    *map("{}enhanced".format, ("", "contrast", "gd", "gadolinium")),
)


def modality(name: str) -> str:
    """Return the canonical name of an MR contrast: t1, t1ce, t2 or flair; another name in small letters."""
    return _MODALITIES.get(_squeezed(name), name.strip().lower())


def tissue(name: str) -> str:
    """Return the canonical name of what one label number means.

    That is necrotic (all of the core that does not enhance), edema, enhancing, cavity, or whole where nothing finer is
    labelled; another name comes back in small letters. A single label that is called the core is its rest: what
    enhances has a label of its own.
    """
    return _known(_TISSUES, name)


def tissues(names: Mapping[int, str]) -> dict[int, str]:
    """Return the canonical name of each label of one data set.

    "tumor" is the whole of it where nothing else is labelled; beside other labels it says too little, and stays.
    """
    meanings = {number: tissue(name) for number, name in names.items()}
    return dict.fromkeys(meanings, "whole") if _ALONE.issuperset(meanings.values()) else meanings


def region(name: str) -> str:
    """Return the canonical name of a union of labels: whole, core, enhancing, or as `tissue` says."""
    return "core" if _known(_CORE, name) == "core" else tissue(name)


def _known(table: Mapping[str, str], name: str) -> str:
    """Look a name up as it is, then without what stands in brackets: "edema (ED)"."""
    found = table.get(_squeezed(name)) or table.get(_squeezed(re.sub(r"\([^()]*\)", "", name)))
    return found or name.strip().lower()


def _squeezed(name: str) -> str:
    small = re.sub(r"\bthe\b", "", name.lower())
    for written, meant in _SPELLINGS:
        small = small.replace(written, meant)
    return "".join(filter(str.isalnum, small))


def _table(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {_squeezed(written): meant for meant, all_written in names.items() for written in all_written}


_MODALITIES = _table(
    {
        "t1": (*_T1, *map("".join, product(_T1, _BEFORE_CONTRAST)), *map("".join, product(_BEFORE_CONTRAST[1:], _T1))),
        "t1ce": (*map("".join, product(_T1, _WITH_CONTRAST)), *map("".join, product(_WITH_CONTRAST, _T1))),
        "t2": ("T2", "T2w", "T2-weighted"),
        "flair": ("FLAIR", "T2f", "T2-FLAIR", "T2w-FLAIR", "T2-weighted FLAIR", "fluid-attenuated inversion recovery"),
    }
)
_CORE = _table({"core": ("core", "tumor core", "TC")})
_TISSUES = _table(
    {
        "necrotic": (
            *("core", "tumor core", "TC", "NCR", "NET", "NETC", "NCR/NET", "NCR + NET", "NET/NCR"),
            *("necrosis", "necrotic", "necrotic core", "necrotic tumor", "necrotic tumor core", "tumor necrosis"),
            *("non-enhancing", "non-enhancing core", "non-enhancing tumor", "non-enhancing tumor core"),
            *("non-enhancing component", "non-enhancing solid core", "solid non-enhancing tumor"),
            *map(
                "".join,
                product(
                    ("necrosis", "necrotic", "necrotic core", "necrotic tumor core"),
                    (" ", " and "),
                    ("non-enhancing", "non-enhancing core", "non-enhancing tumor", "non-enhancing tumor core"),
                ),
            ),
            *("non-enhancing and necrosis", "non-enhancing and necrotic", "non-enhancing/necrotic tumor core"),
        ),
        "edema": (
            *("edema", "ED", "SNFH", "edema/SNFH", "peritumoral edema", "tumor edema", "vasogenic edema"),
            *("edema/invasion", "edema and invasion", "invaded tissue", "edematous/invaded tissue"),
            *("peritumoral edematous/invaded tissue", "peritumoral edematous and invaded tissue"),
            *("surrounding non-enhancing FLAIR hyperintensity", "surrounding FLAIR hyperintensity"),
            *("FLAIR hyperintensity", "T2/FLAIR hyperintensity", "T2-FLAIR abnormality"),
        ),
        "enhancing": (
            *("enhancing", "ET", "enhancement", "enhancing core", "enhancing tissue", "active tumor", "active core"),
            *map(
                "".join,
                product(
                    ("", "GD", "gadolinium", "contrast"),
                    ("enhancing", "enhanced"),
                    ("", "tumor", "tumor core", "lesion"),
                ),
            ),
        ),
        "cavity": ("RC", "cavity", "resection cavity", "surgical cavity", "surgical resection cavity", "resection"),
        "whole": ("WT", "whole", "whole tumor", "complete tumor", "entire tumor"),
    }
)
_ALONE = frozenset({"tumor", "tumour", "brain tumor", "brain tumour", "glioma", "whole"})
