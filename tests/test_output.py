"""A command's output: JSON for scripts, tabs for pipes, tables for people, and nothing that can control a terminal."""

import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arkcli.errors import AddressRefused, ArkError, Busy, Interrupted, PayloadError, Unreadable
from arkcli.model import Outcome
from arkcli.output import Output, to_json
from arkcli.output.tables import Column, Table, fitting, needed
from tests.world import World, terminal

TABLE = Table(
    ("destination", "outcome", "answer"),
    [("crm", Outcome.DELIVERED, 200), ("[red]lake[/red]", "dead", None), ("evil\x1b[2J\tname\n", "failed", "a b")],
)
HARMFUL = "\x1b]0;owned\x07\r\n\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}"
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


class Said:
    """An Output on streams that are not terminals, and what it wrote."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.output = Output(self._out, self._err, {}, as_json=as_json, quiet=quiet)

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()


def drawn(table: Table, variables: Mapping[str, str]) -> str:
    """A table as drawn on a terminal of 60 columns."""
    return on_terminal(variables, lambda output: output.result({}, table))


def on_terminal(variables: Mapping[str, str], say: Callable[[Output], None]) -> str:
    """What an Output writes to a terminal of 60 columns."""
    with terminal() as (stream, written):
        variables = {"TERM": "xterm-256color", "COLUMNS": "60", **variables}
        say(Output(stream, stream, variables, as_json=False, quiet=False))
        return written()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


documents = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))


@settings(deadline=None)
@given(documents)
@example({"control characters and more": "".join(map(chr, range(0x2100)))})
def test_json_is_one_line_of_printable_ascii_that_means_the_same(document: dict[str, Any]) -> None:
    said = Said(as_json=True)
    said.output.result(document, "text")
    assert said.out.endswith("\n")
    line = said.out[:-1]
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == document


def test_keys_in_json_keep_their_order() -> None:
    assert to_json({"b": 1, "a": [None, True, "é"]}) == '{"b": 1, "a": [null, true, "\\u00e9"]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_never_written(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"value": value})


def test_with_json_there_is_the_document_alone_quiet_or_not() -> None:
    for quiet in (False, True):
        said = Said(as_json=True, quiet=quiet)
        said.output.line("a story")
        said.output.note("a remark")
        said.output.result({"a": 1}, "text", TABLE, always=True)
        assert (said.out, said.err) == ('{"a": 1}\n', "")


def test_quiet_leaves_out_all_but_what_is_always_said() -> None:
    said = Said(quiet=True)
    said.output.line("a story")
    said.output.note("a remark")
    said.output.result({"a": 1}, "text", TABLE)
    assert (said.out, said.err) == ("", "")
    said.output.result({"a": 1}, "always", always=True)
    assert said.out == "always\n"


def test_data_goes_to_standard_output_and_remarks_to_standard_error() -> None:
    said = Said()
    said.output.note("a remark")
    said.output.warn("take care")
    said.output.error(Busy("somebody holds it"))
    assert (said.out, said.err) == ("", "a remark\nwarning: take care\nerror: somebody holds it\n")
    said.output.line("a story")
    said.output.result({"a": 1}, "text", "more")
    assert said.out == "a story\ntext\nmore\n"


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreadable("it broke"), "unreadable"),
        (PayloadError("it broke"), "payload"),
        (AddressRefused("it broke"), "address"),
        (ArkError("it broke"), "failed"),
    ],
)
def test_an_error_is_json_on_standard_output_or_a_line_on_standard_error(
    error: ArkError, code: str, quiet: bool
) -> None:
    said = Said(as_json=True, quiet=quiet)
    said.output.error(error)
    assert (json.loads(said.out), said.err) == ({"error": {"code": code, "message": "it broke"}}, "")
    said = Said(quiet=quiet)
    said.output.error(error)
    assert (said.out, said.err) == ("", "error: it broke\n")


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("dest", "show", "no process"), 2),
        (("send", "signal.lost"), 2),
        (("nonsense",), 2),
        (("sign", "--nonsense"), 2),
        (("sign", "/nowhere/at/all", "--secret", "x"), 2),
        (("sign",), 2),
    ],
)
def test_every_command_tells_its_errors_in_json_with_the_same_exit_status(
    world: World, args: tuple[str, ...], status: int
) -> None:
    as_text, as_json = world.ark(*args), world.ark(*args, "--json")
    assert (as_text.status, as_json.status) == (status, status)
    assert (as_text.out, as_json.err) == ("", "")
    assert as_text.err == f"error: {as_json.json['error']['message']}\n"
    assert as_json.json.keys() == {"error"}
    assert as_json.json["error"].keys() == {"code", "message"}


def test_control_characters_from_outside_are_stripped_from_warnings_errors_and_cells() -> None:
    said = Said()
    said.output.warn(f"it said{HARMFUL}hello")
    said.output.error(ArkError(f"it said{HARMFUL}hello"))
    said.output.result({}, Table(("a", "b"), [(f"x{HARMFUL}y", "z")]))
    assert said.err == "warning: it said ]0;owned 2J hello\nerror: it said ]0;owned 2J hello\n"
    assert said.out == "x ]0;owned 2J y\tz\n"


def test_a_table_that_is_piped_is_tab_separated_without_headings_or_padding() -> None:
    said = Said()
    said.output.result({}, TABLE)
    assert said.out == "crm\tdelivered\t200\n[red]lake[/red]\tdead\t-\nevil [2J name\tfailed\ta b\n"


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.none() | st.integers()), min_size=1))
def test_whatever_is_in_a_piped_table_each_row_is_a_line_and_each_cell_a_field(
    rows: list[tuple[str, str, int | None]],
) -> None:
    said = Said()
    said.output.result({}, Table(("a", "b", "c"), rows))
    lines = said.out.removesuffix("\n").split("\n")
    assert len(lines) == len(rows)
    assert all(line.count("\t") == 2 for line in lines)


def test_a_table_without_rows_is_not_drawn() -> None:
    empty = Table(("a", "b"), [])
    said = Said()
    said.output.result({}, empty)
    assert said.out == drawn(empty, {}) == ""


def test_on_a_terminal_a_table_has_headings_and_aligned_columns() -> None:
    lines = plain(drawn(TABLE, {})).splitlines()
    assert [line.split() for line in lines] == [
        ["destination", "outcome", "answer"],
        ["crm", "delivered", "200"],
        ["[red]lake[/red]", "dead", "-"],
        ["evil", "[2J", "name", "failed", "a", "b"],
    ]
    words = ("outcome", "delivered", "dead", "failed")
    assert len({line.index(word) for line, word in zip(lines, words, strict=True)}) == 1


def test_on_a_terminal_outcomes_have_colours() -> None:
    text = drawn(TABLE, {})
    assert "\x1b[32mdelivered" in text
    assert COLOUR.search(text)


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_and_dumb_terminals_are_honoured(variables: dict[str, str]) -> None:
    text = drawn(TABLE, variables)
    assert not COLOUR.search(text)
    assert plain(text).rstrip() == plain(drawn(TABLE, {})).rstrip()


def test_a_no_color_that_is_empty_means_nothing() -> None:
    assert drawn(TABLE, {"NO_COLOR": ""}) == drawn(TABLE, {})


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_on_a_terminal_nothing_from_outside_is_interpreted(variables: dict[str, str]) -> None:
    text = drawn(
        Table(("name",), [(f"[bold]x[/bold]{HARMFUL}[link=https://evil.example]y[/link] :smile:",)]), variables
    )
    assert "\x1b]" not in text
    assert "[bold]x[/bold] ]0;owned 2J [link=https://evil.example]y" in " ".join(plain(text).split())
    assert ":smile:" in text


def test_a_value_that_is_too_wide_for_a_terminal_is_folded_and_not_cut() -> None:
    wide = "0123456789" * 20
    text = plain(drawn(Table(("name", "outcome"), [(wide, "dead")]), {}))
    assert "".join(re.findall(r"\d+", text)) == wide
    assert max(map(len, text.splitlines())) <= 60


COLUMNS = (Column("event", 8), Column("bytes", 5, right=True), Column("remarks"))


def say_rows(output: Output) -> None:
    rows = output.rows(COLUMNS)
    rows.add({"n": 1}, ("ping", 1_048_576, ""), f'{{\n  "a": [bold]{HARMFUL}')
    rows.add({"n": 2}, ("界" * 8, None, "[red]x[/red]"))


def test_rows_that_come_one_by_one_are_lines_of_json_or_of_tab_separated_fields() -> None:
    said = Said(as_json=True)
    say_rows(said.output)
    assert said.out == '{"n": 1}\n{"n": 2}\n'
    said = Said()
    say_rows(said.output)
    assert said.out == f'ping\t1048576\t\t{{   "a": [bold] ]0;owned 2J\n{"界" * 8}\t-\t[red]x[/red]\n'
    said = Said(quiet=True)
    say_rows(said.output)
    assert said.out == ""


def test_on_a_terminal_rows_have_headings_once_and_fit_their_columns() -> None:
    text = on_terminal({}, say_rows)
    assert "\x1b]" not in text
    lines = [line.rstrip() for line in plain(text).splitlines()]
    assert lines == [
        "event     bytes  remarks",
        # A number is never cut.
        "ping      1048576",
        "  {",
        '    "a": [bold] ]0;owned',
        "  2J",
        f"{'界' * 3} …      -  [red]x[/red]",
    ]


def drawn_on_a_terminal(
    *, out_too: bool = False, as_json: bool = False, quiet: bool = False, **variables: str
) -> tuple[str, str]:
    """What a command that draws its live line writes to standard error on a terminal, and to standard output."""
    with terminal() as (stream, written):
        piped = io.StringIO()
        variables = {"TERM": "xterm-256color", "COLUMNS": "60", **variables}
        stdout = stream if out_too else piped
        output = Output(stdout, stream, variables, as_json=as_json, quiet=quiet)
        with output.drawing() as draw:
            for now, words in enumerate(["too early to be shown", "half is done", "half is done", "all is done" * 9]):
                if draw is not None:
                    draw(now, partial(lambda words, _width: words, words))
                if now == 2:
                    output.lines(["1\tevt_1", "2\tevt_2"])
        return written(), piped.getvalue()


def test_the_live_line_is_drawn_when_it_changes_cut_to_the_width_and_gone_at_the_end() -> None:
    told, piped = drawn_on_a_terminal(NO_COLOR="1")
    assert told == f"\rhalf is done\x1b[K\r{('all is done' * 9)[:59]}\x1b[K\r\x1b[K"
    assert piped == "1\tevt_1\n2\tevt_2\n"


def test_lines_on_the_same_terminal_are_not_mixed_with_the_live_line() -> None:
    told, _ = drawn_on_a_terminal(out_too=True, NO_COLOR="1")
    assert "\rhalf is done\x1b[K\r\x1b[K1\tevt_1\r\n2\tevt_2\r\n\rall is done" in told


def test_the_live_line_has_a_calm_colour() -> None:
    assert "\r\x1b[36mhalf is done\x1b[0m\x1b[K" in drawn_on_a_terminal()[0]


@pytest.mark.parametrize("how", [{"quiet": True}, {"as_json": True}, {"TERM": "dumb"}], ids=str)
def test_the_live_line_is_for_people_only(how: dict[str, Any]) -> None:
    told, piped = drawn_on_a_terminal(**how)
    assert told == ""
    assert piped == ("" if how.get("quiet") else "1\tevt_1\n2\tevt_2\n")


def test_the_live_line_is_not_drawn_into_a_pipe() -> None:
    said = Said()
    with said.output.drawing() as draw:
        assert draw is None
    assert (said.out, said.err) == ("", "")


def test_what_a_command_is_busy_with_is_shown_while_it_lasts() -> None:
    asked, has_lasted = count(), threading.Event()

    def monotonic() -> float:
        if (seconds := next(asked)) > 4:
            has_lasted.set()
        return float(seconds)

    def work(output: Output) -> None:
        with output.working("checking the queue", monotonic):
            assert has_lasted.wait(5)

    told = on_terminal({"NO_COLOR": "1"}, work)
    assert re.search(r"\rchecking the queue, [0-9] s\x1b\[K", told)
    assert told.endswith("\r\x1b[K")


def test_what_does_not_last_is_not_shown() -> None:
    def work(output: Output) -> None:
        with output.working("checking the queue", float):
            pass

    assert on_terminal({}, work) == ""


def test_a_message_on_a_terminal_is_broken_between_words() -> None:
    told = on_terminal({"NO_COLOR": "1"}, lambda output: output.warn(f"{'word ' * 12}and evt_01a20954bead9e55f6fd6a"))
    assert told == f"warning: {'word ' * 9}word\r\n  word word and evt_01a20954bead9e55f6fd6a\r\n"


@pytest.mark.parametrize(
    ("raised", "told", "code", "message"),
    [
        (Unreadable("it broke"), Unreadable, "unreadable", "it broke"),
        (OSError(5, "Input/output error", "events/0.jsonl"), ArkError, "failed", "events/0.jsonl: Input/output error"),
        (KeyboardInterrupt(), Interrupted, "interrupted", "interrupted"),
    ],
)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_what_goes_wrong_amid_a_list_stands_in_the_same_json_object(
    raised: BaseException, told: type[ArkError], code: str, message: str, before: int
) -> None:
    def found() -> Iterator[int]:
        yield from range(before)
        raise raised

    said = Said(as_json=True)
    with pytest.raises(told if before else type(raised)) as caught:
        said.output.items("numbers", found(), lambda number: {"n": number}, str, lambda _: TABLE, "none")
    if before == 0:
        # Nothing has been written yet, so the error is the only output.
        assert said.out == ""
        return
    assert isinstance(caught.value, ArkError)
    assert caught.value.told
    numbers = [{"n": number} for number in range(before)]
    assert json.loads(said.out) == {"numbers": numbers, "error": {"code": code, "message": message}}


@pytest.mark.parametrize("width", [50, 70, 90, 100, 104, 108, 112, 116, 120, 125, 130, 140, 160])
def test_at_any_width_no_word_is_lost_and_no_id_is_cut_in_two(width: int) -> None:
    event, at = "evt_01a20954bead9e55f6fd6a06654e", "2026-11-23T16:55:08.537Z"
    answer = "no connection: connection refused by whoever sits there"
    table = Table(
        ("event id", "event", "to", "next attempt", "answer"), [(event, "signal.promoted", "crm", at, answer)]
    )
    said = drawn(table, {"COLUMNS": str(width), "NO_COLOR": "1"})
    assert event in said
    assert at in said
    assert all(word in said for word in answer.split())
    assert max(map(len, said.splitlines())) <= max(width, len(answer) + 13)


def test_what_goes_to_a_terminal_is_broken_between_words_and_what_is_piped_is_not() -> None:
    text = "crm has an id, evt_01a20954bead9e55f6fd6a06654e, and `ark queue show last` shows it, with every attempt"

    def say(output: Output) -> None:
        output.note(text)
        output.warn(text)
        output.error(ArkError(text))
        output.verdict("invalid", text, text)

    for lines in (plain(on_terminal({}, say)).splitlines(), plain(on_terminal({"COLUMNS": "40"}, say)).splitlines()):
        assert max(map(len, lines)) <= (60 if len(lines) < 14 else 40)
        assert sum("evt_01a20954bead9e55f6fd6a06654e" in line for line in lines) == 5
        assert sum("`ark queue show last`" in line for line in lines) == 5
        begun = next(number for number, line in enumerate(lines) if line.startswith("error: "))
        assert lines[begun + 1].startswith("  ")
    said = Said()
    say(said.output)
    assert said.err == f"{text}\nwarning: {text}\nerror: {text}\ninvalid: {text}\n{text}\n"


WIDE = Table(("name", "url", "state", "note"), [("crm", "https://crm.example/", "paused", "two words")])


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (45, ("name", "url", "state", "note")),
        (44, ("name", "state", "note")),
        (23, ("name", "state", "note")),
        (20, ("name", "note")),
        (11, ("name", "note")),
        (10, ("name",)),
    ],
)
def test_columns_are_left_out_in_their_order_until_a_row_is_one_line_or_its_words_are_whole(
    width: int, headings: tuple[str, ...]
) -> None:
    found = fitting(WIDE, width, ("url", "state"), ("note",))
    assert tuple(found.headings) == headings
    assert [len(row) for row in found.rows] == [len(headings)]
    assert needed(WIDE) == 45
