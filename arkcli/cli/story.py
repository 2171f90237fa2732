"""`ark queue show`: one event, and why its deliveries failed."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Final

import typer

from arkcli.actions.printed import event_json, story_json, when, whole_event_json
from arkcli.actions.reading import Delivered, Story
from arkcli.actions.wording import answer_cell, from_now, short_answer, short_time, took_cell
from arkcli.cli.options import To, complete_event_id, reading_of, session_of
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.model import Event, Outcome, State
from arkcli.output import Output
from arkcli.output.screen import Screen
from arkcli.output.tables import Column, Table, fitted
from arkcli.text import clean, clean_lines, counted, is_harmless

#: How many lines of the body a terminal shows.
_BODY_LINES: Final = 20
#: With more destinations than this, those that took the event at once are shown on one line.
_MANY: Final = 8
#: An attempt on a terminal: pieces of text, each with its style. Only the last may be broken.
_Pieces = Sequence[tuple[str, str]]


def show(
    context: typer.Context,
    event_id: Annotated[
        str,
        typer.Argument(
            metavar="EVENT_ID",
            help="The event's id, a unique prefix of it, or `last`.",
            autocompletion=complete_event_id,
        ),
    ],
    to: To = None,
    body: Annotated[bool, typer.Option("--body", help="Print only the body, byte for byte.")] = False,
    headers: Annotated[
        bool,
        typer.Option(
            "--headers",
            help="Print only each destination's headers, signature included; those that you set are masked.",
        ),
    ] = False,
    curl: Annotated[
        bool, typer.Option("--curl", help="Print only commands that send the event again with curl.")
    ] = False,
) -> Printout | ExitCode:
    """Show one event: its body, every attempt at every destination with the beginning of the answer, and what comes
    next.

    Example: ark queue show last

    Example: ark queue show evt_… --body > payload.json
    """
    if body + headers + curl > 1:
        raise UsageError("--body, --headers and --curl do not go together: each prints one thing, ready for a pipe")
    session = session_of(context)
    output = session.output()
    reading = reading_of(session, to)
    if body:
        return _show_body(output, reading.event(event_id))
    story = reading.story(event_id)
    if headers or curl:
        if not story.deliveries:
            raise UsageError(f"{story.event.id} was sent to none of these destinations; `ark replay` sends it again")
        return _headers(session, output, story) if headers else _commands(session, output, story)
    text = _drawn(output.screen, story, session.home.clock.now()) if output.on_a_terminal else _plain(story)
    return Printout(story_json(story), text, broken=story.broken)


def _show_body(output: Output, event: Event) -> ExitCode:
    if output.on_a_terminal and not is_harmless(event.body.decode()):
        raise UsageError(_misleading(event, "body", "payload.json"))
    output.exact({"event": whole_event_json(event)}, event.body)
    return ExitCode.DONE


def _headers(session: Session, output: Output, story: Story) -> Printout:
    from arkcli.actions import preview

    home, event = session.home, story.event
    contents, at = home.store.read(), home.clock.now() // 1000
    endpoints, unusable = home.endpoints([one.destination for one in story.deliveries], contents)
    attempts = {one.destination.id: one.attempts[-1].attempt for one in story.deliveries if one.attempts}
    found = [
        request
        for endpoint in endpoints
        for request in preview.requests(event, [endpoint], at, attempts.get(endpoint.destination.id, 1))
    ]
    document = [{"destination": request.destination, "headers": request.headers} for request in found]
    blocks = ["\n".join(_headed(output, request.destination, request.head)) for request in found]
    shown, broken = {"event": event_json(event), "requests": document}, {**story.broken, **unusable}
    return Printout(shown, ["\n\n".join(blocks)], broken=broken, always=True)


def _headed(output: Output, name: str, lines: Sequence[str]) -> Sequence[str]:
    return [output.screen.painted(name, "bold"), *lines] if output.on_a_terminal else lines


def _commands(session: Session, output: Output, story: Story) -> Printout:
    from arkcli.cli.dryrun import show_commands

    contents = session.home.store.read()
    receivers = (contents.with_proxy(one.destination) for one in story.deliveries)
    shown = show_commands(output, story.event, receivers, _misleading(story.event, "curl", "send.sh"))
    return shown._replace(broken=story.broken, always=True)


def _misleading(event: Event, option: str, file: str) -> str:
    return (
        "the body contains characters that could mislead a terminal; write it to a file instead: "
        f"`ark queue show {event.id} --{option} > {file}`"
    )


def _plain(story: Story) -> list[str | Table]:
    """The story for a pipe."""
    event, rows = story.event, list[tuple[object, ...]]()
    for one in story.deliveries:
        name, state = one.destination.name, one.state
        rows += [] if one.attempts else [(name, state, None, None, None, None)]
        rows += [(name, state, made.attempt, when(made.at), made.outcome, answer_cell(made)) for made in one.attempts]
    return [
        f"{event.id}  {event.name}  accepted {event.at}, {len(event.body):,} bytes",
        clean_lines(event.body.decode()),
        Table(("destination", "state", "attempt", "at", "outcome", "answer"), rows),
    ]


def _drawn(screen: Screen, story: Story, now: int) -> list[str | Table]:
    """The story for a terminal."""
    from arkcli import times

    event = story.event
    at = times.from_text(event.at)
    told = f"accepted {short_time(at)} UTC, {from_now(at, now)}; {counted(len(event.body), 'byte')}"
    head = [(event.id, "bold"), (event.name, ""), (told, "")]
    lines = [*_flow(screen, head, ""), "", *_body(screen, event)]
    folded = 0
    for one in story.deliveries:
        if len(story.deliveries) > _MANY and one.state is State.DELIVERED and len(one.attempts) == 1:
            folded += 1
        else:
            lines += ["", *_delivery(screen, event, one, now)]
    if folded:
        said = f"delivered at the first attempt to {counted(folded, 'destination')}; --to NAME shows one"
        lines += ["", *_flow(screen, [(said, "green")], "")]
    return list(lines)


def _body(screen: Screen, event: Event) -> list[str]:
    import msgspec

    try:
        text = msgspec.json.format(event.body, indent=2)
    except (msgspec.DecodeError, RecursionError):
        text = event.body
    lines = clean_lines(text.decode()).splitlines()
    more = max(len(lines) - _BODY_LINES, 0)
    column = Column("", max(screen.width - 2, 1))
    shown = [fitted(line, column).rstrip() for line in lines[:_BODY_LINES]]
    if text == event.body and shown == lines:
        note = []
    else:
        what = counted(more, "more line") if more else "indented here" if shown == lines else "long lines are cut"
        told = f"{what}; `ark queue show {event.id} --body` prints it as it was sent"
        note = _flow(screen, [(told, "dim")], "  ")
    return [*(f"  {line}" for line in shown), *note]


def _delivery(screen: Screen, event: Event, one: Delivered, now: int) -> list[str]:
    known = one.destination
    paused = f"  {screen.painted('paused', 'dim')}" if known.paused else ""
    lines = [f"{screen.painted(known.name, 'bold')}  {screen.word(one.state)}{paused}"]
    ages = [from_now(made.at, now) for made in one.attempts]
    took = [str(took_cell(made)) for made in one.attempts]
    before = ""
    for made, age, duration in zip(one.attempts, ages, took, strict=True):
        failed = made.outcome is Outcome.FAILED
        pieces = [
            (f"attempt {made.attempt}", ""),
            (short_time(made.at), ""),
            (age.ljust(max(map(len, ages))), ""),
            (duration.rjust(max(map(len, took))), ""),
            (short_answer(made), "red" if failed else "green"),
        ]
        lines += _flow(screen, pieces, "  ")
        said = made.excerpt if failed else ""
        below = ["the same answer"] if said and said == before else screen.excerpt(said, 6)
        lines += [f"      {screen.painted(line, 'dim')}" for line in below]
        before = said
    following = _following(event, one, now)
    return [*lines, *(_flow(screen, [(following, "")], "  ") if following else [])]


def _following(event: Event, one: Delivered, now: int) -> str | None:
    """What comes next at a destination, and what to do."""
    known, due_at = one.destination, one.next_attempt_at
    if one.state is State.DEAD:
        return f"dead: `ark queue retry {event.id} --to {known.name}` tries again"
    if due_at is None:
        return None
    if known.paused:
        return f"{known.name} is paused: the next attempt comes after `ark dest resume {known.name}`"
    if due_at > now:
        return f"next attempt {from_now(due_at, now)}"
    is_first = one.state is State.WAITING and not one.attempts
    said = "waiting for its first attempt" if is_first else "the next attempt is due"
    if one.outage is not None:
        return f"{said}; held back: {one.outage.in_words(lambda at: f'{short_time(at)} UTC')}"
    return f"{said}; `ark drain` makes it"


def _flow(screen: Screen, pieces: _Pieces, indent: str) -> list[str]:
    """Pieces two spaces apart, on as many lines as they need; the last piece is broken between words."""
    *whole, (last, last_style) = pieces
    words = [("  ", text, style) for text, style in whole]
    words += [(" " if number else "  ", word, last_style) for number, word in enumerate(clean(last).split(" "))]
    lines, width = [list[tuple[str, str]]()], len(indent)
    for space, word, style in words:
        gap = space if lines[-1] else ""
        if gap and width + len(gap) + len(word) > screen.width:
            lines.append([])
            gap, width = "", len(indent) + 4
        lines[-1].append((gap + word, style))
        width += len(gap) + len(word)
    return [indent + "    " * bool(number) + _painted(screen, line) for number, line in enumerate(lines)]


def _painted(screen: Screen, line: _Pieces) -> str:
    runs = groupby(line, key=itemgetter(1))
    return "".join(screen.painted("".join(text for text, _ in run), style) for style, run in runs)
