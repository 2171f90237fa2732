"""A destinations.toml that somebody wrote by hand: a change makes exactly the contents that were meant, and nothing but
the table that changes is touched.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.errors import Unreadable
from arkcli.model import Destination
from arkcli.signing import Concealed, Secret
from arkcli.store.store import Contents, Store

Change = Callable[[Contents], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def write(store: Store, text: str) -> None:
    store.path.parent.mkdir(exist_ok=True)
    store.path.touch(0o600)
    store.path.write_bytes(text.encode())


def changed(store: Store, text: str, change: Change) -> str:
    """What a file says after a change, which is what was meant."""
    write(store, text)
    with store.change() as contents:
        change(contents)
    assert store.read() == contents
    return store.path.read_bytes().decode()


def put(which: str, **settings: object) -> Change:
    def change(contents: Contents) -> None:
        found = contents.find(which)
        assert found is not None
        contents.replace(msgspec.structs.replace(found, **settings))

    return change


def remove(name: str) -> Change:
    def change(contents: Contents) -> None:
        contents.destinations = [found for found in contents.destinations if found.name != name]

    return change


def add(name: str, **settings: Any) -> Change:
    new = Destination(id=f"dst_{name}", name=name, url="https://new.example/", added_at="2026", **settings)
    return lambda contents: contents.destinations.append(new)


def set_secret(text: str) -> Change:
    return lambda contents: setattr(contents.workspace, "secret", Secret(text))


BY_HAND = """\
# Managed by ops.
version = 1   # the schema

[workspace]
secret = "env:SIGNING_SECRET"   # rotated each quarter

# ---- Europe ----

# Owner: the sales team
[[destinations]]                # the CRM
id = "dst_crm"
name = "crm"
url = "https://crm.example/"
added_at = "2026"
allow_local = true              # a tunnel

  # Tickets go to OPS.
  [destinations.headers]
  X-Key = "a"                   # theirs

# Owner: ops
[[ "destinations" ]]
id = 'dst_ops'
name = "ops"
url = "https://ops.example/"
added_at = "2025"
description = '''
[[destinations]]
# not a comment, "this"'''
# secret = "env:OPS"

# The end"""

LOCAL = "allow_local = true              # a tunnel\n"
HEADER = '  X-Key = "a"                   # theirs\n'
DESCRIPTION = BY_HAND[BY_HAND.index("description") : BY_HAND.index("# secret")]
OF_CRM = BY_HAND[BY_HAND.index("\n# Owner: the sales") : BY_HAND.index("\n# Owner: ops")]
OF_OPS = BY_HAND[BY_HAND.index("\n# Owner: ops") : BY_HAND.index("# secret")]

EDITS: dict[str, tuple[Change, str, str]] = {
    "a key is added": (put("crm", paused=True), LOCAL, f"{LOCAL}paused = true\n"),
    "a key is added at the end": (put("ops", paused=True), DESCRIPTION, f"{DESCRIPTION}paused = true\n"),
    "what was true is false": (put("crm", allow_local=False), "allow_local = true ", "allow_local = false "),
    "a key is removed": (put("ops", description=None), DESCRIPTION, ""),
    "a header is changed": (put("crm", headers={"X-Key": Concealed("b")}), HEADER, HEADER.replace('"a"', '"b"')),
    "a secret is changed": (set_secret("new"), '"env:SIGNING_SECRET"', '"new"'),
    "a table is removed": (remove("crm"), OF_CRM, ""),
    "the last table is removed": (remove("ops"), OF_OPS, ""),
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("change", "before", "after"), EDITS.values(), ids=EDITS)
def test_a_change_is_made_in_its_place_and_all_else_stays(
    store: Store, change: Change, before: str, after: str, line_end: str
) -> None:
    assert BY_HAND.count(before) == 1
    expected = BY_HAND.replace(before, after)
    assert changed(store, BY_HAND.replace("\n", line_end), change) == expected.replace("\n", line_end)


