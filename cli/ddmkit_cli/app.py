"""`ddmkit` on the command line: one file per command, nothing heavy imported before it is needed."""

from __future__ import annotations

import gc
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from ddmkit.errors import DdmkitError, InterruptedRunError, noted
from ddmkit_cli import calibrate, check, evaluate, phantom, plan, plugins, sample, train
from ddmkit_cli.console import command, log_to_stderr, problem

_MEANT_BY_DATA = ("--input", "--reference")
"""What `train` calls --data has these names elsewhere, after what it is for."""


class _Commands(TyperGroup):
    """Answers Ctrl-C, for which Typer would end without a word, and a name that is another command's."""

    @override
    def invoke(self, ctx: Any) -> Any:  # Typer takes its type from click, or from a copy of its own
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, typer.Abort) as error:
            msg = f"Stopped; what was finished is kept. Go on with: {command(*sys.argv[1:])}"
            raise InterruptedRunError(msg) from error
        except Exception as error:
            if getattr(error, "option_name", None) == "--data":
                _suggest(error)
            elif "unexpected extra argument" in str(error):
                _point_to_option(error)
            raise


def _suggest(error: Any) -> None:  # noqa: ANN401 - as above
    """Put the name that a command has for --data among those that may be meant."""
    known = [name for parameter in error.ctx.command.params for name in parameter.opts]
    error.possibilities = [name for name in _MEANT_BY_DATA if name in known] or error.possibilities


def _point_to_option(error: Any) -> None:  # noqa: ANN401 - as above
    """Say how `plan` takes a run, which other commands take as their first argument."""
    runs = [typed for typed in sys.argv[1:] if (Path(typed) / "config.yaml").is_file()]
    if error.ctx.info_name == "plan" and runs:
        error.message = f"plan takes a run by its configuration: type --config {shlex.quote(runs[0])}."


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Start here: [bold]ddmkit train --backbone unet3d-avg --patch center[/bold] trains on synthetic cases.",
)


@app.callback()
def main() -> None:
    """Denoising diffusion models on whole 3D medical volumes, with little memory."""
    if not gc.isenabled():  # see `__main__`: what was imported stays for good, and no collection has to look at it
        gc.freeze()
        gc.enable()
    log_to_stderr()


app.command("train", epilog=train.EXAMPLES)(train.train)
app.command("sample", epilog=sample.EXAMPLES)(sample.sample)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("calibrate", epilog=calibrate.EXAMPLES)(calibrate.calibrate)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("phantom", epilog=phantom.EXAMPLES)(phantom.phantom)
app.command("check", epilog=check.EXAMPLES)(check.check)
app.add_typer(plugins.app, name="plugins")


def run() -> None:
    """Run the command line: a user's own mistake is one sentence, anything else is a bug and shows its traceback.

    Below that of a plugin's bug stands whose it is, and how to go on.
    """
    try:
        app()
    except DdmkitError as error:
        problem(noted(str(error), error))
        sys.exit(error.exit_status)
    except Exception as error:
        from ddmkit_cli.blaming import blame

        if not (sentence := blame(error)):
            raise
        traceback.print_exc()
        problem(noted(sentence, error))
        sys.exit(1)
