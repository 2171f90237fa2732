"""`ark queue` alone: what waits for each destination, printed once or drawn again and again."""

from collections.abc import Callable
from typing import Final, NamedTuple

from arkcli.actions import trouble
from arkcli.actions.printed import queue_json, when
from arkcli.actions.reading import Overview, Place, Reading
from arkcli.actions.trouble import sums, worst_first
from arkcli.actions.wording import from_now, outage_note
from arkcli.cli.chart import last_hour
from arkcli.cli.lists import FEW, count_cell, due_cell, totals
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.errors import ExitCode, UsageError
from arkcli.output.fullscreen import full_screen, lines_of
from arkcli.output.screen import Painted, Screen
from arkcli.output.tables import Table, fitting
from arkcli.text import counted, left_out

_HEADINGS: Final = ("destination", "waiting", "retrying", "dead", "next due", "oldest", "last hour", "")
#: On a narrow terminal these are left out, in this order.
_SPARE: Final = ("", "oldest", "last hour", "next due")
_RATHER: Final = ("waiting", "retrying")
#: How long a picture stays, and how often the process looks whether it has to stop meanwhile, in seconds.
_PICTURE_S: Final = 1.0
_LOOKS: Final = 10


class Summary(NamedTuple):
    """What waits, as of a time (milliseconds, UTC). `failing`: only the destinations in trouble, the worst first."""

    reading: Reading
    overview: Overview
    now: int
    failing: bool

    @property
    def chosen(self) -> list[Place]:
        """The destinations to show; without `failing`, in their own order."""
        places = self.overview.places
        return trouble.failing(places, self.now) if self.failing else list(places)


def printed(summary: Summary, screen: Screen, *, drawn: bool) -> Printout:
    """The summary, for one look. `drawn`: for a terminal."""
    known = [(place.destination, place.standing) for place in summary.chosen if place.standing is not None]
    document = queue_json(known, summary.reading.totals)
    rows = [
        (one.name, held.waiting, sum(held.retrying), held.dead, when(held.next_due_at), when(held.oldest_at))
        for one, held in known
    ]
    text = _pictured(summary, screen) if drawn else [Table(_HEADINGS[:6], rows)]
    return Printout(document, text, _notes(summary, most=FEW if drawn else None), broken=summary.reading.broken)


def watch(session: Session, look: Callable[[], Summary]) -> ExitCode:
    """Draws what `look` finds, once a second, until the process is asked to stop. Raises UsageError if it cannot."""
    output = session.output()
    screen = output.screen
    if output.as_json or output.quiet or not screen.can_redraw:
        raise UsageError(
            "--watch draws on a terminal again and again; in a script, repeat `ark queue --json`, "
            "or use `ark queue --prometheus FILE`"
        )
    session.process.stop_on_signals()
    with full_screen(screen) as draw:
        while not session.process.stopping() and output.lost is None:
            draw(_picture(look(), screen))
            for _ in range(_LOOKS):
                if not session.process.stopping():
                    session.home.clock.sleep(_PICTURE_S / _LOOKS)
    return ExitCode.INTERRUPTED


def _picture(summary: Summary, screen: Screen) -> list[str]:
    """The lines of a picture that fits the terminal's height: what is worst comes first, and the rest is counted."""
    notes = [*_notes(summary, most=1), *left_out(summary.reading.broken)]
    notes = [line for note in notes for line in screen.folded(note).split("\n")]
    above = len(totals(sums(summary.overview.places, summary.now), screen))
    # Beside the rows there are the headings, the line for the rest and the line for those with nothing.
    lines: list[str] = []
    for part in _pictured(summary, screen, most=max(screen.height - above - len(notes) - 3, 1)):
        lines += lines_of(part, screen) if isinstance(part, Table) else [part]
    return [*lines, *notes]


def _pictured(summary: Summary, screen: Screen, most: int | None = None) -> list[str | Table]:
    """The totals; a table with trouble on top, of up to `most` rows; and what was left out of it."""
    now, places = summary.now, worst_first(summary.chosen, summary.now)
    idle = [place for place in places if place.standing is not None and not place.standing.undone]
    idle = idle if len(idle) > FEW else []
    shown = places[: len(places) - len(idle)]
    more = len(shown[most:]) if most is not None else 0
    rows = [_row(summary.reading, place, now) for place in shown[:most]]
    return [
        *totals(sums(summary.overview.places, now), screen),
        *([fitting(Table(_HEADINGS, rows), screen.width, _SPARE, _RATHER)] if rows else []),
        *([f"and {more:,} more"] if more else []),
        *([f"{counted(len(idle), 'destination')}: nothing waiting"] if idle else []),
    ]


def _row(reading: Reading, place: Place, now: int) -> tuple[object, ...]:
    destination, held = place.destination, place.standing
    if held is None:
        return (destination.name, *[None] * (len(_HEADINGS) - 1))
    due: object = due_cell(now, held.next_due_at)
    if due is not None and (held.outage is not None or destination.paused):
        due = "paused" if destination.paused else Painted([("held back", "yellow")])
    counts = ((held.waiting, ""), (sum(held.retrying), "yellow"), (held.dead, "red"))
    hour = last_hour(reading, destination, now) or (None, None)
    oldest = None if held.oldest_at is None else from_now(held.oldest_at, now)
    return destination.name, *(count_cell(*count) for count in counts), due, oldest, *hour


def _notes(summary: Summary, most: int | None) -> list[str]:
    """Which receivers are held back (up to `most`, and how many more), and how much is stored."""
    outages = [
        outage_note(place.destination.name, place.standing.outage)
        for place in summary.chosen
        if place.standing is not None and place.standing.outage is not None
    ]
    more = len(outages[most:]) if most is not None else 0
    stored = summary.reading.totals
    return [
        *(["no destination is failing"] if summary.failing and not summary.chosen else []),
        *outages[:most],
        *([f"{counted(more, 'more destination is', 'more destinations are')} held back"] if more else []),
        f"{counted(stored.events, 'event')} stored, {counted(stored.size, 'byte')}",
    ]
