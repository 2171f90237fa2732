"""What every command shows on a terminal, kept as text: each screen at 80 and at 120 columns, from one fixed home.

After a change that was meant, write them again and look at what differs:

    pytest tests/cli/test_screens.py --keep-screens; git diff tests/cli/screens

A new screen is a row in SCREENS.
"""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from arkcli import times
from arkcli.model import Answer, Draft
from arkcli.queue.outage import Outage
from arkcli.text import columns_of
from tests.world import PAYLOAD, START, World

KEPT = Path(__file__).parent / "screens"
WIDTHS = (80, 120)
#: Answers of receivers.
GOOD = Answer(200, None, 24)
BROKEN = Answer(500, "answered 500, not a 2xx", 131, '{"error": "lead table is locked, try later"}')
SLOW = Answer(None, "no answer within 10 s", 10_000, timed_out=True)
REFUSED = Answer(None, "no connection: connection refused", 1, unreached=True)


def event_id(number: int) -> str:
    """An id as ark makes them, but the same at each run."""
    return f"evt_{START + number:012x}{hashlib.sha256(b'%d' % number).hexdigest()[:16]}"


class Row(NamedTuple):
    """One screen: its name, and the words after `ark`. HOME is the directory of the home."""

    name: str
    words: str


SCREENS = (
    Row("first", ""),
    Row("queue", "queue"),
    Row("queue-failing", "queue --failing"),
    Row("queue-to", "queue --to globex-eu-west"),
    Row("queue-list", "queue list"),
    Row("queue-list-dead", "queue list --state dead"),
    Row("queue-list-nothing", "queue list --event ping"),
    Row("queue-list-by-error", "queue list --by error"),
    Row("queue-list-by-event", "queue list --by event"),
    Row("queue-list-by-destination", "queue list --by destination"),
    Row("queue-show-retrying", f"queue show {event_id(7)}"),
    Row("queue-show-dead", f"queue show {event_id(20_000)}"),
    Row("queue-check", "queue check"),
    Row("queue-help", "queue --help"),
    Row("dest-list", "dest list"),
    Row("dest-list-failing", "dest list --failing"),
    Row("dest-show", "dest show globex-eu-west"),
    Row("drain-dry-run", "drain --dry-run"),
    Row("log", "log -n 12"),
    Row("log-failed", "log --outcome failed --to globex-eu-west"),
    Row("log-verbose", "log -v --to globex-eu-west"),
    Row("log-stats", "log --stats"),
    Row("events", "events"),
    Row("secret-show", "secret show"),
    Row("config-path", "config path"),
    Row("config-show", "config show"),
    Row("doctor", "doctor"),
    Row("verify-mismatch", f"verify HOME/body.json --secret another --signature {'0' * 64} --explain"),
    Row("error-usage", "queue list --evnet ping"),
    Row("error-destination", "queue --to globex-eu"),
    Row("error-id", "queue show evt_that_is_not_there"),
    Row("error-watch", "queue --watch --quiet"),
)


class Past(NamedTuple):
    """A destination: its events, each with its age in seconds, and the answers to the attempts at it."""

    name: str
    url: str
    events: Mapping[int, tuple[Answer, ...]] = {}
    paused: bool = False
    held_back: bool = False


HISTORY = (
    Past("crm", "https://hooks.example.com/signalark", dict.fromkeys((3_000, 2_400, 1_900, 40), (GOOD,))),
    Past(
        "globex-eu-west",
        "https://eu-west.hooks.globex.example/tenants/1042/signalark",
        {900: (BROKEN, GOOD), 400: (BROKEN, BROKEN), 7: (BROKEN,)},
    ),
    Past("acme-production", "https://acme.example/in", dict.fromkeys((20_000, 19_000, 18_500), (BROKEN,) * 5)),
    Past("initech", "https://initech.example/webhooks", {5_000: ()}, paused=True),
    Past("umbrella", "https://umbrella.example/", {1_000: ()}),
    Past("hooli", "https://hooli.example/events", {25: (REFUSED,)}, held_back=True),
    Past("stark", "https://stark.example/a-path-that-is-rather-long/and-longer-still", {12: (SLOW,)}),
    *(Past(f"customer-{number:04}", f"https://customer-{number:04}.example/ark") for number in range(7)),
)
#: `ark doctor` looks for the hosts, so it has a home of its own.
LOCAL = (Past("local", "http://127.0.0.1:9/hook", {1_000: ()}),)


