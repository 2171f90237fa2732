"""`ark send --ndjson`: one event per line."""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from arkcli import times
from arkcli.actions import drain
from arkcli.actions.drain import Job
from arkcli.actions.send import Order, check_same, doubts, make_draft
from arkcli.cli import statuses
from arkcli.cli.session import ATTEMPTED_AGAIN, Session
from arkcli.cli.watching import death_warnings, drain_watched, stream_line
from arkcli.contract.events import LARGE_BODY
from arkcli.delivery.drain import Drained, Plan
from arkcli.errors import ExitCode, UsageError
from arkcli.intake.lines import Lines
from arkcli.intake.stream import LONGEST_LINE, Intake, Keys, Receipt
from arkcli.intake.writer import Writer
from arkcli.model import Destination, Draft
from arkcli.output import Output, to_json
from arkcli.store.store import Contents
from arkcli.text import clean, counted

#: Makes an event from a payload, a time and digits for its ids.
Make = Callable[[bytes, str, str], Draft]


def send_lines(
    session: Session,
    output: Output,
    order: Order,
    contents: Contents,
    receivers: Sequence[Destination],
    file: Path | None,
    *,
    strict: bool,
    queue: bool,
) -> ExitCode:
    """Accepts an event for every valid line, then delivers them unless `queue` is set.

    The exit status is that of a send; 2 if a line was refused.
    """
    home = session.home
    if not queue:
        # Report that no secret is available before anything is accepted, as for a single event.
        home.endpoints([found for found in receivers if not found.paused], contents)
    session.stop_on_signals(ATTEMPTED_AGAIN)
    home.joined(receivers)

    make = _doubting(output, order) if order.settings else partial(make_draft, order)
    keys = None if order.id_from is None else Keys(partial(check_same, order), home.queue.find)

    def new_intake(make: Make) -> Intake:
        writer = Writer(lambda: home.queue, home.open_queue, session.process)
        return Intake(make, home.new_digits, home.clock, writer, session.process, keys)

    intake = new_intake(make)
    with _opened(session, file) as stream:
        if strict:
            with home.nameless_file() as copy:
                # The same time for every line: equal payloads make equal bodies.
                at = times.to_text(home.clock.now())
                _check(session, output, new_intake(lambda payload, _at, _digits: make(payload, at, "")), stream, copy)
                _accept(session, output, intake, copy)
        else:
            _accept(session, output, intake, stream)
    if intake.large:
        output.warn(
            f"{counted(intake.large, 'body is', 'bodies are')} larger than {LARGE_BODY:,} bytes; many receivers "
            "reject that"
        )
    repeated = f"; {counted(intake.repeated, 'line')} repeated events accepted before" if intake.repeated else ""
    refused = f"; {_refused(intake)}" if intake.refused else ""
    output.note(f"accepted {counted(intake.accepted, 'event')}{repeated}{refused}")
    drained, stopping = None, session.process.stopping
    if intake.accepted and not queue:
        job = Job(drain.only(receivers), Plan())
        with drain_watched(session, output, drain.Stock(home, job.choose)) as onlooker:
            drained = drain.drain(home, job, output.warn, stopping, onlooker)
        _show_drained(output, drained, receivers)
        if stopping():
            output.warn("interrupted: the accepted events are queued, and `ark drain` delivers what is left")
    return statuses.of_stream(drained, intake.refused, interrupted=drained is not None and stopping())


def _doubting(output: Output, order: Order) -> Make:
    """Makes events, and warns of settings that the first payload makes doubtful: there may be millions of others."""
    doubted = False

    def make(payload: bytes, at: str, digits: str) -> Draft:
        nonlocal doubted
        drafted = make_draft(order, payload, at, digits)
        for said in () if doubted else doubts(order, payload):
            output.warn(said)
        doubted = True
        return drafted

    return make


