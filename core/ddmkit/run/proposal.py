"""What to set so that a run fits into a given memory, changing as little of it as will do.

Settings are changed in this order, and the first that suffices is proposed: none; those that cost nothing but speed
(one member, one example, one batch waiting); the precision; the window. What the user typed stays as it is.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, get_args

from ddmkit.assembly import assemble
from ddmkit.checked import checked_size
from ddmkit.run.plan import bare_network
from ddmkit.run.resources import engine_of, is_there
from ddmkit.thrift import bfloat16_fault
from ddmkit.window import Window

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ddmkit.configuration import Configuration
    from ddmkit.registry import Registry
    from ddmkit.run.resources import CaseForecast, Forecast, Forecaster, StepForecast

_LOWERED, _FULL = "bfloat16", "float32"
_EIGHTHS = 8
"""Windows are tried by eighths of their sides."""
_WAITING = 10
"""Batches that wait may take this part of the memory."""
_WINDOWS, _PLACES = "center", "coords"
"""The paper's patch strategy, whose sides can be chosen, and the encoding that tells windows where they are."""
_NONE: Mapping[str, str] = MappingProxyType({})


class Changes(NamedTuple):
    """What is to be typed in addition."""

    names: Mapping[str, str] = _NONE
    """A component by its kind."""
    settings: Mapping[str, str] = _NONE
    """A value by "kind.field"."""

    def with_(self, other: Changes) -> Changes:
        """Return these changes and others."""
        return Changes({**self.names, **other.names}, {**self.settings, **other.settings})


class Choice(NamedTuple):
    """A changed configuration, and what it takes."""

    changes: Changes
    configuration: Configuration
    forecast: Forecast


class Proposal(NamedTuple):
    """What fits."""

    chosen: Choice
    step: StepForecast
    """By the fastest way that fits."""
    case: CaseForecast
    """Of validation, likewise."""


