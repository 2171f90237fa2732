"""Shared options, and functions that look up or parse their values."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from arkcli.cli.session import Session
from arkcli.cli.synonyms import did_you_mean
from arkcli.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from arkcli.actions.reading import Reading
    from arkcli.model import Destination
    from arkcli.signing import Secret
    from arkcli.signing.secrets import ReadFile
    from arkcli.store.store import Contents

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
SecretText = Annotated[
    list[str] | None,
    typer.Option(
        "--secret", help="A signing secret. Other users can see it in the process list: prefer --secret-file."
    ),
]
SecretFile = Annotated[Path | None, typer.Option("--secret-file", help="Read the signing secret from this file.")]
AllowLocal = Annotated[
    bool, typer.Option("--allow-local", help="Allow http and private or loopback addresses for this destination.")
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca-file", help="CA certificates (PEM) to trust for this destination, in place of the system's."),
]
ClientCert = Annotated[
    Path | None,
    typer.Option(
        "--client-cert", help="The client certificate (PEM, with its chain) for a receiver that requires one."
    ),
]
ClientKey = Annotated[
    Path | None,
    typer.Option("--client-key", help="The private key (PEM) of --client-cert; only you may be able to read the file."),
]
Proxy = Annotated[
    str | None,
    typer.Option(
        "--proxy",
        metavar="URL",
        help="Connect through this proxy: http, https, socks5h or socks5://HOST:PORT; env:NAME, file:PATH or none.",
    ),
]
Rate = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N/s",
        help="Most attempts in any second (N/s), minute (N/m) or hour (N/h). Pings do not count.",
    ),
]
MaxInFlight = Annotated[
    int | None,
    typer.Option(
        "--max-in-flight", min=1, max=900, metavar="N", help="Most attempts in flight there, of all processes together."
    ),
]
StandardWebhooks = Annotated[
    bool,
    typer.Option("--standard-webhooks", help="Also send the headers of Standard Webhooks, which withstand replays."),
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="An extra request header, 'Name: value'. Repeatable.")
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=900, help="Maximum attempts in flight.")]
PerDestination = Annotated[
    int, typer.Option("--per-destination", min=1, max=900, help="Maximum attempts in flight per destination.")
]


#: What to do first.
NONE_YET: Final = "there is no destination yet; add one with `ark dest add URL`"
#: Bytes read from the end of the event log to complete ids.
_LATEST = 128 * 1024


def session_of(context: typer.Context) -> Session:
    """The session of a command."""
    found = context.find_root().obj
    assert isinstance(found, Session)
    return found


def complete_destination(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Shell completion: names of destinations, with their URLs."""
    found = session_of(context).home.store.read().destinations
    return [(known.name, known.url) for known in found if known.name.startswith(incomplete)]


To = Annotated[
    list[str] | None,
    typer.Option("--to", help="Only deliveries to this destination. Repeatable.", autocompletion=complete_destination),
]
OnlyTo = Annotated[
    list[str] | None,
    typer.Option("--to", help="Only this destination. Repeatable.", autocompletion=complete_destination),
]
Failing = Annotated[
    bool,
    typer.Option("--failing", help="Only destinations with dead, retrying or overdue deliveries, the worst first."),
]


def given_options(context: typer.Context) -> set[str]:
    """What the user gave on the command line: options by their long names, arguments in capitals."""
    given = (
        parameter
        for parameter in context.command.params
        if (source := context.get_parameter_source(str(parameter.name))) and source.name == "COMMANDLINE"
    )
    return {
        parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.name).upper()
        for parameter in given
    }


def complete_event(incomplete: str) -> list[str]:
    """Shell completion: event types."""
    from arkcli.contract.events import EVENTS

    return [event for event in EVENTS if event.startswith(incomplete)]


