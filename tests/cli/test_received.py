"""What `ark listen` shows of a request on a terminal: it fits, is bounded, and cannot control the terminal."""

import io
import re
from itertools import pairwise

import pytest

from arkcli.actions.requests import as_curl, matches
from arkcli.cli.received import Listing
from arkcli.httpd.messages import Reply, Request
from arkcli.output import Output
from arkcli.receiver.record import Received
from arkcli.signing.verdict import VALID, Signature, Verdict

SIGNATURE = (b"X-SignalArk-Signature", b"0" * 64)


class Terminal(io.StringIO):
    """Any amount of text on a terminal. A real one takes no more than a few kilobytes that nobody reads."""

    def isatty(self) -> bool:
        return True


def received(body: bytes | None = b"{}", *, event: str = "signal.promoted", forged: bool = False) -> Received:
    reason = "the signature does not match these bytes with any of the 2 secrets"
    return Received(
        at=1_795_000_000_123,
        request=Request("POST", "/hook", (SIGNATURE,), body),
        verdict=Verdict(Signature.MISMATCH, reason) if forged else VALID,
        event=event,
        delivery="evt_019ab3c4d5e6f7a8b9c0d1e2f3a4.dst_019ab3c4d5e6f7a8b9c0d1e2f3a4",
        attempt=2,
        before=1,
        answer="401" if forged else "500",
    )


def drawn(one: Received, columns: int, verbose: int = 0, number: int = 12, forwarding: bool = True) -> list[str]:
    terminal = Terminal()
    variables = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    output = Output(terminal, terminal, variables, as_json=False, quiet=False)
    Listing(output, forwarding=forwarding, verbose=verbose).add(number, one)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", terminal.getvalue())
    return terminal.getvalue().splitlines()


@pytest.mark.parametrize("forwarding", [True, False])
@pytest.mark.parametrize("columns", [50, 80, 120])
def test_rows_fit_the_terminal_and_break_no_word(columns: int, forwarding: bool) -> None:
    one = received(event="social.lead_promoted", forged=True)
    one.took, one.reply = (
        12_345,
        Reply(500, (), b"no such account, and a longer explanation of what that may mean here"),
    )
    lines = drawn(one, columns, forwarding=forwarding)
    assert max(map(len, lines)) <= columns
    assert "social.lead_promoted  invalid" in lines[1]
    # The beginning of an id that `ark queue show` takes, and a sender's line begins with.
    assert ("019ab3c4d5e6" in lines[1]) is (columns >= 80)
    assert ("12.3 s" in lines[1]) is (columns >= 80 and forwarding)
    below = " ".join(line.strip() for line in lines[2:])
    assert below.startswith(f"{one.verdict.reason} repeated: this delivery has come 2 times no such account, and a")


def test_a_large_number_is_whole() -> None:
    assert drawn(received(), 80, number=123_456)[1].startswith("123456  ")


def test_at_most_four_lines_of_an_answer_are_shown_and_none_of_a_good_one() -> None:
    one = received()
    one.reply = Reply(500, (), b"one\ntwo\x1b[2J\n\nthree\nfour\nfive")
    assert drawn(one, 80)[3:] == ["    one two [2J three four five"]
    one.reply = Reply(500, (), b"word " * 20_000)
    lines = drawn(one, 80)[3:]
    assert (len(lines), lines[-1][-6:]) == (4, "word …")
    one.reply = Reply(204, (), b"fine")
    assert len(drawn(one, 80)) == 3


@pytest.mark.parametrize(
    ("body", "verbose", "last", "lines"),
    [
        (b"[" + b",".join([b"1"] * 1000) + b"]", 1, "… 802 more lines", 201),
        (b'"' + b"x" * 1_000_000 + b'"', 1, "… 983,618 more characters", 2),
        (b"\r\x0b\x1c\xe2\x80\xa8" * 5000, 1, "… 3,616 more characters", 2),
        (b"x" * 20_000, 2, "… 3,616 more bytes", 2),
        (b"\n" * 20_000, 2, "… 19,801 more bytes", 201),
        (b"\xff\x1b\n", 2, "(3 bytes, a newline at the end)", 3),
        (None, 2, "(the body was not read)", 1),
        (None, 1, "(the body was not read)", 1),
    ],
    ids=["lines", "a long line", "other line ends", "bytes", "newlines", "binary", "too large", "too large, -v"],
)
def test_a_body_is_shown_up_to_a_limit_with_how_much_is_left(
    body: bytes | None, verbose: int, last: str, lines: int
) -> None:
    shown = drawn(received(body), 80, verbose)
    # Row, remark, request line, header, empty line.
    begin = shown.index("") + 1
    assert shown[begin - 2].strip() == f"X-SignalArk-Signature: {'0' * 64}"
    assert shown[-1].strip() == last
    assert len(shown) - begin == lines


def test_headers_without_end_are_shown_up_to_a_limit() -> None:
    one = received()
    headers = tuple((b"X-%d" % number, b"\x1b") for number in range(1000))
    for verbose in (1, 2):
        one.request = Request("POST", "/hook", headers, b"{}")
        assert len(drawn(one, 80, verbose)) < 220


@pytest.mark.parametrize(
    ("text", "passes"),
    [("", True), ("PROMO", True), ("valid", True), ("5", True), ("invalid", False), ("200", False), ("x", False)],
)
def test_a_filter_is_for_events_verdicts_and_answers(text: str, passes: bool) -> None:
    assert matches(received(), text) is passes
    assert not matches(received(forged=True), "valid")


@pytest.mark.parametrize("body", [b"\xff", "\x9b".encode(), b"x" * 70_000, None])
def test_what_a_command_cannot_hold_is_not_copied(body: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"not plain text|larger than 65,536"):
        as_curl(1, received(body), "http://127.0.0.1:1/", None)


def test_narrower_terminals_show_a_part_of_what_wider_ones_do() -> None:
    headings = [set(drawn(received(), columns)[0].split()) for columns in range(44, 130)]
    assert all(narrow <= wide for narrow, wide in pairwise(headings))
