"""`ark send`."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from arkcli import events, times
from arkcli.cli import ping as ping_command
from arkcli.cli.command import App
from arkcli.cli.options import (
    Json,
    Quiet,
    check_event,
    choose_destinations,
    complete_destination,
    complete_event,
    environment_of,
    output_of,
)
from arkcli.cli.sign import read_pieces
from arkcli.contract import LARGE_BODY, MAX_BODY, PING
from arkcli.delivery.send import Report, Sending
from arkcli.environment import Environment
from arkcli.errors import ExitCode, NotRecorded, PayloadError, UsageError
from arkcli.events import Order, Repeated
from arkcli.model import State
from arkcli.output import Table

app = App()
_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@app.command()
def send(
    context: typer.Context,
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="Such as signal.promoted.", autocompletion=complete_event)
    ],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The payload; standard input without it, or with -.")
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="Only this destination. Repeatable.", autocompletion=complete_destination),
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Send a realistic built-in payload.")] = False,
    event_id: Annotated[
        str | None, typer.Option("--id", help="An id of your own: sending it again does nothing.")
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Accept it, and leave delivering to `ark drain`.")] = False,
    no_validate: Annotated[
        bool, typer.Option("--no-validate", help="Take any JSON object whose event does not contradict.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accept an event durably and deliver it at once to every destination. What fails is left to `ark drain`.

    Exit status: 0 every destination has it, 75 one is left to retry, 1 nothing was accepted, 2 bad input.

    Example: ark send signal.promoted payload.json
    """
    environment = environment_of(context)
    check_event(event)
    if event == PING:
        ping_command.ping_destinations(context, to, as_json=as_json, quiet=quiet)
        return
    if event_id is not None and not _EVENT_ID.fullmatch(event_id):
        raise UsageError("--id takes up to 128 letters, digits, '.', '_', ':' or '-', beginning with a letter or digit")
    contents = environment.store.read()
    chosen = choose_destinations(contents, to)
    order = Order(
        event=event,
        payload=_payload(environment, event, file, sample=sample),
        to=chosen if to else None,
        event_id=event_id,
        validate=not no_validate,
    )
    output = output_of(context, as_json=as_json, quiet=quiet)
    environment.stop_on_signals()
    try:
        sending = events.send(environment, order, contents, now=not queue)
    except Repeated as repeated:
        document = _event_json(repeated.event.id, event, repeated.event.at, len(repeated.event.body))
        said = f"{repeated.event.id} was accepted at {repeated.event.at} with the same body; nothing was sent again"
        output.result({"event": document, "deliveries": [], "repeated": True}, said)
        return
    except NotRecorded as error:
        raise NotRecorded(f"the event was accepted and is queued, but {error}; `ark drain` goes on with it") from error
    accepted = sending.event
    if len(accepted.body) > LARGE_BODY:
        output.warn(f"the body has {len(accepted.body):,} bytes; many receivers refuse more than {LARGE_BODY:,}")
    output.note(f"accepted {accepted.id} ({len(accepted.body):,} bytes)")
    status = _exit_code(sending, {found.name for found in chosen if found.paused}, queued=queue)
    output.result(
        {
            "event": _event_json(accepted.id, event, accepted.at, len(accepted.body)),
            "deliveries": [_report_json(report) for report in sending.reports],
        },
        Table(("destination", "outcome", "answer", "took", "next attempt"), [_row(found) for found in sending.reports]),
        always=status is not ExitCode.DONE,
    )
    for report in sending.reports:
        if report.held_by is not None and report.outcome is State.WAITING:
            output.note(f"{report.destination} is left to {report.held_by}, which is delivering to it")
    if environment.stopping():
        output.note("interrupted: the event is queued, and `ark drain` delivers what is left")
        raise typer.Exit(ExitCode.INTERRUPTED)
    raise typer.Exit(status)


def _exit_code(sending: Sending, paused: set[str], *, queued: bool) -> ExitCode:
    outcomes = {report.outcome for report in sending.reports if report.destination not in paused}
    if queued or outcomes <= {State.DELIVERED}:
        return ExitCode.DONE
    return ExitCode.FAILED if State.DEAD in outcomes else ExitCode.RETRYING


def _payload(environment: Environment, event: str, file: Path | None, *, sample: bool) -> bytes:
    if sample:
        if file is not None:
            raise UsageError(f"--sample sends a built-in payload, and {file} gives another; choose one of them")
        return events.sample(environment, event)
    if file is None and environment.stdin.isatty():
        environment.stderr.write("reading the payload from the terminal; end it with Ctrl-D\n")
    payload = b""
    for piece in read_pieces(file, environment.stdin):
        payload += piece
        if len(payload) > 4 * MAX_BODY:
            raise PayloadError(f"$: more than {4 * MAX_BODY:,} bytes are too many; a body may have {MAX_BODY:,}")
    return payload


def _event_json(event_id: str, event: str, at: str, size: int) -> dict[str, Any]:
    return {"id": event_id, "type": event, "at": at, "bytes": size}


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "destination": report.destination,
        "outcome": report.outcome,
        "attempt": report.attempt,
        "status": report.status,
        "error": report.error,
        "duration_ms": report.duration_ms,
        "next_attempt_at": None if report.next_attempt_at is None else times.to_text(report.next_attempt_at),
    }


def _row(report: Report) -> tuple[object, ...]:
    took = None if report.duration_ms is None else f"{report.duration_ms} ms"
    following = None if report.next_attempt_at is None else times.to_text(report.next_attempt_at)
    return report.destination, report.outcome, report.error or report.status, took, following
