"""What becomes of one event, for `ark send`: sent, or only shown."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from arkcli.actions import send
from arkcli.actions.send import Order, Repeated
from arkcli.cli.printout import Printout
from arkcli.cli.records import answer_cell, delivery_json, took_cell, when
from arkcli.cli.session import Session
from arkcli.contract.events import LARGE_BODY
from arkcli.delivery.send import Report, Sending
from arkcli.errors import ExitCode, UsageError
from arkcli.model import Destination, Event, Outcome, State
from arkcli.output import Output, Table
from arkcli.store.store import Contents
from arkcli.text import is_harmless

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


def send_event(
    session: Session,
    output: Output,
    order: Order,
    contents: Contents,
    receivers: Sequence[Destination],
    *,
    queue: bool,
) -> Printout:
    """Accepts an event, and delivers it at once unless it is only to be queued."""
    session.process.stop_on_signals()

    def tell(accepted: Event) -> None:
        if len(accepted.body) > LARGE_BODY:
            output.warn(f"the body has {len(accepted.body):,} bytes; many receivers refuse more than {LARGE_BODY:,}")
        output.note(f"accepted {accepted.id} ({len(accepted.body):,} bytes)")

    try:
        sending = send.send(session.home, order, contents, session.process, tell, now=not queue)
    except Repeated as repeated:
        said = f"{repeated.event.id} was accepted at {repeated.event.at} with the same body; nothing was sent again"
        return Printout({"event": _event_json(repeated.event), "deliveries": [], "repeated": True}, [said])
    warnings = [f"{report.destination} is left out: {report.error}" for report in sending.reports if report.is_broken]
    if sending.trouble is not None:
        warnings.append(f"the event is accepted and queued, but {sending.trouble}; `ark drain` goes on with it")
    status = _exit_code(sending, {found.name for found in receivers if found.paused}, queued=queue)
    if session.process.stopping():
        status = ExitCode.INTERRUPTED
        warnings.append(f"interrupted: {session.process.accepted}, and `ark drain` delivers what is left")
    headings = ("destination", "outcome", "answer", "took", "next attempt")
    return Printout(
        {"event": _event_json(sending.event), "deliveries": [_report_json(report) for report in sending.reports]},
        [Table(headings, [_row(found) for found in sending.reports])],
        [
            f"{report.destination} is left to {report.held_by}, which is delivering to it"
            for report in sending.reports
            if report.held_by is not None and report.outcome is State.WAITING
        ],
        warnings,
        status=status,
    )


def _exit_code(sending: Sending, paused: set[str], *, queued: bool) -> ExitCode:
    outcomes = {report.outcome for report in sending.reports if report.destination not in paused}
    # The event is accepted: 1 would say that it is not.
    is_broken = any(report.is_broken for report in sending.reports)
    if not is_broken and (queued or outcomes <= {State.DELIVERED}):
        return ExitCode.DONE
    return ExitCode.FAILED if State.DEAD in outcomes else ExitCode.RETRYING


def send_once(session: Session, order: Order, endpoint: "Endpoint") -> Printout:
    """Makes one attempt, stores nothing, and tells what came of it; the exit status is 1 when it failed."""
    session.process.stop_on_signals()
    event, answer = send.send_once(session.home, order, endpoint, session.process.stopping)
    name, failed = endpoint.destination.name, answer.outcome is Outcome.FAILED
    row = (name, answer.outcome, answer_cell(answer), took_cell(answer))
    table = Table(("destination", "outcome", "answer", "took"), [row])
    document = {"event": _event_json(event), "deliveries": [delivery_json(name, 1, answer)]}
    return Printout(document, [table], status=ExitCode.FAILED if failed else ExitCode.DONE)


def show_requests(session: Session, order: Order, endpoints: "Iterable[Endpoint]") -> Printout:
    """The requests that sending would make at once."""
    from arkcli.actions import preview

    event = send.unsaved(session.home, order)
    found = preview.requests(event, endpoints, session.home.clock.now() // 1000)
    document = [
        {
            "destination": request.destination,
            "method": request.method,
            "url": request.url,
            "headers": request.headers,
            "body": request.body,
        }
        for request in found
    ]
    return Printout({"event": _event_json(event), "requests": document}, [str(request) for request in found])


def show_commands(session: Session, output: Output, order: Order, receivers: Iterable[Destination]) -> Printout:
    """A command for every destination that sends the event with curl."""
    from arkcli.actions import preview

    event = send.unsaved(session.home, order)
    found = preview.commands(event, receivers)
    if output.on_a_terminal and not all(is_harmless(command) for _, command in found):
        raise UsageError(
            "the payload holds characters that could mislead a terminal; write the commands into a file instead: "
            "`ark send … --curl > send.sh`"
        )
    document = [{"destination": destination.name, "command": command} for destination, command in found]
    return Printout({"event": _event_json(event), "commands": document}, [command for _, command in found])


def _event_json(event: Event) -> dict[str, Any]:
    return {"id": event.id, "type": event.name, "at": event.at, "bytes": len(event.body)}


def _report_json(report: Report) -> dict[str, Any]:
    return delivery_json(report.destination, report.attempt, report, report.next_attempt_at)


def _row(report: Report) -> tuple[object, ...]:
    return report.destination, report.outcome, answer_cell(report), took_cell(report), when(report.next_attempt_at)