def _check(session: Session, output: Output, intake: Intake, stream: BinaryIO, copy: BinaryIO) -> None:
    """Copies a stream if all its lines are valid. Raises UsageError if one is not."""
    lines = Lines(stream, LONGEST_LINE, copy)
    with _progress(session, output, stream) as progress:
        for receipts in intake.refusals(lines):
            _show(output, receipts)
            progress(lines.taken, intake.last_line, "lines checked")
    if intake.refused:
        raise UsageError(f"{_refused(intake)}, so with --strict nothing was accepted")
    copy.seek(0)


def _accept(session: Session, output: Output, intake: Intake, stream: BinaryIO) -> None:
    lines = Lines(stream, LONGEST_LINE)
    with _progress(session, output, stream) as progress:
        for receipts in intake.accept(lines):
            was_read = output.lost is None
            _show(output, receipts)
            if was_read and output.lost is not None:
                output.warn("the reader of the receipts has gone; ark goes on accepting lines")
            progress(lines.taken, intake.accepted, "events accepted")


def _refused(intake: Intake) -> str:
    return counted(intake.refused, "line was refused", "lines were refused")


def _show(output: Output, receipts: Sequence[Receipt]) -> None:
    output.lines(map(_to_json if output.as_json else _to_text, receipts))
    if output.lost is not None or (output.quiet and not output.as_json):
        # --quiet still prints problems.
        for receipt in receipts:
            if receipt.error is not None:
                output.warn(f"line {receipt.line}: {receipt.error}")


def _to_json(receipt: Receipt) -> str:
    if receipt.error is not None:
        return to_json({"line": receipt.line, "error": receipt.error})
    # Built by hand for speed: there may be millions, and an id needs no escaping.
    repeated = ', "repeated": true' if receipt.repeated else ""
    return f'{{"line": {receipt.line}, "event_id": "{receipt.event_id}"{repeated}}}'


def _to_text(receipt: Receipt) -> str:
    if receipt.error:
        return f"{receipt.line}\t-\t{clean(receipt.error)}"
    return f"{receipt.line}\t{receipt.event_id}" + ("\trepeated" if receipt.repeated else "")


def _show_drained(output: Output, drained: Drained, receivers: Sequence[Destination]) -> None:
    if output.quiet and not output.as_json:
        for death in death_warnings(drained.destinations):
            output.warn(death)
    for tally in drained.destinations:
        output.note(f"{tally.name}: {tally.delivered:,} delivered, {tally.retrying:,} to retry, {tally.dead:,} dead")
    for held in drained.held:
        output.note(f"{held.name} is left to {held.by}, which is delivering to it")
    for found in receivers:
        if found.paused:
            output.note(f"{found.name} is paused: its events wait")


@contextlib.contextmanager
def _opened(session: Session, file: Path | None) -> Iterator[BinaryIO]:
    if file is None or str(file) == "-":
        if file is None and session.stdin.isatty():
            session.stderr.write("type one payload per line, then Ctrl-D\n")
        yield session.stdin
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    with opened:
        yield opened


@contextlib.contextmanager
def _progress(session: Session, output: Output, stream: BinaryIO) -> Iterator[Callable[[int, int, str], None]]:
    """Shows a bar during a block. Yields a function that takes the bytes read, and the number of what was done."""
    if stream.isatty():
        # The bar would hide what the user types.
        yield lambda _read, _count, _what: None
        return
    monotonic, size = session.home.clock.monotonic, _size(stream)
    began = monotonic()
    with output.drawing() as draw:

        def progress(read: int, count: int, what: str) -> None:
            if draw is not None:
                now = monotonic()
                draw(now, partial(stream_line, read, size, count, what, now - began))

        yield progress


def _size(stream: BinaryIO) -> int | None:
    """Bytes left to read in a file; None if the stream is not a file."""
    try:
        found = os.fstat(stream.fileno())
        return found.st_size - stream.tell() if stat.S_ISREG(found.st_mode) else None
    except OSError:
        return None
