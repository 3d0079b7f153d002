"""The command line. Nothing heavy is imported before a command needs it: `--help` must answer at once."""

from __future__ import annotations

import io
import shlex
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pzsl_bench import __version__
from pzsl_bench.base.errors import UserError
from pzsl_bench.cli import read, reproduce, retrieve, run, synonyms
from pzsl_bench.cli.arguments import PROGRAM
from pzsl_bench.cli.progress import complain


class Commands(TyperGroup):
    """All commands. A mistake of the user ends in exit code 2, an interruption in 130."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Remember the words of the command line, to print the command that resumes it."""
        extra.setdefault("obj", list(args))
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a mistake of the user is one line and exit code 2."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            complain(f"error: {' '.join(str(error).split())}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            # A run handles an interruption itself; this one came before or after it.
            complain(f"interrupted; to go on: {shlex.join([PROGRAM, *ctx.obj])}")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Benchmark zero-shot learning from ambiguous labels on CLIP features.",
    epilog="Start with: pzsl-bench run --grid quick",
)


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot write ± must not take the table with it.
            stream.reconfigure(errors="replace")
    # A warning, of a damaged cache for example, is one line, without the line of our code that raised it.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    app(prog_name=PROGRAM)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(run.run)
app.command()(run.plan)
app.command()(reproduce.reproduce)
app.command()(read.table)
app.command()(read.export)
app.command(name="list")(read.list_)
app.command()(read.show)
app.command()(retrieve.retrieve)
app.command()(read.doctor)
app.command()(run.sync)
app.command()(run.ui)
app.add_typer(synonyms.app, name="synonyms")


if __name__ == "__main__":
    main()
