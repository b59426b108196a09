"""Segmentation of whatever is labelled, in whatever images."""

from __future__ import annotations

import shlex
from typing import ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from ddmkit_plugins.tasks.masks import Classes, Images, Masks


class SegmentationTask(Masks):
    """Find the classes that are named, in the images that are named: x_0 is a mask for each class."""

    name: ClassVar[str] = "segmentation"
    images: Images = Field(
        default=("image",),
        description="Images of a case that the network is given, in order, by the data's names in any common spelling.",
    )
    classes: Classes = Field(
        default=("foreground",),
        max_length=255,
        description="Classes that are told apart, by the data's names in any common spelling; others count as "
        "background.",
    )

    @model_validator(mode="after")
    def _background_is_no_class(self) -> Self:
        if "background" in self.classes:
            msg = "classes name 'background', which is what belongs to none of them; leave it out"
            raise ValueError(msg)
        return self

    @property
    @override
    def regions(self) -> dict[str, frozenset[str]]:
        return self.masks

    @property
    @override
    def masks(self) -> dict[str, frozenset[str]]:
        return {name: frozenset({name}) for name in self.classes}

    @property
    @override
    def answers(self) -> tuple[str, ...]:
        return self.classes

    @override
    def instead(self, classes: tuple[str, ...]) -> str:
        labelled = [name for name in classes if name != "background"]
        option = shlex.quote(f"task.classes={','.join(labelled)}")
        return f"name some of these, as in -o {option}" if labelled else "choose the --dataset whose labels these are"
