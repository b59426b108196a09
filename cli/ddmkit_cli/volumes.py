"""`ddmkit evaluate` where answers are volumes: one set judged beside another, or each beside the real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ddmkit.judging import PairJudge, SetJudge
from ddmkit_cli.console import bars, out, say
from ddmkit_cli.tables import case_table, print_definition, summary_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ddmkit import Registry, VolumeTask
    from ddmkit.definition import Scoring
    from ddmkit.run.cases import Place


def volume_task(registry: Registry, name: str | None, options: Sequence[str], predictions: Path) -> VolumeTask | None:
    """Return the task that is named, or that the predictions were sampled for, if it answers with volumes.

    Raises:
        ConfigurationError: it has no such setting.
        UnknownComponentError: no installed plugin offers it.
    """
    from ddmkit import Task, VolumeTask
    from ddmkit.assembly import component

    sampled = _sampled(predictions)
    chosen = name or (sampled or {}).get("name")
    if not isinstance(chosen, str) or not issubclass(registry.get(Task, chosen), VolumeTask):
        return None
    part = sampled if sampled is not None and sampled.get("name") == chosen else chosen
    found = component(registry, Task, part, options)
    assert isinstance(found, VolumeTask)  # noqa: S101 - as its class was
    return found


def _sampled(predictions: Path) -> dict[str, Any] | None:
    from ddmkit import DataError
    from ddmkit.run.answers import read_record

    try:
        return read_record(predictions).task
    except DataError:  # what reads labels says so, or is told what they mean
        return None


def refuse_by_case(task: VolumeTask, flags: Mapping[str, object]) -> None:
    """Make sure that nothing is asked for that needs answers of labels.

    Raises:
        ConfigurationError: something is.
    """
    from ddmkit import ConfigurationError

    for flag, given in flags.items():
        if given is not None:
            msg = f"{flag} is about answers of labels, and the task {task.name!r} answers with volumes: leave it out."
            raise ConfigurationError(msg)


def evaluate_volumes(
    task: VolumeTask, predictions: Path, place: Place, scoring: Scoring, json_file: Path | None, *, skip_bad: bool
) -> None:
    """Judge the volumes in a folder beside real ones, print what they come to, and write it down.

    Args:
        task: whose judge does it.
        predictions: folder of the generated volumes.
        place: of the real ones.
        scoring: for the judge.
        json_file: where the figures go as well, if anywhere.
        skip_bad: whether to go on without volumes that cannot be used.
    """
    from ddmkit.checked import checked_judge, checked_summary
    from ddmkit.files import write_text

    judge = checked_judge(task, scoring)
    shown = (
        _show_set(judge, task, predictions, place, skip_bad=skip_bad)
        if isinstance(judge, SetJudge)
        else (_show_pairs(judge, task, predictions, place, skip_bad=skip_bad))
    )
    summary, definition = checked_summary(task, judge), judge.definition()
    if isinstance(judge, PairJudge):
        out.print(case_table(f"{predictions} against {place.path}", judge))
    out.print(summary_table(f"{predictions} beside {place.path}", "set", summary, judge.figures))
    print_definition(definition)
    if json_file is not None:
        facts = {"predictions": str(predictions), "reference": str(place.path), **shown}
        figures = [figure._asdict() for figure in judge.figures]
        written = {"task": task.tree(), "definition": definition, **facts, "figures": figures, "summary": summary}
        write_text(json_file, json.dumps(written, indent=2, allow_nan=False) + "\n")


def _show_set(judge: SetJudge, task: VolumeTask, predictions: Path, place: Place, *, skip_bad: bool) -> dict[str, Any]:
    """Show a judge all volumes, one at a time; return how many of either side it saw, and why others were left out."""
    from ddmkit import DataError
    from ddmkit.run.answers import read_record
    from ddmkit.run.cases import refuse_or_skip, usable_cases
    from ddmkit.run.sets import case_of, find_volumes, read_generated, read_real

    generated = find_volumes(predictions, task)
    found = usable_cases(place.layout, place.path, task.modalities, references=False)
    refuse_or_skip(found.wrong, len(found.cases) + len(found.wrong), place, skip_bad=skip_bad)
    percentiles = _percentiles(read_record(predictions).facts)
    wrong: dict[str, str] = {}
    cases = {case.name for case in found.cases}
    with bars() as progress:
        for number, case in enumerate(found.cases, start=1):
            judge.real(case.name, read_real(case, task, percentiles))
            progress("real volumes read", number, len(found.cases))
        for number, (name, paths) in enumerate(generated.items(), start=1):
            try:
                judge.generated(case_of(name, cases), read_generated(paths))
            except DataError as error:
                if not skip_bad or len(wrong) + 1 == len(generated):
                    raise
                wrong[name] = str(error)
                say(f"warning: left out {name}: {error}")
            progress("generated volumes read", number, len(generated))
    counts = {"generated": len(generated) - len(wrong), "real": len(found.cases)}
    return {**counts, "left_out": {**found.wrong, **wrong}}


def _show_pairs(
    judge: PairJudge, task: VolumeTask, predictions: Path, place: Place, *, skip_bad: bool
) -> dict[str, Any]:
    """Show a judge each volume beside the real one of its case; return the figures of each, and what has none."""
    from ddmkit import DataError
    from ddmkit.checked import checked_measures
    from ddmkit.run.answers import read_record
    from ddmkit.run.cases import few
    from ddmkit.run.sets import pair_volumes, read_member, read_real

    pairs = pair_volumes(predictions, task, place, skip_bad=skip_bad)
    if pairs.unmatched:
        count, named = len(pairs.unmatched), few(pairs.unmatched)
        say(f"{count} volumes in {predictions} are of no case under {place.path} and are not compared: {named}.")
    percentiles = _percentiles(read_record(predictions).facts)
    wrong: dict[str, str] = {}
    volumes = sum(len(members) for _, members in pairs.matched)
    with bars() as progress:
        for number, (case, members) in enumerate(pairs.matched, start=1):
            real = read_real(case, task, percentiles)
            for name, paths in members.items():
                try:
                    member = read_member(case, task, paths)
                except DataError as error:
                    if not skip_bad or len(wrong) + 1 == volumes:
                        raise
                    wrong[name] = str(error)
                    say(f"warning: left out {name}: {error}")
                    continue
                judge.add(case.name, checked_measures(task, judge, real, member))
            progress("cases compared", number, len(pairs.matched))
    cases = [{"case": case, **figures} for case, figures in judge.by_case().items()]
    return {"cases": cases, "without_reference": pairs.unmatched, "left_out": {**pairs.left_out, **wrong}}


def _percentiles(facts: Mapping[str, Any]) -> tuple[float, float]:
    """Return how real images were scaled where the volumes come from; the default where nobody wrote it down."""
    from ddmkit.preprocessing import Preprocessing

    low, high = facts.get("percentiles") or Preprocessing().percentiles
    return float(low), float(high)
