"""Text for people, and text from outside: cleaned so that it cannot control a terminal, and otherwise unchanged."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.text import clean, clean_lines, columns_of, counted, folded, left_out, listed, process_ending

#: The other planes contain only ideographs, tags and private-use characters.
EVERY_CHARACTER = "".join(map(chr, range(0x20000)))
OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("all is well", "all is well"),
        ("", ""),
        ("  two  spaces  within  ", "two  spaces  within"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\x1b]0;title\x07", "]0;title"),
        ("\x9b31m", "31m"),
        ("one\r\ntwo\n\n\nthree", "one two three"),
        ("a\tb", "a b"),
        ("nul\x00del\x7f", "nul del"),
        ("safe\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe", "safe gpj.exe"),
        ("pay\N{ZERO WIDTH SPACE}pal", "pay pal"),
        ("tagged\U000e0041\U000e0042", "tagged"),
        ("half\udce9a", "half a"),
        (
            "می\N{ZERO WIDTH NON-JOINER}خواهم 👩\N{ZERO WIDTH JOINER}🔬",
            "می\N{ZERO WIDTH NON-JOINER}خواهم 👩\N{ZERO WIDTH JOINER}🔬",
        ),
        ("line\N{LINE SEPARATOR}separator", "line separator"),
        ("grüße, 你好, שלום, 🎉", "grüße, 你好, שלום, 🎉"),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ],
)
def test_text_from_outside_loses_what_drives_a_terminal_and_nothing_else(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_no_control_character_and_no_direction_override_survives() -> None:
    survivors = clean(EVERY_CHARACTER)
    assert not [found for found in survivors if unicodedata.category(found) == "Cc"]
    assert not [found for found in survivors if unicodedata.bidirectional(found) in OVERRIDES]


def test_every_letter_digit_mark_and_symbol_survives() -> None:
    lost = set(EVERY_CHARACTER) - set(clean(EVERY_CHARACTER))
    assert {unicodedata.category(found) for found in lost} == {"Cc", "Cf", "Zl", "Zp", "Cs", "Cn"}


@settings(deadline=None)
@given(st.text())
def test_whatever_comes_in_one_line_comes_out(text: str) -> None:
    assert len(clean(text).splitlines()) <= 1


@settings(deadline=None)
@given(st.text(st.characters()))
def test_whatever_comes_in_can_be_written(text: str) -> None:
    clean(text).encode("utf-8")


@settings(deadline=None)
@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_lines_stay_lines_and_keep_their_indentation() -> None:
    assert clean_lines("{\r\n  \x1b[2Ja\tb\n\n    \u202ec  \n}") == "{\n  [2Ja b\n\n    c\n}"


@pytest.mark.parametrize(("number", "said"), [(0, "0 lines"), (1, "1 line"), (2, "2 lines"), (12_345, "12,345 lines")])
def test_so_many_things_are_said_as_people_say_it(number: int, said: str) -> None:
    assert counted(number, "line") == said


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 deliveries are"), (1, "1 delivery is"), (2_000, "2,000 deliveries are")]
)
def test_a_plural_of_its_own_may_bring_its_verb(number: int, said: str) -> None:
    assert counted(number, "delivery is", "deliveries are") == said


@pytest.mark.parametrize(("status", "said"), [(0, "ended with 0"), (3, "ended with 3"), (-9, "was killed by signal 9")])
def test_how_a_process_ended_is_said(status: int, said: str) -> None:
    assert process_ending(status) == said


@pytest.mark.parametrize(
    ("text", "width", "indent", "lines"),
    [
        ("", 10, "", [""]),
        ("fits the line", 13, "", ["fits the line"]),
        ("does not fit it", 12, "", ["does not fit", "it"]),
        ("error: what to do", 10, "    ", ["error:", "    what", "    to do"]),
        ("      → a hint that goes on", 18, " " * 8, ["      → a hint", "        that goes", "        on"]),
        (
            "an evt_01a20954bead9e55f6fd6a06654e is whole",
            20,
            "",
            ["an", "evt_01a20954bead9e55f6fd6a06654e", "is whole"],
        ),
        ("run `ark queue show` now", 18, "", ["run", "`ark queue show`", "now"]),
        ("run `ark queue show with much more` now", 18, "", ["run `ark queue", "show with much", "more` now"]),
        ("one\ntwo and three", 8, "", ["one", "two and", "three"]),
        ("你好 你好", 8, "", ["你好", "你好"]),
    ],
)
def test_sentences_are_broken_between_words_and_commands_and_ids_stay_whole(
    text: str, width: int, indent: str, lines: list[str]
) -> None:
    assert folded(text, width, indent).split("\n") == lines


@settings(deadline=None)
@given(st.text(st.sampled_from("ab `"), max_size=60), st.integers(1, 30))
def test_folding_loses_no_word_and_no_line_is_too_wide_unless_a_word_is(text: str, width: int) -> None:
    lines = folded(text, width).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(columns_of(line) <= width or len(line.strip().split()) == 1 or "`" in line for line in lines)


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("你好", 4), ("e\N{COMBINING ACUTE ACCENT}", 1), ("→", 1)])
def test_a_wide_character_takes_two_columns(text: str, columns: int) -> None:
    assert columns_of(text) == columns


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_of_many_names_the_first_are_listed(names: list[str], said: str) -> None:
    assert listed(names) == said


def test_who_is_left_out_for_the_same_reason_is_named_in_one_sentence() -> None:
    reasons = {"a": "gone", "b": "full", "c": "gone"}
    assert left_out(reasons) == ["a and c are left out: gone", "b is left out: full"]
    (said,) = left_out({f"n{number}": "gone" for number in range(12)})
    assert said == "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more are left out: gone"
    assert left_out({}) == []
