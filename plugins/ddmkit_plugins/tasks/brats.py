"""Segmentation of brain tumours in MR; by default the task of Bieder et al. (2023), https://arxiv.org/abs/2303.15288."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from ddmkit import DataError
from ddmkit_plugins.tasks.masks import Images, Masks

if TYPE_CHECKING:
    from torch import Tensor

_REGIONS = {
    "whole": frozenset({"necrotic", "edema", "enhancing", "whole"}),
    "core": frozenset({"necrotic", "enhancing"}),
    "enhancing": frozenset({"enhancing"}),
}
"""The regions of the BraTS challenges, each inside the one before."""
_CLASSES = ("necrotic", "edema", "enhancing")
_BY_DEPTH = (0, *(_CLASSES.index(name) + 1 for name in ("edema", "necrotic", "enhancing")))
"""Index of the class that is inside the first 0, 1, 2 and 3 regions and outside the others."""
_NO_TUMOUR = frozenset({"background", "cavity"})


class Brats(Masks):
    """Find a brain tumour, or its parts, in T1, contrast-enhanced T1, T2 and FLAIR: x_0 is masks, the condition images.

    A resection cavity counts as background.
    """

    name: ClassVar[str] = "brats"
    images: Images = Field(
        default=("t1", "t1ce", "t2", "flair"),
        description="Images of a case that the network is given, in order, in any common spelling.",
    )
    output: Literal["whole", "regions", "classes"] = Field(
        default="whole",
        description="What x_0 holds. whole: one mask of the tumour, as in the paper; regions: masks of the whole "
        "tumour, its core and the enhancing tumour, one inside the other; classes: masks of necrotic core, edema and "
        "enhancing tumour.",
    )

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return dict(_REGIONS)

    @property
    @override
    def masks(self) -> dict[str, frozenset[str]]:
        match self.output:
            case "whole":
                return {"whole": _REGIONS["whole"]}
            case "regions":
                return dict(_REGIONS)
            case "classes":
                return {name: frozenset({name}) for name in _CLASSES}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return ("whole",) if self.output == "whole" else _CLASSES

    @override
    def check_classes(self, classes: tuple[str, ...]) -> None:
        known = _REGIONS["whole"] | _NO_TUMOUR
        unknown = [name for name in classes if name not in known]
        if unknown:
            msg = (
                f"The task {self.name!r} does not know the class {unknown[0]!r}: the labels may mean "
                f"{', '.join(sorted(known))}; choose the --dataset whose labels these are, or --task segmentation."
            )
            raise DataError(msg)
        super().check_classes(classes)

    @override
    def instead(self, classes: tuple[str, ...]) -> str:
        coarser = self.output != "whole" and not _REGIONS["whole"].isdisjoint(classes)
        return "type -o task.output=whole" if coarser else "choose the --dataset whose labels these are"

    @override
    def answer(self, mean: Tensor) -> Tensor:
        return _innermost(mean > self.threshold) if self.output == "regions" else super().answer(mean)


def _innermost(inside: Tensor) -> Tensor:
    """Return the class of each voxel from what regions it is inside of, shape (3, X, Y, Z), the outermost first.

    A region ends where the one around it ends, whatever its own mask says: the whole tumour, which is the easiest to
    see, is then its own mask and nothing else, and a speck outside it is no tumour.
    """
    import torch

    depth = inside.cumprod(0, dtype=torch.uint8).sum(0)
    return torch.tensor(_BY_DEPTH, dtype=torch.uint8)[depth]
