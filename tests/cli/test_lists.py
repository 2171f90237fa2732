"""Lists for thirty and for a thousand: totals first, trouble on top, short answers, and the whole on one screen."""

import re
from collections.abc import Callable

import pytest

from arkcli.cli.lists import beginnings, percent, shortened
from tests import many
from tests.terminal import CTRL_C, Terminal
from tests.world import PAYLOAD, TestReceiver, World, in_turn

Receive = Callable[..., TestReceiver]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: The destinations in trouble: among a thousand, and among a dozen.
MANY, SOME = (7, 431, 998), (1, 5, 9)
NAMES = [many.name(number) for number in SOME]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A thousand destinations; three have dead deliveries, sixty together. The others have nothing."""
    world = World(tmp_path_factory.mktemp("thousand"))
    many.build(world, 1_000, MANY)
    return world


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same for twelve destinations."""
    world = World(tmp_path_factory.mktemp("dozen"))
    many.build(world, 12, SOME)
    return world


@pytest.mark.parametrize(
    ("words", "width"),
    [("queue", 80), ("queue", 50), ("queue list --by error", 80)],
)
def test_of_a_thousand_destinations_one_screen_names_the_three_in_trouble(
    thousand: World, words: str, width: int
) -> None:
    names = [many.name(number) for number in MANY]
    shown = Terminal(thousand, *words.split(), columns=width, NO_COLOR="1")
    assert shown.finish() == 0
    lines = shown.text.split("\n")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    assert [name for name in names if name in shown.text] == names
    assert shown.text.count("customer-") == len(names)
    if words == "queue":
        assert shown.text.startswith("1,000 destinations: 3 failing; 0 waiting,")
        assert "60 dead" in shown.text
        assert "997 destinations: nothing waiting" in shown.text


def test_reasons_are_short_and_counted_with_an_example_that_can_be_shown(dozen: World) -> None:
    groups = dozen.ark("queue", "list", "--by", "error", "--json").json["groups"]
    assert [(group["error"], group["count"]) for group in groups] == [
        ("500", 20),
        ("timeout", 20),
        ("no connection: refused", 20),
    ]
    assert all(dozen.ark("queue", "show", group["example"]).status == 0 for group in groups)
    by_name = dozen.ark("queue", "list", "--by", "destination", "--to", NAMES[1], "--json").json
    assert [(group["destination"], group["count"]) for group in by_name["groups"]] == [(NAMES[1], 20)]
    assert dozen.ark("queue", "list", "--by", "event", "-n", "0", "--json").out == '{"groups": []}\n'


def test_names_that_do_not_fit_are_counted(dozen: World) -> None:
    text = dozen.on_a_terminal("queue", "list", "--by", "event", columns=80, NO_COLOR="1")
    assert all(name in text for name in NAMES)
    piped = dozen.ark("queue", "list", "--by", "event").out
    assert piped.split("\t")[:3] == ["60", "signal.promoted", ",".join(NAMES)]


def test_only_what_is_not_zero_has_a_colour(dozen: World) -> None:
    text = dozen.on_a_terminal("queue", columns=80, TERM="xterm")
    assert "\x1b[31m3 failing;\x1b[0m 0 waiting, 0 retrying, \x1b[31m60 dead\x1b[0m" in text
    row = next(line for line in text.splitlines() if line.startswith(NAMES[0]))
    assert re.findall(r"\x1b\[3[0-9]m(\d+)", row) == ["20"]
    assert "\n9 destinations: nothing waiting\n" in text


def test_a_list_that_is_piped_stays_as_it_was_and_failing_takes_the_worst_first(dozen: World) -> None:
    everyone = dozen.ark("queue").out.splitlines()
    assert len(everyone) == 12
    assert everyone[1] == f"{NAMES[0]}\t0\t0\t20\t-\t-"
    assert [line.split("\t")[0] for line in dozen.ark("queue", "--failing").out.splitlines()] == NAMES
    assert [line.split("\t")[0] for line in dozen.ark("dest", "list", "--failing").out.splitlines()] == NAMES
    found = dozen.ark("queue", "--failing", "--to", NAMES[2], "--to", many.name(3), "--json").json
    assert [one["name"] for one in found["destinations"]] == [NAMES[2]]
    assert dozen.ark("queue", "--failing", "--to", many.name(3)).err.startswith("no destination is failing\n")


def test_what_is_drawn_again_fits_the_terminal_shows_the_worst_and_counts_the_rest(dozen: World) -> None:
    terminal = Terminal(dozen, "queue", "--watch", lines=6)
    terminal.until("stored")
    terminal.press(CTRL_C)
    assert terminal.finish() == 130
    assert terminal.text.startswith("\x1b[?1049h")
    assert terminal.text.endswith("\x1b[?1049l")
    picture = COLOUR.sub("", terminal.text.split("\x1b[H")[2]).replace("\x1b[K", "").split("\x1b[J")[0].split("\n")
    assert [line.split()[0] for line in picture] == ["12", "destination", NAMES[0], "and", "9", "60"]
    assert picture[3] == "and 2 more"


def test_what_is_drawn_again_has_what_has_happened_since(world: World, receive: Receive) -> None:
    world.add(receive(503), "crm")
    terminal = Terminal(world, "queue", "--watch")
    terminal.until("0 events stored")
    assert world.ark("send", "signal.promoted", "--sample").status == 75
    terminal.until("1 event stored")
    terminal.press(CTRL_C)
    assert terminal.finish() == 130


@pytest.mark.parametrize("more", [(), ("--json",), ("--quiet",)])
def test_without_a_terminal_nothing_can_be_watched(world: World, more: tuple[str, ...]) -> None:
    result = world.ark("queue", "--watch", *more)
    assert result.status == 2
    assert "repeat `ark queue --json`" in result.out + result.err


