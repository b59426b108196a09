"""How reliable the maps beside predictions are: counted case by case, printed, written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ddmkit_cli.console import bars, out, say
from ddmkit_cli.tables import justify, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table

    from ddmkit import Registry, Task
    from ddmkit.reliability import Counts, Reliability
    from ddmkit_cli.predictions import Predictions

NAMES = {"mean": "mean", "prob": "calibrated"}
"""What maps are called where people read of them."""


class Measured(NamedTuple):
    """The maps of a folder, counted."""

    counts: Mapping[str, Mapping[str, Mapping[str, Counts]]]
    """By case, map and channel; every case has the same maps."""
    left_out: Mapping[str, str]
    """Why cases are left out, by name."""

    def by_map(self) -> dict[str, dict[str, list[Counts]]]:
        """Return the counts of the cases by map and channel."""
        maps: dict[str, dict[str, list[Counts]]] = {}
        for of_case in self.counts.values():
            for what, of_map in of_case.items():
                for channel, counts in of_map.items():
                    maps.setdefault(what, {}).setdefault(channel, []).append(counts)
        return maps

    def reliabilities(self) -> dict[str, dict[str, Reliability]]:
        """Return what all cases together come to, by map and channel."""
        from ddmkit.reliability import together

        return {
            what: {channel: together(counts).reliability() for channel, counts in of_map.items()}
            for what, of_map in self.by_map().items()
        }

    def facts(self) -> dict[str, Any]:
        """Return what is written down, as plain values; nothing where there are no maps."""
        if not self.counts:
            return {}
        return {"calibration": {**self.reliabilities(), "left_out": self.left_out}}


def sampled_task(registry: Registry, side: Predictions) -> Task | None:
    """Return the task that predictions were sampled for; None where another program made them.

    Raises:
        ConfigurationError: no installed plugin offers it.
    """
    from ddmkit import Task
    from ddmkit.assembly import component

    return None if side.record.task is None else component(registry, Task, side.record.task)


def measure(side: Predictions, task: Task, cases: Iterable[str]) -> Measured:
    """Count the mean maps beside predictions and, where each of them has one, the calibrated maps.

    Args:
        side: the folder.
        task: that it was sampled for.
        cases: which of its predictions are looked at.
    """
    from ddmkit import DataError
    from ddmkit.run.maps import count_maps, has_maps

    counts, left_out = {}, {}
    pairs = {name: side.pairs[name] for name in cases}
    mapped = {name: pair for name, pair in pairs.items() if has_maps(pair, task, "mean")}
    if mapped:
        left_out = {name: "has no mean map beside it" for name in pairs if name not in mapped}
    with bars() as progress:
        for number, (name, pair) in enumerate(mapped.items(), start=1):
            try:
                counts[name] = count_maps(pair, task)
            except DataError as error:
                left_out[name] = str(error)
            progress("maps counted", number, len(mapped))
    shared = [what for what in NAMES if all(what in of_case for of_case in counts.values())]
    return Measured(
        {name: {what: of_case[what] for what in shared} for name, of_case in counts.items() if of_case}, left_out
    )


def measure_beside(registry: Registry, side: Predictions, cases: Iterable[str]) -> Measured:
    """Count the maps beside predictions that are being scored, if there are any; what cannot be counted is said.

    Args:
        registry: where the task is found that they were sampled for.
        side: the folder.
        cases: those that were scored.
    """
    from ddmkit import ConfigurationError

    try:
        task = sampled_task(registry, side)
    except ConfigurationError as error:
        say(f"The maps in {side.path} are not looked at: {error}")
        return Measured({}, {})
    if task is None:
        return Measured({}, {})
    measured = measure(side, task, cases)
    for name, reason in measured.left_out.items():
        say(f"warning: the maps of {name} in {side.path} are not counted: {reason}")
    _note_fitted(side, measured)
    return measured


def reliability_table(title: str, rows: Mapping[tuple[str, str], Reliability]) -> Table:
    """Return a row for each channel and map.

    Args:
        title: above the table.
        rows: by channel and what the map is called.
    """
    numbers = ("cases", "voxels counted", "ECE", "MCE", "Brier", "ECE, all voxels", "foreground unseen")
    table = table_of(title, "channel", "map", *numbers)
    justify(table, numbers, width=11)
    for (channel, what), row in rows.items():
        errors = (_decimals(row[field], 4) for field in ("ece", "mce", "brier"))
        whole = (f"{row['ece_volume']:.6f}", f"{row['unseen']} of {row['unseen'] + row['foreground']}")
        table.add_row(channel, what, str(row["cases"]), str(row["voxels"]), *errors, *whole)
    return table


def print_reliability(title: str, measured: Measured) -> None:
    """Print how reliable the maps of a folder are, if it has any."""
    maps = measured.reliabilities()
    if maps:
        rows = {(channel, NAMES[what]): maps[what][channel] for channel in maps["mean"] for what in maps}
        out.print(reliability_table(title, rows))


def _note_fitted(side: Predictions, measured: Measured) -> None:
    """Warn of a calibration that is looked at on the cases that it was fitted to."""
    from ddmkit.run.cases import few

    fitted: Sequence[str] = side.record.facts.get("calibrated_on") or ()
    same = [name for name in measured.counts if name in fitted]
    if same:
        say(
            f"warning: the calibration was fitted to {len(same)} of the {len(measured.counts)} cases whose maps are "
            f"counted: {few(same)}. It looks better on them than on new ones."
        )


def _decimals(value: float | None, count: int) -> str:
    return "–" if value is None else f"{value:.{count}f}"
