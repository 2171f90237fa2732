"""The root of the command line: finds a command, runs it, and turns errors into messages and exit statuses."""

import importlib
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import typer
from typer._click.exceptions import (
    ClickException,
    NoArgsIsHelpError,
    NoSuchOption,
)  # private, because typer exports no name for it; typer is capped below 0.29

from arkcli import __version__
from arkcli.cli.command import App, Group
from arkcli.cli.options import NONE_YET
from arkcli.cli.session import Session
from arkcli.cli.synonyms import option_hint
from arkcli.errors import ArkError, ExitCode, Interrupted, NotAccepted, Unfinished, Unreachable, UsageError
from arkcli.system.refused import of_system
from arkcli.system.streams import Unread

#: Each command and its purpose. A command's module has the command's name and is imported only when the command runs:
#: `ark verify` must not wait for the imports of `ark drain`.
COMMANDS: Final = {
    "dest": "Manage destinations, the URLs that receive every event",
    "secret": "Show or change the signing secret of all destinations",
    "ping": "Send a ping to destinations: one attempt each, never queued",
    "send": "Save an event to the queue and deliver it at once to every destination",
    "events": "List the event types, and what triggers each",
    "drain": "Attempt every delivery that is due, the oldest first at each destination",
    "serve": "Keep running: deliver events as they fall due, and take events over HTTP",
    "ui": "Open a page in the browser: destinations, what fails and why, dead letters, and the story of each event",
    "queue": "Inspect and manage the delivery queue",
    "replay": "Send past events again, whether delivered or not",
    "log": "Show delivery attempts, newest last",
    "listen": "Receive webhooks on this machine, check each signature and answer",
    "check": "Check that a receiver takes genuine events and refuses forged ones",
    "sign": "Print the signature for a body's exact bytes",
    "verify": "Check whether a signature matches a body's exact bytes",
    "demo": "Run a complete example on this machine in a few seconds",
    "doctor": "Check the destinations file, the queue, the disk, the clock and the connection to each destination",
    "config": "Show the paths of ark's files, and its settings",
    "completion": "Print the completion script for a shell",
}

FIRST_DAY: Final = """\
ark sends signed webhooks and never loses one. To start:

  ark demo                            run a complete example on this machine
  ark dest add URL                    add a receiver; it must answer a ping
  ark send signal.promoted --sample   send an event to every destination
  ark drain                           retry what is due; run it from cron
  ark queue                           show what is waiting, retrying and dead

`ark --help` lists all commands; `ark COMMAND --help` explains one.
"""
#: What one types by habit, because other tools have it, and what it means.
_HABITS: Final = {"help": "--help", "version": "--version", "-V": "--version"}
#: Commands that show or attempt deliveries. Where there is no destination, they have nothing to say.
_ABOUT_DELIVERIES: Final = frozenset(("drain", "queue", "log"))


class _Commands(Group):
    """A group that imports its commands on demand."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        return list(COMMANDS)

    def purposes(self, context: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - the group's signature
        return list(COMMANDS.items())

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Completes a command's name without importing any command."""
        from typer._click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"arkcli.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


app = App("Send signed webhooks that are never lost.", cls=_Commands)


def _version(context: typer.Context, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.obj.stdout.write(f"ark {__version__}\n")
        raise typer.Exit


def _color(context: typer.Context, value: str) -> str:
    context.obj.color = value
    return value


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    color: Annotated[
        Literal["auto", "always", "never"],
        typer.Option("--color", is_eager=True, callback=_color, help="When to use colours."),
    ] = "auto",
) -> None:
    """Send signed webhooks that are never lost.

    First: `ark demo` shows the whole story, `ark dest add URL` adds a receiver, `ark send EVENT FILE` sends to all.
    """


def run(args: Sequence[str], session: Session) -> int:
    """Runs one command line and returns the exit status."""
    if (begun := session.variables.get("_ARK_COMPLETE", "")).startswith("="):
        return _complete(args, begun[1:], session)
    options = args[: args.index("--")] if "--" in args else args
    try:
        try:
            status = _status(args, session)
        except Unread:
            status = ExitCode.DONE
        except OSError as error:
            raise of_system(error) from error
        except NoArgsIsHelpError as error:
            session.stdout.write(error.message)
            status = ExitCode.DONE
        except ClickException as error:
            raise _usage(error) from error
        except (typer.Abort, KeyboardInterrupt):
            raise Interrupted("interrupted") from None
    except ArkError as error:
        # The command line may not have been parsed, so look for --json in the words.
        session.as_json, session.quiet = "--json" in options, False
        status = _tell(session, error)
    session.stdout.flush()
    return _unless_lost(session, status)


def _status(args: Sequence[str], session: Session) -> ExitCode:
    if not args:
        screen = session.output().screen
        session.stdout.write(screen.folded(FIRST_DAY, " " * 4))
        return ExitCode.DONE
    if args[0] in _HABITS:
        args = [*args[1:], _HABITS[args[0]]]
    command = typer.main.get_command(app)
    status = command.main(list(args), prog_name="ark", standalone_mode=False, obj=session) or ExitCode.DONE
    if _ABOUT_DELIVERIES & set(args[:2]) and "home" in vars(session) and session.home.found_nothing:
        session.output().note(NONE_YET)
    return ExitCode(status)


def _tell(session: Session, error: ArkError) -> ExitCode:
    """Reports an error and returns its exit status. Reports as JSON if requested and writable, else as text."""
    if session.process.accepted and not isinstance(error, NotAccepted | Interrupted):
        error = Unfinished(f"{session.process.accepted}, but {error}")
    elif session.is_accepting and isinstance(error, Unreachable):
        error = NotAccepted(str(error), "nothing was accepted")
    output = session.output()
    if not error.told:
        output.error(error)
    if output.as_json and output.lost is not None:
        session.as_json = False
        session.output().error(error)
    return error.exit_code


def _unless_lost(session: Session, status: ExitCode) -> ExitCode:
    """The final exit status. If standard output failed, reports that, and what was accepted nevertheless.

    A closed pipe keeps the status, and is reported only if something was accepted: the reader has read enough.
    """
    session.as_json = session.quiet = False
    output = session.output()
    has_gone = isinstance(output.lost, BrokenPipeError)
    if output.lost is None or (has_gone and not session.process.accepted):
        return status
    accepted = f": {session.process.accepted}" if session.process.accepted else ""
    error = ArkError(f"standard output cannot be written ({output.lost.strerror}){accepted}")
    if has_gone:
        output.warn(str(error))
        return status
    output.error(error)
    return status or ExitCode.UNWRITTEN


def _complete(before: Sequence[str], begun: str, session: Session) -> int:
    """Prints the completions of a word for a shell, one per line with a tab and a description."""
    from arkcli.cli.completion import candidates

    for value, purpose in candidates(typer.main.get_command(app), session, before, begun):
        session.stdout.write(f"{value}\t{purpose}\n")
    return ExitCode.DONE


def _usage(error: ClickException) -> UsageError:
    """Click's error, reworded as a UsageError."""
    context = getattr(error, "ctx", None)
    help_of = f"`{context.command_path if context else 'ark'} --help`"
    if isinstance(error, NoSuchOption) and context is not None:
        parameters = context.command.get_params(context)
        known = [name if name.startswith("-") else name.upper() for found in parameters for name in found.opts]
        near = option_hint(error.option_name, known)
        return UsageError(f"there is no option {error.option_name!r}{near} {help_of} lists all options")
    message = error.format_message().strip().rstrip(".")
    return UsageError(f"{message[:1].lower()}{message[1:]}. {help_of} explains the command")