def play(world: World, history: Sequence[Past]) -> None:
    """Makes the history true, as of the world's clock."""
    write_store(world, history)
    world.home.joinpath("body.json").write_bytes(PAYLOAD)
    home = world.session().home
    destinations = home.joined(home.store.read().destinations)
    for past, destination in zip(history, destinations, strict=True):
        for ago, answers in past.events.items():
            at = world.clock.now() - ago * 1_000
            draft = Draft(event_id(ago), "signal.promoted", times.to_text(at), PAYLOAD, (destination.id,))
            home.queue.accept([draft])
            for number, answer in enumerate(answers):
                (claim,) = home.queue.claim_due(draft.to or (), 1, "drain", at)
                # Others that have failed before are due by then, too.
                taken = [found for found in claim.take(at, 9) if found.event.id == draft.id]
                home.queue.record([(claim, [(delivery, answer) for delivery in taken])], at)
                if past.held_back:
                    claim.note(Outage(since=at, until=world.clock.now() + 20_000, probes=2, error=answer.error or ""))
                claim.release()
                at += (*home.schedule.delays, 0)[number]
    home.queue.close()


def write_store(world: World, history: Sequence[Past]) -> None:
    """Writes destinations.toml."""
    lines = ["version = 1", "[workspace]", 'secret = "s3cret-that-nobody-knows"']
    for number, past in enumerate(history):
        lines += [
            "[[destinations]]",
            f'id = "dst_{number:028x}"',
            f'name = "{past.name}"',
            f'url = "{past.url}"',
            f'added_at = "{times.to_text(START)}"',
            f"paused = {'true' if past.paused else 'false'}",
            f"allow_local = {'true' if past.url.startswith('http:') else 'false'}",
        ]
    world.store_file.parent.mkdir(parents=True, mode=0o700)
    world.store_file.write_text("\n".join(lines) + "\n")
    world.store_file.chmod(0o600)


@pytest.fixture(scope="module")
def homes() -> Iterator[dict[str, World]]:
    """The home of most screens, and that of `ark doctor`. Their paths are equally long on every machine."""
    made = {}
    for command, history in (("", HISTORY), ("doctor", LOCAL)):
        world = World(Path(tempfile.mkdtemp(prefix="ark-", dir="/tmp")))
        world.variables["SSL_CERT_FILE"] = str(world.home / "ca.pem")
        world.clock.advance(86_400)
        play(world, history)
        made[command] = world
    yield made
    for world in made.values():
        shutil.rmtree(world.home)


def screen(home: World, row: Row, columns: int) -> str:
    """What a command shows, with what differs between machines replaced."""
    words = [word.replace("HOME", str(home.home)) for word in row.words.split()]
    text = home.on_a_terminal(*words, columns=columns, NO_COLOR="1")
    text = re.sub(
        r"[\d.]+ .B free of [\d.]+ .B", "50 GB free of 99 GB", text.replace(str(home.home), "/tmp/ark-of-alice")
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("row", SCREENS, ids=lambda row: row.name)
def test_a_screen_is_as_it_was_kept_and_breaks_no_word(
    homes: dict[str, World], row: Row, columns: int, request: pytest.FixtureRequest
) -> None:
    home = homes.get(row.words, homes[""])
    kept = KEPT / f"{row.name}-{columns}.txt"
    shown = screen(home, row, columns)
    text = f"$ ark {row.words}".rstrip() + f"\n\n{shown}\n"
    if request.config.getoption("--keep-screens"):
        kept.write_text(text, "utf-8")
    assert kept.read_text("utf-8") == text
    # Names that a narrow cell has no room for are counted.
    words = re.sub(r", and [0-9,]+ more\b", "", " ".join(shown.split())).replace(",", " ").split()
    whole = set(screen(home, row, 1_000).replace(",", " ").split())
    assert [word for word in words if word not in whole and not is_shortened(word, whole)] == []


def is_shortened(word: str, whole: set[str]) -> bool:
    """Whether this is the beginning of an id that still names the event, or a word that says where it was cut."""
    return "…" in word or (len(word) >= 20 and any(known.startswith(word) for known in whole if known[:4] == "evt_"))


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_line_that_is_kept_is_wider_than_its_terminal(columns: int) -> None:
    kept = {path.name: path.read_text("utf-8").splitlines()[2:] for path in KEPT.glob(f"*-{columns}.txt")}
    assert {path.removesuffix(f"-{columns}.txt") for path in kept} == {row.name for row in SCREENS}
    wide = {(name, line) for name, lines in kept.items() for line in lines if columns_of(line) > columns}
    assert wide == set()
