"""The root of the command line: finds the command, runs it, and turns what it raises into words and an exit status."""

import importlib
import os
from collections.abc import Sequence
from typing import Any, Final

import typer
from typer._click.exceptions import (
    ClickException,
    NoArgsIsHelpError,
)  # typer is capped below 0.29, and exports no name for it
from typer.core import TyperGroup

from arkcli import __version__
from arkcli.cli.options import did_you_mean
from arkcli.environment import Environment
from arkcli.errors import ArkError, ExitCode, UsageError

#: Each command's module, imported when it is called: `ark verify` must not pay for what `ark drain` needs.
COMMANDS: Final = {
    "dest": "dest",
    "secret": "secret",
    "ping": "ping",
    "send": "send",
    "events": "events",
    "drain": "drain",
    "queue": "queue",
    "replay": "replay",
    "log": "log",
    "listen": "listen",
    "sign": "sign",
    "verify": "verify",
    "demo": "demo",
    "completion": "completion",
}


class _Commands(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"arkcli.cli.{COMMANDS[cmd_name]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = did_you_mean(args[0], list(COMMANDS))
            raise UsageError(f"there is no command {args[0]!r}{near}; `ark --help` shows all")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"ark {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Send signed webhooks that are never lost.

    First: `ark demo` shows the whole story, `ark dest add URL` adds a receiver, `ark send EVENT FILE` sends to all.
    """


def run(args: Sequence[str], environment: Environment) -> int:
    """Runs one command line and returns the exit status."""
    options = args[: args.index("--")] if "--" in args else args
    output = None
    try:
        try:
            if any(name.startswith("_ARK_COMPLETE") for name in environment.variables):
                from typer._completion_classes import completion_init

                completion_init()
            status = typer.main.get_command(app).main(
                list(args), prog_name="ark", standalone_mode=False, obj=environment
            )
            return int(status or ExitCode.DONE)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _foreign(error) from error
        except NoArgsIsHelpError:
            # The help has been printed: that is all that was asked for.
            return ExitCode.DONE
        except ClickException as error:
            raise UsageError(_sentence(error.format_message())) from error
        except (typer.Abort, KeyboardInterrupt):
            environment.stderr.write("interrupted\n")
            return ExitCode.INTERRUPTED
    except ArkError as error:
        output = environment.output(as_json="--json" in options, quiet=False)
        output.error(error)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone. What was to be done has been done or is queued; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), environment.stdout.fileno())
        return ExitCode.FAILED


def _foreign(error: OSError) -> ArkError:
    where = f"{error.filename}: " if error.filename else ""
    return ArkError(f"{where}{error.strerror or error}")


def _sentence(message: str) -> str:
    message = message.strip().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; --help shows what is possible"