class Planner:
    """Looks for what fits.

    Args:
        registry: where components are found.
        configuration: what the user asks for.
        typed: kinds and settings ("patch", "engine.precision") that are to stay as they are.
        forecaster: for a device and the shape of a case.
    """

    def __init__(
        self, registry: Registry, configuration: Configuration, typed: Collection[str], forecaster: Forecaster
    ) -> None:
        self._registry, self._typed, self._forecaster = registry, typed, forecaster
        self._configuration = configuration
        self.precisions = self._precisions()
        """What the engine offers and the device multiplies, unless one was typed."""

    def propose(self, limit: int) -> Proposal | None:
        """Return what fits into a limit (bytes), or None where nothing does."""
        for changes in self._on_its_window():
            if (found := self._try(changes, limit)) is not None:
                return found
        best = None if self._window(1) is None else self._try(self._leanest(1), limit)
        if best is None:
            return None
        fitting, too_large = 1, _EIGHTHS
        while too_large - fitting > 1:
            eighths = (fitting + too_large) // 2
            found = self._try(self._leanest(eighths), limit)
            if found is None:
                too_large = eighths
            else:
                best, fitting = found, eighths
        return self._try(self._on_window(fitting), limit) or best  # which may leave room not to be sparing

    def least(self) -> int:
        """Return the bytes that training needs once everything is changed."""
        return self._choice(self._leanest(1)).forecast.least

    def beside(self, proposal: Proposal) -> list[Choice]:
        """Return each precision on the window that was asked for, and last what is proposed if that is another one."""
        chosen = proposal.chosen
        sparing = self._sparing().settings
        kept = {name: value for name, value in chosen.changes.settings.items() if name in sparing}
        choices = [self._choice(Changes({}, kept).with_(self._precision(name))) for name in self.precisions]
        forecasts = [choice.forecast for choice in choices]
        return choices if chosen.forecast in forecasts else [*choices, chosen]

    def _on_its_window(self) -> Iterator[Changes]:
        sparing = self._sparing()
        own = engine_of(self._configuration).precision
        others = [name for name in (own, _LOWERED) if name in self.precisions]
        for precision in dict.fromkeys(others or self.precisions):
            yield self._precision(precision)
            if sparing.settings:
                yield self._precision(precision).with_(sparing)

    def _leanest(self, eighths: int) -> Changes:
        return self._sparing().with_(self._on_window(eighths))

    def _on_window(self, eighths: int) -> Changes:
        precision = _LOWERED if _LOWERED in self.precisions else self.precisions[0]
        return self._precision(precision).with_(self._window(eighths) or Changes())

    def _try(self, changes: Changes, limit: int) -> Proposal | None:
        choice = self._choice(changes)
        fewest = self._fewer_waiting(choice, limit)
        choice = choice if fewest is None else self._choice(changes.with_(fewest))
        step, case = choice.forecast.step_within(limit), choice.forecast.case_within(limit)
        return None if step is None or case is None else Proposal(choice, step, case)

    def _choice(self, changes: Changes) -> Choice:
        options = [f"{name}={value}" for name, value in changes.settings.items()]
        base = [self._configuration.tree()]
        configuration = assemble(self._registry, base=base, names=changes.names, options=options)
        return Choice(changes, configuration, self._forecaster.forecast(configuration))

    def _fewer_waiting(self, choice: Choice, limit: int) -> Changes | None:
        """Return how many batches to prepare ahead where those that wait would take too much."""
        prefetch = choice.configuration.loading.prefetch
        each = choice.forecast.waiting // (prefetch + 1)
        fewest = max(1, limit // _WAITING // each - 1) if each else prefetch
        if fewest >= prefetch or "loading.prefetch" in self._typed:
            return None
        return Changes({}, {"loading.prefetch": str(fewest)})

    def _sparing(self) -> Changes:
        """Return what costs nothing but speed."""
        training, sampling = self._configuration.training, self._configuration.sampling
        settings: dict[str, str] = {}
        if sampling.members_at_once != "auto" and min(sampling.members_at_once, sampling.members) > 1:
            settings["sampling.members_at_once"] = "1"
        if min(self._configuration.engine.micro_batch or training.batch_size, training.batch_size) > 1:
            settings["engine.micro_batch"] = "1"
        if self._configuration.loading.prefetch > 1 and self._forecaster.device.type == "cpu":
            settings["loading.prefetch"] = "1"
        return Changes({}, {name: value for name, value in settings.items() if name not in self._typed})

    def _precisions(self) -> tuple[str, ...]:
        engine, device = engine_of(self._configuration), self._forecaster.device
        lacking = is_there(device) and bfloat16_fault(bare_network(self._configuration), device, training=True)
        if "engine.precision" in self._typed:
            offered: tuple[str, ...] = (engine.precision,)
        else:
            offered = get_args(type(self._configuration.engine).model_fields["precision"].annotation)
            offered = tuple(dict.fromkeys((*offered, engine.precision)))
        # What the device lacks falls back to float32 when it is asked for.
        return tuple(dict.fromkeys(_FULL if lacking and name == _LOWERED else name for name in offered))

    def _precision(self, name: str) -> Changes:
        asked = engine_of(self._configuration).precision
        return Changes() if name == asked else Changes({}, {"engine.precision": name})

    def _window(self, eighths: int) -> Changes | None:
        """Return what makes windows smaller, if that can be."""
        configuration = self._configuration
        patch = configuration.patch
        if patch.factor > 1 or "patch.sides" in self._typed:  # at full resolution, sampling would take more
            return None
        size = checked_size(patch, configuration.region_of(Window.whole(self._forecaster.shape)).size)
        sides = ",".join(str(max(1, side * eighths // _EIGHTHS)) for side in size)
        if "sides" in type(patch).model_fields:
            return Changes({}, {"patch.sides": sides})
        if "patch" in self._typed:
            return None
        told = configuration.encoding.channels > 0 or "encoding" in self._typed
        # Without coordinates the training on windows did not converge (Bieder et al. 2023).
        names = {"patch": _WINDOWS} if told else {"patch": _WINDOWS, "encoding": _PLACES}
        return Changes(names, {"patch.sides": sides})
