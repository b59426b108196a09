"""Whose regions `ddmkit evaluate` scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ddmkit_cli.console import say
from ddmkit_cli.options import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ddmkit import LabelTask, Registry

Compared: TypeAlias = "Sequence[tuple[Sequence[str], Sequence[str]]]"
"""For each prediction its classes and those of its reference."""
_TUMOUR, _ANYTHING = "brats", "segmentation"


def scored_task(
    registry: Registry, name: str | None, options: Sequence[str], sampled: dict[str, Any] | None, compared: Compared
) -> LabelTask:
    """Return the task that is named, else the one that was sampled, else brats or a segmentation, whichever fits.

    A segmentation that nobody says the classes of is of all that predictions and references both name.

    Args:
        registry: where tasks are found.
        name: what --task says, if anything.
        options: its settings, as given to -o.
        sampled: name and settings of the task that the predictions are answers to, where that is known.
        compared: what is to be scored.

    Raises:
        ConfigurationError: there is no such task or setting.
        DataError: predictions and references have no class in common.
    """
    from ddmkit import Task
    from ddmkit.assembly import component
    from ddmkit.task import label_task

    if sampled is not None and name in {None, sampled.get("name")}:
        say(f"Scored by the task {sampled.get('name')!r}, which the predictions were sampled for.")
        return label_task(component(registry, Task, sampled, options))
    chosen = name or (_TUMOUR if _knows_all(registry, compared) else _ANYTHING)
    named = any(key_of(option) == "task.classes" for option in options)
    settings = {"classes": _shared(compared)} if chosen == _ANYTHING and not named else {}
    task = label_task(component(registry, Task, {"name": chosen, **settings}, options))
    if name is None:
        say(f"No --task is given: scored by the task {chosen!r} ({', '.join(task.regions)}).")
    return task


def _knows_all(registry: Registry, compared: Compared) -> bool:
    """Tell whether the task of brain tumours knows what all references mean."""
    from ddmkit import DataError, Task
    from ddmkit.assembly import component

    task = component(registry, Task, _TUMOUR)
    try:
        for _, classes in compared:
            task.check_classes(tuple(classes))
    except DataError:
        return False
    return True


def _shared(compared: Compared) -> list[str]:
    """Return the classes that some prediction and its reference both name, in the references' order."""
    from ddmkit import DataError

    shared = dict.fromkeys(name for found, meant in compared for name in meant if name in found)
    shared.pop("background", None)
    if not shared:
        found, meant = (
            dict.fromkeys(name for names in side for name in names[1:]) for side in zip(*compared, strict=True)
        )
        msg = (
            f"The predictions know {', '.join(found) or 'nothing'} and the references {', '.join(meant) or 'nothing'}, "
            "which is nothing in common: say what the numbers in the predictions mean, as in --labels "
            f"1={next(iter(meant), 'liver')}."
        )
        raise DataError(msg)
    return list(shared)