def test_a_dumb_terminal_cannot_be_watched(world: World) -> None:
    assert "--watch draws on a terminal" in world.on_a_terminal("queue", "--watch", columns=80, TERM="dumb")


@pytest.mark.parametrize("command", ["queue", "queue --failing", "queue list", "dest list", "log --stats"])
def test_in_an_empty_home_a_narrow_terminal_shows_an_empty_list(world: World, command: str) -> None:
    shown = world.on_a_terminal(*command.split(), columns=20, NO_COLOR="1")
    assert "rror" not in shown
    assert "destination:" not in shown


@pytest.mark.parametrize("option", ["--failing", "--watch", "--to crm"])
def test_options_of_the_summary_are_refused_before_another_command(world: World, option: str) -> None:
    result = world.ark("queue", *option.split(), "list")
    assert result.status == 2
    assert f"{option.split(maxsplit=1)[0]} goes with `ark queue` alone" in result.err


def test_trouble_comes_first_with_relative_times(world: World, receive: Receive) -> None:
    for name in ("idle", "waits", "overdue", "fails", "paused"):
        world.add(receive(in_turn(503)), name)
    world.ark("dest", "pause", "paused")
    world.ark("send", "signal.promoted", "--queue", "--to", "overdue", "--to", "paused", stdin=PAYLOAD)
    world.clock.advance(16 * 60)
    world.ark("send", "signal.promoted", "--queue", "--to", "waits", stdin=PAYLOAD)
    world.ark("send", "signal.promoted", "--to", "fails", stdin=PAYLOAD)
    lines = world.on_a_terminal("queue", columns=80, NO_COLOR="1").splitlines()
    assert lines[0] == "5 destinations: 2 failing, 1 paused, 1 overdue for 16 min; 3 waiting,"
    assert lines[1] == "1 retrying, 0 dead"
    assert [line.split()[0] for line in lines[3:8]] == ["fails", "overdue", "waits", "paused", "idle"]
    due = [re.split(" {2,}", line)[4] for line in lines[3:8]]
    assert due == ["in 30 s", "16 min ago", "now", "paused", "-"]
    assert "\x1b[31m16 min ago" in world.on_a_terminal("queue", columns=80, TERM="xterm")

    listed = world.on_a_terminal("dest", "list", columns=80, NO_COLOR="1").splitlines()
    assert listed[:2] == lines[:2]
    assert [line.split()[0] for line in listed[3:]] == ["fails", "overdue", "waits", "paused", "idle"]
    assert re.search(r"^paused \(paused\) ", listed[6])
    assert re.search(r"^fails .* 503, just now *$", listed[3])

    rows = world.on_a_terminal("queue", "list", columns=120, NO_COLOR="1").splitlines()[1:]
    found = {cells[2]: cells[3:] for cells in (re.split(" {2,}", row.rstrip()) for row in rows)}
    assert found["fails"] == ["retrying", "1", "in 30 s", "503"]
    assert found["waits"] == ["waiting", "0", "now", "-"]
    assert found["overdue"] == ["waiting", "0", "16 min ago", "-"]
    said = {"fails": "11-18 11:23:10 UTC, in 30 s", "waits": "now", "overdue": "16 min ago"}
    for name, words in {**said, "paused": "16 min ago (paused)"}.items():
        shown = world.on_a_terminal("dest", "show", name, columns=80, NO_COLOR="1")
        assert re.findall(r"^next attempt +(.*?) *$", shown, re.MULTILINE) == [words]


def test_ids_are_whole_where_they_fit_and_otherwise_their_beginnings_still_name_one_event(
    world: World, receive: Receive
) -> None:
    world.add(receive(503), "crm")
    for _ in range(2):
        world.ark("send", "signal.promoted", stdin=PAYLOAD)
    ids = [one["event_id"] for one in world.ark("queue", "list", "--json").json["deliveries"]]
    wide = world.on_a_terminal("queue", "list", columns=120, NO_COLOR="1")
    assert [line.split()[0] for line in wide.splitlines()[1:]] == ids
    narrow = [
        line.split()[0] for line in world.on_a_terminal("queue", "list", columns=76, NO_COLOR="1").splitlines()[1:]
    ]
    assert [full.startswith(short) for full, short in zip(ids, narrow, strict=True)] == [True, True]
    assert all(world.ark("queue", "show", short).status == 0 for short in narrow)


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        ([], []),
        (["evt_1"], ["evt_1"]),
        (["evt_" + "0" * 27 + "1"], ["evt_" + "0" * 18]),
        (["evt_" + "0" * 27 + "1", "evt_" + "0" * 27 + "2"], ["evt_" + "0" * 27 + "1", "evt_" + "0" * 27 + "2"]),
        (
            ["evt_" + "0" * 19 + "1" * 8, "evt_" + "0" * 19 + "2" * 8] * 2,
            ["evt_" + "0" * 19 + "1", "evt_" + "0" * 19 + "2"] * 2,
        ),
    ],
)
def test_a_beginning_of_an_id_is_as_long_as_it_must_be_to_name_one(ids: list[str], shown: list[str]) -> None:
    assert beginnings(ids) == shown


@pytest.mark.parametrize(
    ("share", "said"),
    [(1, "100 %"), (0.99999, "99.9 %"), (0.9974, "99.7 %"), (0.00001, "0.1 %"), (0, "0 %")],
)
def test_a_share_is_all_or_nothing_only_if_it_is(share: float, said: str) -> None:
    assert percent(share) == said


def test_a_url_that_is_too_long_keeps_both_ends() -> None:
    assert shortened("https://hooks.example.com/tenants/crm", 24) == "https://hooks.e…ants/crm"
    assert shortened("https://crm.example/", 24) == "https://crm.example/"