def complete_event_id(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Shell completion: ids of the latest events, newest first."""
    session = session_of(context)
    if not session.home.has_queue:
        return []
    latest = {event.id: f"{event.name} {event.at}" for event in session.home.queue.recent_events(_LATEST)}
    return [(found, said) for found, said in reversed(latest.items()) if found.startswith(incomplete)]


def check_event(event: str | None) -> str | None:
    """Returns the event type, if one was given. Raises UsageError, with the nearest known one, if it does not exist."""
    if event is not None:
        from arkcli.contract.events import EVENTS

        if event not in EVENTS:
            near = did_you_mean(event, list(EVENTS))
            raise UsageError(f"there is no event {event!r}{near} The events are {', '.join(EVENTS)}")
    return event


OfType = Annotated[
    str | None,
    typer.Option("--event", help="Only events of this type.", autocompletion=complete_event, callback=check_event),
]


def find_destination(contents: "Contents", name: str) -> "Destination":
    """The destination with a name or id. Raises UsageError, with the nearest known name."""
    found = contents.find(name)
    if found is not None:
        return found
    if not contents.destinations:
        raise UsageError(NONE_YET)
    names = [known.name for known in contents.destinations]
    raise UsageError(f"there is no destination {name!r}{did_you_mean(name, names)} `ark dest list` shows all")


def choose_destinations(contents: "Contents", names: list[str] | None) -> "list[Destination]":
    """The destinations with these names, each once; all destinations if no names are given. Raises UsageError."""
    if not contents.destinations:
        raise UsageError(NONE_YET)
    if not names:
        return contents.destinations
    chosen = {found.id: found for found in (find_destination(contents, name) for name in names)}
    return list(chosen.values())


def reading_of(session: Session, names: list[str] | None = None) -> "Reading":
    """Reads the queue at the destinations with these names; at all, perhaps none, if no names are given."""
    from arkcli.actions.reading import Reading

    contents = session.home.store.read()
    return Reading(session.home, choose_destinations(contents, names) if names else contents.destinations)


def find_secrets(
    session: Session, texts: list[str] | None, file: Path | None, read_file: "ReadFile | None" = None
) -> "list[Secret]":
    """The secrets to use: from options, else ARK_SECRET, else the store. Raises UsageError."""
    from arkcli.signing import Secret

    try:
        given = [Secret(text) for text in texts or []]
        if file is not None:
            from arkcli.signing.secrets import SIGNING, read_secret_file

            given.append((read_file or read_secret_file)(file, SIGNING))
        if not given and "ARK_SECRET" in session.variables:
            given.append(Secret(session.variables["ARK_SECRET"]))
    except ValueError:
        raise UsageError("the signing secret is empty; give --secret-file or ARK_SECRET a value") from None
    if given:
        return given
    contents = session.home.store.read()
    if contents.workspace.secret is None:
        raise UsageError(
            "there is no signing secret; give --secret-file or ARK_SECRET, or make one with `ark secret rotate`"
        )
    return [session.home.workspace_secret(contents, read_file)]


def ask(session: Session, question: str, refused: str = "nothing was changed") -> None:
    """Asks for confirmation. If the answer is no, raises Interrupted with the message `refused`; if standard input is
    not a terminal, UsageError.
    """
    if not session.stdin.isatty():
        raise UsageError(f"{question} Confirm with --yes")
    session.output().question(f"{question} [y/N]:")
    if session.stdin.readline().strip().lower() not in (b"y", b"yes"):
        raise Interrupted(refused)


def parse_seconds(text: str, option: str) -> float:
    """Seconds in a duration like 30s, 5m or 1h30m. Raises UsageError."""
    from arkcli import times

    try:
        return times.parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def parse_time(text: str, now: int, option: str) -> int:
    """Milliseconds, UTC, of a time like 2026-11-23T12:00:00Z, or like 2h or -2h, which mean ago. Raises UsageError."""
    from arkcli import times

    try:
        if re.fullmatch(r"-?(\d+(\.\d+)?[a-z]+)+", text):
            return now - round(times.parse_duration(text.removeprefix("-")) * 1000)
        return times.from_text(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} takes a time like 2026-11-23T12:00:00Z, or 2h for two hours ago, not {text!r}"
        ) from None
