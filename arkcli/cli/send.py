"""`ark send`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from arkcli.actions import send as actions
from arkcli.actions.printed import delivery_json, event_json, sent_json
from arkcli.actions.send import EACH, Order, Repeated
from arkcli.actions.wording import attempt_cells
from arkcli.cli import statuses
from arkcli.cli.command import App
from arkcli.cli.options import (
    AllowLocal,
    CaFile,
    Headers,
    OnlyTo,
    SecretFile,
    check_event,
    choose_destinations,
    complete_event,
    complete_event_id,
    find_secrets,
    given_options,
    session_of,
)
from arkcli.cli.printout import Printout
from arkcli.cli.session import ATTEMPTED_AGAIN, NOT_ATTEMPTED_AGAIN, Session
from arkcli.cli.watching import awaiting, hints
from arkcli.contract.events import LARGE_BODY, MAX_BODY, PING
from arkcli.errors import ExitCode, PayloadError, UsageError
from arkcli.model import Destination, Event, Outcome, State
from arkcli.output import Output
from arkcli.output.tables import Prose, Table
from arkcli.store.store import Contents
from arkcli.text import counted, left_out

if TYPE_CHECKING:
    from arkcli.contract.assignments import Assignment
    from arkcli.contract.assignments import Path as Steps
    from arkcli.delivery.sent import Sent
    from arkcli.wire.wire import Endpoint

app = App()
#: Arguments and options that `ark ping` does not have.
_NOT_FOR_PING: Final = frozenset(("FILE", "--set", "--sample", "--like", "--raw", "--id", "--queue", "--ndjson"))
#: Options that exclude each other, and why.
_APART: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    ("--ndjson", ("--id",), "every line gets an id of its own; --id-from takes it from the payload"),
    ("--ndjson", ("--raw", "--sample", "--like"), "a line is a payload, and is made compact"),
    ("--ndjson", ("--url", "--dry-run", "--curl"), "these show or send one event"),
    ("--like", ("FILE", "--sample"), "--like sends the body of an event again, with a new `timestamp` and `batchId`"),
    ("--like", ("--raw",), "--like makes the `timestamp` and the `batchId` new; `ark replay` sends the same bytes"),
    ("--raw", ("--set", "--sample"), "--raw sends the bytes of FILE as they are"),
    ("--sample", ("FILE",), "--sample sends a built-in payload, and FILE gives another"),
    ("--url", ("--to", "--queue"), "--url is one attempt to one address, and stores nothing"),
    ("--dry-run", ("--curl",), "choose which of them to print"),
)
_MISLEADING: Final = (
    "the payload contains characters that could mislead a terminal; write the commands to a file instead: "
    "`ark send … --curl > send.sh`"
)
#: Options that need another one.
_WITH: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("--ndjson", ("--strict", "--id-from")),
    ("--url", ("--secret-file", "--allow-local", "--header", "--ca-file")),
)


@app.command()
def send(
    context: typer.Context,
    event: Annotated[
        str,
        typer.Argument(
            metavar="EVENT",
            help="The event's type, such as signal.promoted. With --ndjson also -: each line's own `event` names it.",
            autocompletion=complete_event,
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The file with the payload. Default, and with -: standard input."),
    ] = None,
    to: OnlyTo = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Change one value of the payload, such as signal.icp_score=87. Repeatable.",
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Send a realistic built-in payload instead of FILE.")
    ] = False,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="EVENT_ID",
            help="Start from the body of an event that was sent: its id, a unique prefix of it, or `last`. Its "
            "`timestamp` and `batchId` are made new unless --set gives them.",
            autocompletion=complete_event_id,
        ),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Send the payload byte for byte; fill in no `event`, `timestamp` or `batchId`."),
    ] = False,
    event_id: Annotated[
        str | None, typer.Option("--id", help="Idempotency key: a second send with the same key and body does nothing.")
    ] = None,
    id_from: Annotated[
        str | None,
        typer.Option(
            "--id-from",
            metavar="PATH",
            help="With --ndjson: take each line's idempotency key from its payload, such as signal.id.",
        ),
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Save the event to the queue only; `ark drain` delivers it.")
    ] = False,
    no_validate: Annotated[
        bool,
        typer.Option(
            "--no-validate", help="Skip the schema check; the payload's `event`, if any, must still be EVENT."
        ),
    ] = False,
    ndjson: Annotated[
        bool, typer.Option("--ndjson", help="Read one payload per line, and accept each as it comes.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --ndjson: accept all lines, or none if one is bad.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the requests; send and store nothing.")] = False,
    curl: Annotated[
        bool, typer.Option("--curl", help="Print commands that send the event with curl; send and store nothing.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url", help="Make one attempt at this URL, signed with --secret-file or ARK_SECRET; store nothing."
        ),
    ] = None,
    secret_file: SecretFile = None,
    allow_local: AllowLocal = False,
    header: Headers = None,
    ca_file: CaFile = None,
) -> Printout | ExitCode:
    """Save an event to the queue and deliver it at once to every destination. `ark drain` retries what fails.

    Exit status: 0 every destination has the event, 75 at least one will be retried, 1 the event was not accepted, 2 bad
    input.

    Example: ark send signal.promoted payload.json
    """
    session = session_of(context)
    session.is_accepting = True
    given = given_options(context)
    _check(event, event_id, given)
    if event == PING and not (url is not None or dry_run or curl):
        from arkcli.cli.ping import ping

        return ping(context, to)
    order = Order(
        event=event,
        event_id=event_id,
        id_from=None if id_from is None else _path(id_from),
        validate=not no_validate,
        settings=_assignments(settings) if settings else (),
        raw=raw,
        source=None if file is None or str(file) == "-" else str(file),
    )
    output = session.output()
    stored = session.home.store.read()
    contents = stored if url is None else None
    if url is not None:
        from arkcli.actions import destinations
        from arkcli.actions.destinations import Wanted
        from arkcli.contract.headers import parse_headers

        wanted = Wanted(url=url, allow_local=allow_local, headers=parse_headers(header or []), ca_file=ca_file)
        receivers = [destinations.unsaved(session.home, wanted)]
    else:
        receivers = choose_destinations(stored, to)
        order.to = receivers if to else None
        if ndjson:
            from arkcli.cli.lines import send_lines

            return send_lines(session, output, order, stored, receivers, file, strict=strict, queue=queue)
    if like is not None:
        order.payload, order.source = _like(session, event, like)
    elif not sample:
        order.payload = _payload(session, event, file)
    for said in actions.doubts(order, actions.payload_of(order, session.home.clock.now())) if settings else ():
        output.warn(said)
    if curl:
        from arkcli.cli.dryrun import show_commands

        routed = map(stored.with_proxy, receivers)
        return show_commands(output, actions.unsaved(session.home, order), routed, _MISLEADING)
    if dry_run:
        from arkcli.cli.dryrun import show_requests

        paused = [found.name for found in receivers if found.paused]
        return show_requests(session, order, *_endpoints(session, stored, receivers, secret_file, url), paused)
    if contents is None:
        (endpoint,), _ = _endpoints(session, stored, receivers, secret_file, url)
        return _send_once(session, output, order, endpoint)
    return _send_event(session, output, order, contents, receivers, queue=queue)


def _check(event: str, event_id: str | None, given: set[str]) -> None:
    """Raises UsageError for an unknown event, an invalid id, or options that exclude each other."""
    if event != EACH:
        check_event(event)
    elif "--ndjson" not in given:
        raise UsageError("with - as EVENT each line names its own event, so it needs --ndjson; name the event")
    if event_id is not None:
        from arkcli.contract.keys import KEY, KEY_RULE

        if not KEY.fullmatch(event_id):
            raise UsageError(f"--id takes {KEY_RULE}")
    _check_together(given)
    refused = sorted(given & _NOT_FOR_PING)
    if event == PING and refused and not given & {"--url", "--dry-run", "--curl"}:
        raise UsageError(f"a ping takes no {refused[0]}: `ark send ping` is `ark ping`, and never queued")


def _check_together(given: set[str]) -> None:
    for option, others, why in _APART:
        for other in others:
            if {option, other} <= given:
                raise UsageError(f"{option} and {other} do not go together: {why}")
    for needed, others in _WITH:
        for other in others:
            if other in given and needed not in given:
                raise UsageError(f"{other} is for {needed} alone")


def _assignments(settings: list[str]) -> "list[Assignment]":
    from arkcli.contract import assignments

    return [assignments.parse(text) for text in settings]


def _path(text: str) -> "Steps":
    from arkcli.contract import assignments

    try:
        return assignments.parse_path(text)
    except UsageError as error:
        raise UsageError(f"--id-from: {error}") from None


def _like(session: Session, event: str, given: str) -> tuple[bytes, str]:
    """The body of an event that was sent, without what is made new, and its id. Raises UsageError."""
    from arkcli.actions.reading import Reading

    found = Reading(session.home, session.home.store.read().destinations, join=False).event(given)
    if found.name != event:
        raise UsageError(f"{found.id} is a {found.name} event: `ark send {found.name} --like {given}`")
    from arkcli.contract import assignments

    return assignments.without(found.body, ("timestamp", "batchId")), found.id


def _endpoints(
    session: Session, contents: Contents, receivers: Sequence[Destination], secret_file: Path | None, url: str | None
) -> "tuple[list[Endpoint], dict[str, str]]":
    """The receivers that are not paused, ready for sending, and why others are not; with a URL, its receiver."""
    if url is None:
        return session.home.endpoints((found for found in receivers if not found.paused), contents)
    from arkcli.wire.wire import Endpoint

    if secret_file is None and "ARK_SECRET" not in session.variables:
        raise UsageError("--url signs with the secret in --secret-file FILE or in ARK_SECRET; give one of them")
    secret, *_ = find_secrets(session, None, secret_file)
    return [Endpoint(session.home.routed(found, contents), secret) for found in receivers], {}


def _payload(session: Session, event: str, file: Path | None) -> bytes:
    if event == PING and file is None:
        return b"{}"
    if file is None and session.stdin.isatty():
        session.stderr.write("type the payload, then Ctrl-D\n")
    from arkcli.cli.sign import read_pieces

    payload = b""
    for piece in read_pieces(file, session.stdin):
        payload += piece
        if len(payload) > 4 * MAX_BODY:
            raise PayloadError(f"$: more than {4 * MAX_BODY:,} bytes; the maximum for a body is {MAX_BODY:,}")
    return payload


def _send_event(
    session: Session,
    output: Output,
    order: Order,
    contents: Contents,
    receivers: Sequence[Destination],
    *,
    queue: bool,
) -> Printout:
    """Accepts an event, and delivers it at once unless `queue` is set."""
    session.stop_on_signals(ATTEMPTED_AGAIN)

    def tell(accepted: Event) -> None:
        if len(accepted.body) > LARGE_BODY:
            output.warn(f"the body has {len(accepted.body):,} bytes; many receivers refuse more than {LARGE_BODY:,}")
        output.note(f"accepted {accepted.id} ({len(accepted.body):,} bytes)")

    try:
        with awaiting(session, output) as look:
            sending = actions.send(session.home, order, contents, session.process, tell, now=not queue, look=look)
    except Repeated as repeated:
        said = f"{repeated.event.id} was accepted at {repeated.event.at} with the same body; nothing was sent again"
        return Printout({"event": event_json(repeated.event), "deliveries": [], "repeated": True}, [Prose(said)])
    warnings = left_out({sent.destination: sent.error or "" for sent in sending.deliveries if sent.is_broken})
    if sending.trouble is not None:
        warnings.append(f"the event is accepted and queued, but {sending.trouble}; `ark drain` will continue")
    paused = {found.name for found in receivers if found.paused}
    status = statuses.of_sending(sending, paused, queued=queue, interrupted=session.process.stopping())
    if status is ExitCode.INTERRUPTED:
        warnings.append(f"interrupted: {session.process.accepted}, and `ark drain` delivers what is left")
    notes = [
        f"{sent.destination} is left to {sent.held_by}, which is delivering to it"
        for sent in sending.deliveries
        if sent.held_by is not None
    ]
    if output.is_watched:
        failed = {sent.destination: sent.attempt.error for sent in sending.deliveries if sent.attempt}
        notes += hints(session, ((found, error) for found in receivers if (error := failed.get(found.name))))
    return Printout(
        {"event": event_json(sending.event), "deliveries": [sent_json(sent) for sent in sending.deliveries]},
        _report(output, sending.deliveries, paused, session.home.clock.now()),
        notes,
        warnings,
        status=status,
    )


def _send_once(session: Session, output: Output, order: Order, endpoint: "Endpoint") -> Printout:
    """Makes one attempt, stores nothing, and reports the outcome; exit status 1 if it failed."""
    from arkcli.cli.ping import pings_table

    session.stop_on_signals(NOT_ATTEMPTED_AGAIN)
    with awaiting(session, output) as look:
        event, answer = actions.send_once(session.home, order, endpoint, session.process.stopping, look)
    name, failed = endpoint.destination.name, answer.outcome is Outcome.FAILED
    table = pings_table([(endpoint.destination, answer)], drawn=output.on_a_terminal)
    document = {"event": event_json(event), "deliveries": [delivery_json(name, answer.outcome, 1, answer)]}
    notes = hints(session, [(endpoint.destination, answer.error or "")]) if failed and output.is_watched else []
    return Printout(document, [table], notes, status=ExitCode.FAILED if failed else ExitCode.DONE)


def _report(output: Output, deliveries: "Iterable[Sent]", paused: set[str], now: int) -> list[str | Table]:
    """A row for each delivery. A terminal says of many that went well only how many they are."""
    drawn, rows, well = output.on_a_terminal, list[tuple[object, ...]](), list[tuple[object, ...]]()
    for sent in deliveries:
        why = sent.error or ("paused" if drawn and sent.destination in paused else None)
        cells = attempt_cells(sent.attempt, why, sent.next_attempt_at, now, drawn=drawn)
        kept = well if drawn and sent.state is State.DELIVERED else rows
        kept.append((sent.destination, sent.state, *cells))
    headings = ("destination", "outcome", "answer", "took", "next attempt")
    if drawn:
        from arkcli.cli.lists import FEW

        if len(well) > FEW:
            return [Table(headings, rows), f"{counted(len(well), 'destination')}: delivered"]
    return [Table(headings, [*rows, *well])]
