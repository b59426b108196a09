"""`ddmkit train`."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddmkit.sizes import sides_of
from ddmkit_cli.assembling import (
    BackboneOption,
    ConfigOption,
    DatasetOption,
    EncodingOption,
    EngineOption,
    PatchOption,
    PresetOption,
    SamplerOption,
    ScheduleOption,
    SeedOption,
    SettingsOption,
    StepsOption,
    TaskOption,
    TrackerOption,
    Typed,
)
from ddmkit_cli.console import Bars, command, out, propose, result, say, size
from ddmkit_cli.options import naming_the_planner
from ddmkit_cli.resuming import refuse_on_resume, resumed
from ddmkit_cli.tables import fact_table, print_definition, print_validation

if TYPE_CHECKING:
    from ddmkit import Registry
    from ddmkit.configuration import Configuration
    from ddmkit.events import Report
    from ddmkit.run.folder import RunFolder
    from ddmkit.run.plan import Plan

EXAMPLES = (
    "Examples: [bold]ddmkit train --backbone unet3d-avg --patch center[/bold] (two minutes, synthetic cases) · "
    "[bold]ddmkit train --preset patchddm --data BraTS2020/ --dry-run[/bold] (the paper's method, what it would do) · "
    "[bold]ddmkit train --data BraTS2020/ -o backbone.width=32 -o training.batch_size=4[/bold] · "
    "[bold]ddmkit train --resume runs/quick-20260101-120000[/bold]"
)
_SCORED = {
    "test": "Test cases, never seen in training",
    "validation": "Validation cases, which chose the checkpoint",
}


def train(
    preset: PresetOption = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the cases; with --resume, where it is now. [default: synthetic phantoms]"),
    ] = None,
    dataset: DatasetOption = None,
    backbone: BackboneOption = None,
    schedule: ScheduleOption = None,
    sampler: SamplerOption = None,
    patch: PatchOption = None,
    encoding: EncodingOption = None,
    engine: EngineOption = None,
    tracker: TrackerOption = None,
    steps: StepsOption = None,
    seed: SeedOption = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run. [default: runs/PRESET-TIME]")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run from its last checkpoint.")] = None,
    option: SettingsOption = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the configuration, do nothing.")
    ] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without the cases that cannot be used.")] = False,
) -> None:
    """Train a diffusion model, validating on held-out cases by sampling whole volumes.

    Everything has a name (ddmkit plugins list) and settings (ddmkit plugins show NAME). Presets choose all of them;
    the options below replace single names, -o single settings.
    """
    from ddmkit import Registry
    from ddmkit.run.folder import RunFolder

    named = {
        "task": task,
        "dataset": dataset,
        "backbone": backbone,
        "schedule": schedule,
        "sampler": sampler,
        "patch": patch,
        "encoding": encoding,
        "engine": engine,
        "tracker": tracker,
    }
    typed = Typed.of(preset, config, data, seed, steps, named, option)
    registry = Registry()
    if resume is not None:
        flags = {"--preset": preset, "--config": config, "--run": run, "--seed": seed, "--skip-bad": skip_bad or None}
        refuse_on_resume(flags, typed.names)
        folder = RunFolder(resume)
        configuration = resumed(registry, folder, data, typed)
    else:
        configuration = typed.or_default().assembled(registry)
        name = typed.or_default().preset or "run"
        folder = RunFolder(run or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    if not dry_run:
        configuration.engine.serve()
    if resume is None:
        typed.say_default()
    if dry_run:
        _print_plan(configuration, folder.split() if resume else None, skip_bad=skip_bad)
    else:
        _run(registry, configuration, folder, resume=resume is not None, skip_bad=skip_bad)


def _run(registry: Registry, configuration: Configuration, folder: RunFolder, *, resume: bool, skip_bad: bool) -> None:
    from ddmkit.run.plan import bare_network, make_plan
    from ddmkit.tracking import refuse_unusable

    if not resume:
        folder.refuse_if_used()
    configuration.engine.check(bare_network(configuration), configuration.training)
    refuse_unusable(configuration.tracker)
    _say_data(configuration)
    bars = Bars()
    with bars.live():
        data = configuration.dataset.prepare(configuration.data, bars.show)
        configuration = configuration.model_copy(update={"data": data.absolute()})
        plan = make_plan(configuration, data, folder.split() if resume else None, skip_bad=skip_bad)
        say(_plan_line(configuration, plan, folder))
        report = _trained(registry, configuration, plan, folder, bars, resume=resume, skip_bad=skip_bad)
    _print_report(configuration, report, plan, folder)


def _say_data(configuration: Configuration) -> None:
    if configuration.data is None:
        about = (inspect.getdoc(configuration.dataset) or "").partition("\n")[0]
        say(f"No --data is given: using the data set {configuration.dataset.name!r}. {about}")


def _trained(
    registry: Registry,
    configuration: Configuration,
    plan: Plan,
    folder: RunFolder,
    bars: Bars,
    *,
    resume: bool,
    skip_bad: bool,
) -> Report:
    from ddmkit import InterruptedRunError
    from ddmkit.run.trainer import train as train_run
    from ddmkit_cli.display import Display

    registry.register(Display(bars))
    try:
        with naming_the_planner(folder):
            return train_run(
                registry, configuration, plan, folder, resume=resume, skip_bad=skip_bad, progress=bars.show
            )
    except KeyboardInterrupt as error:
        if not folder.configuration_file.is_file():
            raise
        msg = f"Stopped; what was saved is kept. Go on with: {command('train', '--resume', folder.path)}"
        raise InterruptedRunError(msg) from error


def _print_plan(configuration: Configuration, split: dict[str, list[str]] | None, *, skip_bad: bool) -> None:
    from ddmkit.assembly import write_tree
    from ddmkit.run.plan import make_plan
    from ddmkit.run.room import require_room

    _say_data(configuration)
    data = configuration.dataset.ready(configuration.data)
    if data is None:
        facts = {"cases": "made when the run starts"}
    else:
        configuration = configuration.model_copy(update={"data": data.absolute()})
        plan = make_plan(configuration, data, split, skip_bad=skip_bad)
        require_room(configuration, plan.shapes)
        facts = _facts_of_cases(plan)
    out.print(fact_table("Plan (nothing is trained)", {**facts, **_facts_of_network(configuration)}))
    result(write_tree(configuration.tree()))


def _facts_of_cases(plan: Plan) -> dict[str, str]:
    shapes = ", ".join(f"{sides_of(shape)} ({count} cases)" for shape, count in plan.shapes.items())
    return {
        "data": str(plan.data),
        "cases": ", ".join(f"{split} {len(cases)}" for split, cases in plan.splits.items()) + _left_out(plan),
        "shapes": shapes,
        "frame": sides_of(plan.frame),
        "window": _window(plan) + (f" at 1/{plan.factor} resolution" if plan.factor > 1 else ""),
    }


def _facts_of_network(configuration: Configuration) -> dict[str, str]:
    from ddmkit.run.plan import count_parameters

    backbone, training, sampler = configuration.backbone, configuration.training, configuration.sampler
    parameters = count_parameters(configuration)
    channels = (
        f"{configuration.in_channels} in (condition {configuration.task.condition_channels}, encoding "
        f"{configuration.encoding.channels}, x_t {configuration.out_channels}), {configuration.out_channels} out"
    )
    return {
        "backbone": f"{backbone.name}, {parameters:,} parameters ({size(4 * parameters)} in float32)",
        "channels": channels,
        "training": f"{training.steps} steps of {training.batch_size}, seed {configuration.seed}",
        "sampling": f"{sampler.name}, {sampler.steps} steps of {configuration.schedule.timesteps}",
    }


def _plan_line(configuration: Configuration, plan: Plan, folder: RunFolder) -> str:
    return (
        f"{len(plan.splits['train'])} cases to train on{_left_out(plan)}, {configuration.backbone.name} with "
        f"{plan.parameters:,} parameters, windows of {_window(plan)} in {sides_of(plan.frame)}, "
        f"{configuration.training.steps} steps. Run: {folder.path}"
    )


def _window(plan: Plan) -> str:
    return "the box around each brain" if plan.window is None else sides_of(plan.window)


def _left_out(plan: Plan) -> str:
    counts = {"without reference": plan.unlabelled, "that cannot be used": len(plan.left_out)}
    said = [f"{count} {what}" for what, count in counts.items() if count]
    return f" ({' and '.join(said)} left out)" if said else ""


def _print_report(configuration: Configuration, report: Report, plan: Plan, folder: RunFolder) -> None:
    if report.final is not None:
        title = f"{_SCORED[report.final.split]}; checkpoint of step {report.best_step}"
        print_validation(title, report.final)
        print_definition(configuration.task.judge(report.final.scoring).definition())
    result(f"Pictures: {folder.pictures}")
    unseen = plan.splits["test"] or plan.splits["validation"]
    cases = ",".join(case.name for case in unseen[:3])
    propose("sample", folder.path, "--input", plan.data, "--cases", cases, "--ensemble", 5, "--out", "answers")
