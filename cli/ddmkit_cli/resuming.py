"""A run that is gone on with: what may change, and what is said of what does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ddmkit_cli.console import say
from ddmkit_cli.options import of_kind, offering_others, refuse_fixed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ddmkit import Registry
    from ddmkit.configuration import Configuration
    from ddmkit.run.folder import RunFolder
    from ddmkit_cli.assembling import Typed

_NAMED = ("sampler", "engine", "tracker")
_FREE = ("training", "loading", "validation", "sampling", "scoring", "sampler", "engine", "tracker")


def refuse_on_resume(flags: Mapping[str, object], names: Mapping[str, str]) -> None:
    """Refuse what would make another run.

    Args:
        flags: what was typed, None where nothing was.
        names: a component by its kind.

    Raises:
        ConfigurationError: something of it was typed.
    """
    from ddmkit import ConfigurationError

    given = [flag for flag, value in flags.items() if value is not None]
    given += [f"--{kind}" for kind in names if kind not in _NAMED]
    if given:
        msg = f"--resume goes on with the run's own configuration: leave out {', '.join(given)}, or start a new run."
        raise ConfigurationError(msg)


def resumed(registry: Registry, folder: RunFolder, data: Path | None, typed: Typed) -> Configuration:
    """Return the run's configuration with what was typed over it, and say what that changes unasked.

    Args:
        registry: where components are found.
        folder: of the run.
        data: where its data are now; None for where they were.
        typed: what was typed.

    Raises:
        ConfigurationError: a setting would make another run, or is unknown or out of range.
    """
    from ddmkit.assembly import assemble

    refuse_fixed(typed.settings, _FREE, "would make another run")
    before = _as_it_was(registry, folder, typed)
    moved = {} if data is None else {"data": data.absolute()}
    after = assemble(registry, base=[before.tree(), moved], names=typed.names, options=typed.settings)
    _say_what_engine_was(before, after)
    _say_where_rate_goes(before, after, folder)
    return after


def _as_it_was(registry: Registry, folder: RunFolder, typed: Typed) -> Configuration:
    """Return the run's configuration, with what was typed in place of components that are not installed here."""
    from ddmkit.assembly import name_of
    from ddmkit.configuration import INTERFACES

    tree = folder.tree()
    names = {
        interface.kind: typed.names[interface.kind]
        for interface in INTERFACES
        if interface.kind in typed.names and name_of(tree.get(interface.kind)) not in registry.names(interface)
    }
    options = [option for kind in names for option in of_kind(typed.settings, kind)]
    with offering_others(_NAMED, typed.names):
        return folder.configuration(registry, names=names, options=options)


def _say_what_engine_was(before: Configuration, after: Configuration) -> None:
    """Say which settings an engine leaves behind that the next one has not, so that they can be typed again."""
    from ddmkit.assembly import options_of

    lost = {
        field: option
        for field, option in options_of(before.engine).items()
        if field not in type(after.engine).model_fields
    }
    if lost:
        back = " ".join(["--engine", before.engine.name, *(f"-o {option}" for option in lost.values())])
        say(f"The engine {after.engine.name!r} knows nothing of {' and '.join(lost)}: to go back, type {back}.")


def _say_where_rate_goes(before: Configuration, after: Configuration, folder: RunFolder) -> None:
    """Say where another number of steps takes the learning rate elsewhere."""
    from ddmkit.rate import learning_rate
    from ddmkit.run.folder import read_state

    if before.training == after.training or not folder.has_checkpoint("last"):
        return
    step = read_state(folder.find_checkpoint("last")).step
    was, will_be = (learning_rate(one.training, max(step, 1)) for one in (before, after))
    if step >= after.training.steps or abs(was - will_be) <= 0.01 * will_be:
        return
    keep = ""
    if was > 0.01 * before.training.learning_rate:  # and not what is left at the end of a cosine
        keep = f" To keep it, type -o training.decay=constant -o training.learning_rate={was:.2g} -o training.warmup=0."
    say(
        f"training.decay={after.training.decay} spreads over {after.training.steps} steps now, not "
        f"{before.training.steps}: the learning rate goes on from {will_be:.2g} and was {was:.2g}.{keep}"
    )