def test_a_new_destination_comes_behind_everything(store: Store) -> None:
    text = changed(store, BY_HAND, add("new", headers={"X": Concealed("1")}))
    assert text.startswith(BY_HAND + "\n\n[[destinations]]\n")
    assert text.endswith('added_at = "2026"\n\n[destinations.headers]\nX = "1"\n')


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("version = 1", add("a"), 'version = 1\n\n[[destinations]]\nid = "dst_a"\n'),
        ("version = 1\n", set_secret("s"), 'version = 1\n\n[workspace]\nsecret = "s"\n'),
        ("version = 1\nworkspace = {} # none\n", set_secret("s"), 'version = 1\nworkspace = {secret = "s"} # none\n'),
        ('version = 1\nworkspace.secret = "a" # b\n', set_secret("s"), 'version = 1\nworkspace.secret = "s" # b\n'),
        ('"version" = 1\n["workspace"] # b\n', set_secret("s"), '"version" = 1\n["workspace"] # b\nsecret = "s"\n'),
        ("version = 1\ndestinations = [] # b\n", add("a"), 'version = 1\ndestinations = [{id = "dst_a",'),
        ("\ufeffversion = 1\n# b\n", set_secret("s"), '\ufeffversion = 1\n# b\n\n[workspace]\nsecret = "s"\n'),
        ("\ufeffworkspace.secret='a'\nversion = 1", set_secret("s"), '\ufeffworkspace.secret="s"\nversion = 1'),
    ],
)
def test_a_table_is_found_however_it_is_written(store: Store, before: str, change: Change, after: str) -> None:
    assert changed(store, before, change).startswith(after)


IN_BETWEEN = """\
version = 1
[[destinations]]
id = "dst_a"
name = "a"
url = "https://a.example/"
added_at = "2026"
[queue]
keep = "7d"   # a week
[destinations.headers]
X = "1"
"""


@pytest.mark.parametrize("change", [remove("a"), put("a", headers={"X": Concealed("2")})])
def test_what_cannot_be_changed_and_keep_its_layout_is_left_as_it_is_and_says_what_to_do(
    store: Store, change: Change
) -> None:
    with pytest.raises(
        Unreadable, match=r"nothing was changed\. Write each destination as its own \[\[destinations\]\]"
    ):
        changed(store, IN_BETWEEN, change)
    assert store.path.read_bytes().decode() == IN_BETWEEN


def test_a_symbolic_link_stays_and_the_file_it_leads_to_is_changed(store: Store, tmp_path: Path) -> None:
    # Managers of dotfiles keep the files elsewhere.
    kept = tmp_path / "dotfiles" / "ark.toml"
    kept.parent.mkdir()
    write(store, BY_HAND)
    store.path.rename(kept)
    store.path.symlink_to(Path("dotfiles/ark.toml"))
    with store.change() as contents:
        set_secret("new")(contents)
    assert store.path.readlink() == Path("dotfiles/ark.toml")
    assert kept.read_text() == BY_HAND.replace('"env:SIGNING_SECRET"', '"new"')
    assert kept.stat().st_mode & 0o777 == 0o600


SPACE = st.sampled_from(["", "", "\n", "  \n\n", "# a comment\n", "\n# [[destinations]]\n\n", '#"""\n', "\t# ' \"\n"])
BEHIND = st.sampled_from(["", "", " ", "  # why", '# "', "#'''"])
TEXT = st.text(max_size=12) | st.sampled_from(
    ["[[destinations]]", "# no", 'a"b', "it's", "\n[queue]\n", "x\n# y", "\\", '"""', "'''", "", "\r\n", "\n\n# z\n"]
)
HEADERS = ["[[destinations]]", '[["destinations"]]', "[[ destinations ]]", "  [['destinations']]"]


@st.composite
def written(draw: st.DrawFn, text: str) -> str:
    """A string as somebody may write it."""
    plain = tomli_w.dumps({"k": text}).removeprefix("k = ").removesuffix("\n")
    ways = [plain, plain]
    if '"' not in text and "\\" not in plain.replace("\\n", ""):
        ways.append(f'"""\n{text}"""')
    if text.isprintable() and "'" not in text:
        ways += [f"'{text}'", f"'''{text}'''"]
    return draw(st.sampled_from(ways))


@st.composite
def keys(draw: st.DrawFn, name: str) -> str:
    return draw(st.sampled_from([name, name, f'"{name}"', f"'{name}'"]))


@st.composite
def lines(draw: st.DrawFn, pairs: dict[str, str]) -> str:
    """Keys and values in any order, with blank lines and comments."""
    found = ""
    for key in draw(st.permutations(sorted(pairs))):
        indent, equals = draw(st.sampled_from(["", "", "  "])), draw(st.sampled_from([" = ", "=", "  =\t"]))
        found += f"{indent}{key}{equals}{pairs[key]}{draw(BEHIND)}\n{draw(SPACE)}"
    return found


@st.composite
def pairs(draw: st.DrawFn, number: int) -> dict[str, str]:
    """What a destination says, as it is written; its headers are left to the caller."""
    found = {"id": f'"dst_{number}"', "name": f'"n{number}"'}
    found |= {key: draw(written(draw(TEXT))) for key in ("url", "added_at")}
    for key, text in (("description", TEXT), ("secret", st.text(min_size=1, max_size=5))):
        if draw(st.booleans()):
            found[key] = draw(written(draw(text)))
    for key in ("paused", "allow_local"):
        if draw(st.booleans()):
            found[key] = draw(st.sampled_from(["true", "false"]))
    return {draw(keys(key)): value for key, value in found.items()}


