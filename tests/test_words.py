"""The words that `ark` does not use: they made its sentences hard to read."""

import re
from pathlib import Path

import pytest

from arkcli.cli.app import COMMANDS
from tests.world import World

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "docs" / "man" / "ark.1",
]
SOURCES = sorted(path for kind in ("*.py", "*.html", "*.js") for path in (ROOT / "arkcli").rglob(kind))
#: What not to write, and what to write in its place.
FORBIDDEN = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\banew\b": "again",
    r"\bamid\b": "among, in the middle of",
    r"\bwhom\b": "name the actor",
    r"\bfor ever\b": "permanently; or what ends it",
    r"\bstands?\b(?! for\b)": "is",
    r"\bso (many|long)\b(?! as\b)": "a number, or a name such as N",
    r"\bhand(s|ed|ing)? on\b": "forward",
    r"\bg(ive|ives|iven|ave|iving) (it |them )?up\b": "discard, stop, time out",
    r"(?<!there )\b(is|are) no (?!longer\b|more\b|such\b)[a-z]": "is not a",
    r"\bdial(s|led|ling)?\b": "connect",
}


def found(text: str) -> list[str]:
    """Each place that has a word which `ark` does not use, with what to write instead."""
    plain = re.sub(r"\s+", " ", text)
    return [
        f"…{plain[max(hit.start() - 30, 0) : hit.end() + 30]}… (write: {better})"
        for pattern, better in FORBIDDEN.items()
        for hit in re.finditer(pattern, plain, re.IGNORECASE)
    ]


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("Fix the file and try again.", True),
        ("Mend the file.", False),
        ("it is not a URL; there is no such host", True),
        ("it is no URL", False),
        ("* stands for any name", True),
        ("what stands in the file", False),
        ("the receiver that is\nno longer there", True),
        ("gives\nup", False),
        ("as long as it takes; show the last N", True),
        ("only the last so many", False),
    ],
)
def test_the_list_finds_what_it_is_for(text: str, is_plain: bool) -> None:
    assert (found(text) == []) is is_plain


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_help_has_a_word_that_ark_does_not_use(command: str, world: World) -> None:
    words = command.split()
    pages = [world.ark(*words, "--help").out]
    names = re.findall(r"^  ([a-z]+)  ", pages[0].partition("Commands:")[2].partition("\n\n")[0], re.MULTILINE)
    if command:
        pages += [world.ark(*words, name, "--help").out for name in names]

    assert all(pages)
    assert found("\n".join(pages)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_page_has_a_word_that_ark_does_not_use(page: Path) -> None:
    assert found(page.read_text("utf-8")) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_message_docstring_or_comment_has_one(source: Path) -> None:
    assert found(source.read_text("utf-8")) == []
