"""What the paper measured: Bieder et al. (2023), Tables 2 and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ddmkit.configuration import Configuration


class Measured(NamedTuple):
    """Means over the paper's test cases."""

    dice: float
    hd95: float
    """In mm."""


METHODS: dict[str, dict[int, Measured]] = {
    "FullRes": {1: Measured(0.821, 16.80), 15: Measured(0.856, 8.13)},
    "HalfRes": {1: Measured(0.862, 6.61), 15: Measured(0.862, 6.65)},
    "PatchDDM": {
        1: Measured(0.888, 9.04),
        3: Measured(0.894, 9.94),
        5: Measured(0.892, 8.49),
        7: Measured(0.897, 7.67),
        15: Measured(0.899, 7.34),
    },
}
"""By method and number of members."""
NNUNET = Measured(0.96, 1.24)
"""What the paper compares with; it has no members."""
OF_WHAT = (
    "The paper's numbers (Bieder et al. 2023, Tables 2 and 3) are of the whole tumour in 37 test cases of BraTS2020, "
    "after 420 hours of training on an A100. Beside scores of other data they are no comparison: scores on phantoms "
    "say nothing about patients."
)


def method_of(configuration: Configuration) -> str | None:
    """Return which of the paper's methods a run trains by; None for one that the paper does not have.

    Windows without coordinates are none: the paper says that they did not converge, and gives no numbers.
    """
    match configuration.patch.name, configuration.encoding.name:
        case "half", "none":
            return "HalfRes"
        case "full", "none":
            return "FullRes"
        case "center", "coords":
            return "PatchDDM"
        case _:
            return None


def shown(method: str | None, members: int) -> tuple[str, str]:
    """Return the paper's Dice and HD95 for a table; a dash for what it does not say."""
    measured = METHODS.get(method or "", {}).get(members)
    return ("–", "–") if measured is None else (f"{measured.dice:.3f}", f"{measured.hd95:.2f}")


def plain() -> dict[str, object]:
    """Return the paper's numbers as they are written into JSON."""
    methods = {
        method: {str(members): measured._asdict() for members, measured in by_members.items()}
        for method, by_members in METHODS.items()
    }
    return {"of": OF_WHAT, "methods": methods, "nnU-Net": NNUNET._asdict()}
