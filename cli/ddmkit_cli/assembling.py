"""The options that say what a run is, for every command that takes them, and the configuration that they amount to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from ddmkit_cli.console import say
from ddmkit_cli.options import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddmkit import Registry
    from ddmkit.configuration import Configuration

_DEFAULT_PRESET = "quick"

PresetOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Start from this preset. [default: quick]", metavar="P")
]
ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Start from this configuration file, such as a run's config.yaml.")
]
TaskOption: TypeAlias = Annotated[str | None, typer.Option(help="What is asked of a volume.", metavar="T")]
DatasetOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Layout of that folder. [default: told by looking]", metavar="D")
]
BackboneOption: TypeAlias = Annotated[str | None, typer.Option(help="The network.", metavar="B")]
ScheduleOption: TypeAlias = Annotated[str | None, typer.Option(help="The noise schedule.", metavar="S")]
SamplerOption: TypeAlias = Annotated[str | None, typer.Option(help="How validation samples.", metavar="S")]
PatchOption: TypeAlias = Annotated[str | None, typer.Option(help="Which window a step sees.", metavar="P")]
EncodingOption: TypeAlias = Annotated[str | None, typer.Option(help="How a window knows its place.", metavar="E")]
EngineOption: TypeAlias = Annotated[str | None, typer.Option(help="Where the work runs.", metavar="E")]
TrackerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Where the run is written down for looking at: a,b, or none. [default: nowhere]", metavar="A,B"),
]
StepsOption: TypeAlias = Annotated[int | None, typer.Option(help="Optimizer steps.", min=1)]
SeedOption: TypeAlias = Annotated[int | None, typer.Option(help="Seed of everything drawn.", min=0)]
SettingsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        metavar="KIND.FIELD=VALUE",
        help="Any setting; ddmkit plugins list names components and sections, show NAME settings. Repeatable.",
    ),
]


class Typed(NamedTuple):
    """What was typed of a run."""

    preset: str | None
    config: Path | None
    data: Path | None
    seed: int | None
    steps: int | None
    names: Mapping[str, str]
    """A component by its kind."""
    options: list[str]
    """As given to -o."""

    @classmethod
    def of(
        cls,
        preset: str | None,
        config: Path | None,
        data: Path | None,
        seed: int | None,
        steps: int | None,
        names: Mapping[str, str | None],
        options: list[str] | None,
    ) -> Typed:
        """Take what the options hold, where None is what was not typed."""
        named = {kind: name for kind, name in names.items() if name is not None}
        return cls(preset, config, data, seed, steps, named, options or [])

    @property
    def settings(self) -> list[str]:
        """All that is set one by one, as given to -o."""
        return [*([] if self.steps is None else [f"training.steps={self.steps}"]), *self.options]

    @property
    def settled(self) -> set[str]:
        """Kinds whose component is named, and settings ("kind.field"), that were typed one by one."""
        return {*self.names, *(key_of(option) for option in self.settings)}

    def changed(self, names: Mapping[str, str], settings: Mapping[str, str]) -> Typed:
        """Return what is typed with other components and settings."""
        kept = [option for option in self.options if key_of(option) not in settings]
        options = [*kept, *(f"{key}={value}" for key, value in settings.items())]
        return self._replace(names={**self.names, **names}, options=options)

    def or_default(self) -> Typed:
        """Return what was typed, with a preset where none is named."""
        return self if self._begins else self._replace(preset=_DEFAULT_PRESET)

    def say_default(self) -> None:
        """Say which preset is taken where none is named."""
        if not self._begins:
            say(f"No --preset is given: using {_DEFAULT_PRESET!r}, which is small and quick.")

    @property
    def _begins(self) -> bool:
        return self.preset is not None or self.config is not None

    def assembled(self, registry: Registry) -> Configuration:
        """Return the configuration that it amounts to.

        Raises:
            ConfigurationError: something is unknown, missing or out of range.
        """
        from ddmkit.run.packages import naming_packages

        if self.config is None:
            return self._assembled(registry)
        with naming_packages(self.config, registry):
            return self._assembled(registry)

    def _assembled(self, registry: Registry) -> Configuration:
        from ddmkit.assembly import assemble, read_tree

        names = dict(self.names)
        base = [] if self.preset is None else [read_tree(registry.preset(self.preset))]
        if self.config is not None:
            base.append(read_tree(self.config))
        if self.data is not None:
            base.append({"data": self.data.absolute()})
            if "dataset" not in names:
                names = {"dataset": _layout(registry, self.data, base), **names}
        if self.seed is not None:
            base.append({"seed": self.seed})
        return assemble(registry, base=base, names=names, options=self.settings)

    def words(self) -> list[str]:
        """Return what has to be typed for it after `ddmkit train`."""
        single = {
            "preset": self.preset,
            "config": self.config,
            "data": self.data,
            "seed": self.seed,
            "steps": self.steps,
        }
        pairs = [(f"--{name}", value) for name, value in {**single, **self.names}.items() if value is not None]
        pairs += [("-o", option) for option in self.options]
        return [str(word) for pair in pairs for word in pair]


def _layout(registry: Registry, data: Path, base: list[dict[str, Any]]) -> str:
    """Return the name of the layout of a folder: the one that is configured if it fits, else whichever does."""
    from ddmkit import Dataset
    from ddmkit.assembly import component
    from ddmkit.detection import recognise

    named = [tree["dataset"] for tree in base if "dataset" in tree]
    return recognise(registry, data, component(registry, Dataset, named[-1]) if named else None).name