@st.composite
def tables(draw: st.DrawFn, number: int) -> str:
    found = draw(pairs(number))
    headers = {draw(keys(f"X-{letter}")): f'"{letter}"' for letter in draw(st.sampled_from(["", "", "A", "AB"]))}
    way = draw(st.sampled_from(["inline", "dotted", "table"])) if headers else ""
    if way == "inline":
        found["headers"] = "{" + ", ".join(f"{key} = {value}" for key, value in headers.items()) + "}"
    if way == "dotted":
        found |= {f"headers.{key}": value for key, value in headers.items()}
    table = f"{draw(st.sampled_from(HEADERS))}{draw(BEHIND)}\n{draw(SPACE)}{draw(lines(found))}"
    return table + (f"[destinations.headers]{draw(BEHIND)}\n{draw(lines(headers))}" if way == "table" else "")


class Document(NamedTuple):
    """A document in pieces. That of a destination stands at its index; the others are in front and behind."""

    pieces: list[str]
    line_end: str

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    singles = {"workspace": draw(st.booleans()), "queue": draw(st.booleans())}
    value = {"workspace": "secret", "queue": "keep"}
    front = f"{draw(SPACE)}version = 1{draw(BEHIND)}\n{draw(SPACE)}"
    behind = [""]
    for name in singles:
        said = draw(st.sampled_from(["", "dotted", "inline", "table", "table behind"]))
        if said == "dotted":
            front += f"{name}.{value[name]} = '7d'{draw(BEHIND)}\n{draw(SPACE)}"
        if said == "inline":
            front += f"{name} = {{ {value[name]} = '7d' }}{draw(BEHIND)}\n{draw(SPACE)}"
        if said.startswith("table"):
            behind.append(f"[{name}]{draw(BEHIND)}\n{draw(SPACE)}{value[name]} = '7d'{draw(BEHIND)}\n{draw(SPACE)}")
    found = [draw(tables(number)) for number in range(draw(st.integers(1, 3)))]
    pieces = [front, *found, *behind]
    if draw(st.booleans()):
        pieces[-1] = pieces[-1].removesuffix("\n")
    line_end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    mark = draw(st.sampled_from(["", "", "\ufeff"]))
    return Document(
        [mark + pieces[0].replace("\n", line_end), *(it.replace("\n", line_end) for it in pieces[1:])], line_end
    )


def in_order(some: list[str], all_of_them: list[str]) -> bool:
    rest = iter(all_of_them)
    return all(line in rest for line in some)


@settings(deadline=None, max_examples=30)
@given(document=documents(), text=TEXT, flag=st.booleans(), data=st.data())
def test_whatever_the_layout_a_change_is_what_was_meant_and_touches_one_table(
    tmp_path_factory: pytest.TempPathFactory, document: Document, text: str, flag: bool, data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "layout")
    headers = {f"X-{letter}": Concealed("new") for letter in data.draw(st.sampled_from(["", "A", "BC"]))}
    change: dict[str, object] = data.draw(
        st.sampled_from(
            [
                *({"paused": flag}, {"allow_local": flag}, {"description": text}, {"description": None}, {"url": text}),
                *({"headers": headers}, {"headers": headers, "paused": flag}, {"secret": None}),
            ]
        )
    )
    made = changed(store, document.text, put("dst_0", **change))
    front, table, *rest = document.pieces
    assert made.startswith(front)
    assert made.endswith("".join(rest))
    if change == {"paused": flag}:
        kept = [line for line in table.splitlines(True) if "paused" not in line]
        assert in_order(kept, made.removeprefix(front).splitlines(True))


@settings(deadline=None, max_examples=30)
@given(document=documents(), text=TEXT, data=st.data())
def test_whatever_the_layout_a_table_comes_and_goes_alone(
    tmp_path_factory: pytest.TempPathFactory, document: Document, text: str, data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "layout")
    made = changed(store, document.text, add("new", description=text, headers={"X": Concealed("1")}))
    assert made.startswith(document.text)
    front, _, *rest = document.pieces
    said = front.splitlines(keepends=True)
    while not said[-1].strip() or said[-1].lstrip().startswith("#"):
        said.pop()
    made = changed(store, document.text, remove("n0"))
    assert made.startswith("".join(said))
    assert made.endswith("".join(rest))
    changed(store, document.text, set_secret(text or "s"))
