"""destinations.toml: what goes in comes out, what is wrong is named and left alone, and no change is lost."""

import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arkcli.errors import Unreadable
from arkcli.model import Destination
from arkcli.signing import Concealed, Secret, sign
from arkcli.store.store import NAME, VERSION, Contents, Store
from tests.world import World

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
ADDED_AT = "2026-11-23T11:28:48.123Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "config")


def destination(number: int = 1) -> Destination:
    return Destination(id=f"dst_{number}", name=f"crm-{number}", url=f"https://{number}.example/", added_at=ADDED_AT)


def write(store: Store, text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    store.path.parent.mkdir(exist_ok=True)
    store.path.touch(0o600)
    store.path.write_bytes(data)
    return data


def test_a_store_that_is_not_there_is_empty_and_reading_it_makes_nothing(store: Store) -> None:
    assert store.read() == Contents(version=VERSION)
    assert store.read().queue.keep == "7d"
    assert store.stamp() is None
    assert not store.path.parent.exists()


def test_what_is_saved_is_read_back_whole(store: Store) -> None:
    plain = destination(1)
    full = Destination(
        id="dst_2",
        name="all.of_it-2",
        url="https://hooks.example.com/ü?a=b",
        added_at=ADDED_AT,
        paused=True,
        allow_local=True,
        description="Grüße\t'quoted' \"twice\"\\ and\nnewline \x00\x7f",
        ca_file="/etc/ssl/ca file.pem",
        secret=Secret("env:CRM_SECRET"),
        userinfo=Concealed("me:pass word"),
        headers={"Authorization": Concealed("Bearer x"), "X-Empty": Concealed(""), "X.Dotted": Concealed("a")},
    )
    with store.change() as contents:
        contents.workspace.secret = Secret("arksec_1")
        contents.queue.keep = "90d"
        contents.destinations += [plain, full]
    read = Store(store.path.parent).read()
    assert read.destinations == [plain, full]
    assert (read.workspace.secret, read.queue.keep) == (Secret("arksec_1"), "90d")
    assert (read.find("dst_2"), read.find("all.of_it-2"), read.find("nobody")) == (full, full, None)


def test_a_changed_destination_takes_the_place_of_the_one_with_its_id(store: Store) -> None:
    renamed = Destination(id="dst_2", name="new", url="https://new.example/", added_at=ADDED_AT)
    with store.change() as contents:
        contents.destinations = [destination(1), destination(2), destination(3)]
        contents.replace(renamed)
    assert store.read().destinations == [destination(1), renamed, destination(3)]


def test_the_stamp_differs_once_the_file_has_been_replaced_and_not_before(store: Store) -> None:
    for number in range(5):
        before = store.stamp()
        with store.change() as contents:
            contents.destinations.append(destination(number))
            assert store.stamp() == before
        assert store.stamp() != before


def test_the_stamp_differs_once_the_file_has_been_written_in_its_place(store: Store) -> None:
    write(store, HEAD)
    before = store.stamp()
    time.sleep(0.02)
    write(store, HEAD.replace("1", "2"))
    assert store.stamp() != before


def test_what_is_read_again_is_the_same_object_while_nothing_has_changed(store: Store) -> None:
    with store.change() as contents:
        contents.destinations.append(destination(1))
    first = store.read_again()
    assert (store.read_again() is first, store.read() is first) == (True, False)
    write(store, store.path.read_bytes() + b"# nothing else\n")
    assert store.read_again() is not first
    assert store.read_again() == first


def test_a_store_that_was_there_and_is_gone_is_no_empty_one(store: Store) -> None:
    assert store.read_again().destinations == []
    write(store, HEAD)
    store.read_again()
    store.path.unlink()
    with pytest.raises(Unreadable, match=r"destinations\.toml is gone; put it back"):
        store.read_again()
    assert store.read().destinations == []


def test_a_block_that_raises_saves_nothing_and_gives_the_lock_back(store: Store) -> None:
    with store.change() as contents:
        contents.destinations.append(destination(1))
    before = store.path.read_bytes()
    with pytest.raises(KeyError), store.change() as contents:
        contents.destinations.clear()
        raise KeyError
    assert store.path.read_bytes() == before
    with store.change() as contents:
        assert contents.destinations == [destination(1)]


@pytest.mark.parametrize(
    "added",
    [
        destination(1),
        Destination(id="dst_2", name="crm-1", url="https://x.example/", added_at=ADDED_AT),
        Destination(id="dst_1", name="other", url="https://x.example/", added_at=ADDED_AT),
        Destination(id="dst_2", name="dst_1", url="https://x.example/", added_at=ADDED_AT),
        Destination(id="2", name="other", url="https://x.example/", added_at=ADDED_AT),
        Destination(id="dst_2", name="No Name", url="https://x.example/", added_at=ADDED_AT),
    ],
    ids=["twice", "name", "id", "name is an id", "bad id", "bad name"],
)
def test_what_could_not_be_read_back_is_not_saved(store: Store, added: Destination) -> None:
    with store.change() as contents:
        contents.destinations.append(destination(1))
    before = store.path.read_bytes()
    with pytest.raises(Unreadable), store.change() as contents:
        contents.destinations.append(added)
    assert store.path.read_bytes() == before


ENTRY = f'[[destinations]]\nid = "dst_1"\nname = "crm"\nurl = "https://a.example/"\nadded_at = "{ADDED_AT}"\n'
OTHER = ENTRY.replace("dst_1", "dst_2").replace('"crm"', '"other"')
HEAD = "version = 1\n"

WRONG: list[tuple[str | bytes, str, str]] = [
    ("", "", "Object missing required field `version`"),
    ("version = 0\n", "version", "version 0 does not exist; this ark reads 1"),
    ("version = 2\n", "version", "version 2 is newer than this ark, which reads 1; update ark"),
    ("version = 2\n[new]\nthings = 1\n", "version", "version 2 is newer than this ark, which reads 1; update ark"),
    ('version = "1"\n', "version", "Expected a whole number, got a string in quotes"),
    ("version = true\n", "version", "Expected a whole number, got true or false"),
    (HEAD + "colour = 1\n", "", "Object contains unknown field `colour`"),
    (HEAD + "[workspace]\nsecert = 'x'\n", "workspace", "Object contains unknown field `secert`"),
    (HEAD + "[workspace]\nsecret = 5\n", "workspace.secret", "Expected a string in quotes, got a whole number"),
    (HEAD + "[workspace]\nsecret = ''\n", "workspace.secret", "a signing secret cannot be empty"),
    (HEAD + "[queue]\nkept = '7d'\n", "queue", "Object contains unknown field `kept`"),
    (HEAD + "[queue]\nkeep = 7\n", "queue.keep", "Expected a string in quotes, got a whole number"),
    (HEAD + "[queue]\nkeep = 'a week'\n", "queue.keep", "'a week' is not a duration"),
    (HEAD + "destinations = 5\n", "destinations", "Expected a list or [[tables]], got a whole number"),
    (HEAD + ENTRY + "colour = 1\n", "destinations[0]", "Object contains unknown field `colour`"),
    (
        HEAD + ENTRY + OTHER + "paused = 'no'\n",
        "destinations[1].paused",
        "Expected true or false, got a string in quotes",
    ),
    (
        HEAD + ENTRY + "headers = { a = 1 }\n",
        "destinations[0].headers[...]",
        "Expected a string in quotes, got a whole number",
    ),
    (HEAD + ENTRY + 'headers = { "a b" = "c" }\n', "destinations[0].headers", "'a b' is not a header name"),
    (
        HEAD + ENTRY + 'headers = { a = "b\\r\\nHost: c" }\n',
        "destinations[0].headers",
        "the value of a contains characters that HTTP forbids",
    ),
    (HEAD + ENTRY + 'headers = { Host = "c" }\n', "destinations[0].headers", "Host is set by ark"),
    (
        HEAD + ENTRY.replace(f'"{ADDED_AT}"', ADDED_AT),
        "destinations[0].added_at",
        "Expected a string in quotes, got a date and time",
    ),
    (HEAD + ENTRY.replace("url", "uri"), "destinations[0]", "Object contains unknown field `uri`"),
    (HEAD + ENTRY.replace('name = "crm"\n', ""), "destinations[0]", "Object missing required field `name`"),
    (HEAD + ENTRY + OTHER.replace('"other"', '"crm"'), "destinations[1].name", "'crm' appears twice"),
    (HEAD + ENTRY + OTHER.replace("dst_2", "dst_1"), "destinations[1].id", "'dst_1' appears twice"),
    (HEAD + ENTRY + OTHER.replace('"other"', '"dst_1"'), "destinations[1].name", "'dst_1' appears twice"),
    (HEAD + ENTRY.replace("dst_1", "../../etc"), "destinations[0].id", "'../../etc' is not an id"),
    (HEAD + ENTRY.replace("dst_1", "dst_"), "destinations[0].id", "'dst_' is not an id"),
    (HEAD + ENTRY.replace("dst_1", "dst_1/.."), "destinations[0].id", "'dst_1/..' is not an id"),
    (HEAD + ENTRY.replace("dst_1", "dst_A"), "destinations[0].id", "'dst_A' is not an id"),
    (HEAD + ENTRY.replace('"crm"', '""'), "destinations[0].name", "'' is not a name"),
    (HEAD + ENTRY.replace('"crm"', '"-crm"'), "destinations[0].name", "'-crm' is not a name"),
    (HEAD + ENTRY.replace('"crm"', '"CRM"'), "destinations[0].name", "'CRM' is not a name"),
    (HEAD + ENTRY.replace('"crm"', f'"{"x" * 65}"'), "destinations[0].name", f"'{'x' * 65}' is not a name"),
    (HEAD + ENTRY.replace('"crm"', r'"crm\n"'), "destinations[0].name", r"'crm\n' is not a name"),
    (HEAD + "version = 1\n", "", "Cannot overwrite a value"),
    (
        (HEAD + ENTRY).encode("utf-16"),
        "",
        "it contains NUL bytes, probably because it is UTF-16 (PowerShell 5 writes that); save it as UTF-8",
    ),
    (
        HEAD + ENTRY + "paused = yes\n",
        "",
        "Invalid value (at line 7, column 10); put strings in quotes",
    ),
    (HEAD + ENTRY.replace('"crm"', "inf"), "destinations[0].name", "Expected a string in quotes, got a number"),
    (HEAD + ENTRY[1:].replace("]]", "]"), "destinations", "Expected a list or [[tables]], got a [table]"),
    (HEAD + "[workspace\n", "", "Expected ']' at the end of a table declaration (at line 2, column 11)"),
    (HEAD + ENTRY[:40], "", "Unterminated string"),
    (b"version = 1 # \xff\n", "", "byte 14 is not UTF-8"),
    (
        b"\x00" * 512,
        "",
        "it contains NUL bytes, probably because it is UTF-16 (PowerShell 5 writes that); save it as UTF-8",
    ),
    (HEAD + "x = " + "[" * 5000, "", ""),
    (HEAD + "x = " + "{a=" * 5000, "", ""),
    (HEAD.replace("1", "1" * 5000), "", ""),
]


@pytest.mark.parametrize(("text", "place", "problem"), WRONG, ids=[ascii(text[-40:]) for text, _, _ in WRONG])
def test_what_is_wrong_is_named_with_its_place_and_the_file_is_left_as_it_is(
    store: Store, text: str | bytes, place: str, problem: str
) -> None:
    before = write(store, text)
    for use in (store.read, store.change().__enter__):
        with pytest.raises(Unreadable) as raised:
            use()
        assert str(raised.value).startswith(
            f"{store.path}: {place}: {problem}" if place else f"{store.path}: {problem}"
        )
        assert str(raised.value).endswith("ark did not change the file. Fix it and try again")
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("command", [("dest", "list"), ("secret", "rotate"), ("dest", "pause", "crm"), ("drain",)])
def test_a_store_that_cannot_be_read_ends_every_command_with_78_and_is_left_as_it_is(
    world: World, command: tuple[str, ...]
) -> None:
    world.store_file.parent.mkdir(parents=True)
    world.store_file.touch(0o600)
    world.store_file.write_bytes(b"version = 1\ncolour = 1\n")
    result = world.ark(*command, "--json")
    assert result.status == 78
    assert result.json["error"]["code"] == "unreadable"
    assert f"{world.store_file}: Object contains unknown field `colour`" in result.json["error"]["message"]
    assert world.store_file.read_bytes() == b"version = 1\ncolour = 1\n"


@pytest.mark.parametrize(
    "text",
    ["version = 1\n", "\ufeffversion = 1\n", "version = 1\r\n", "# mine\nversion = 1 # one\n", HEAD + ENTRY + OTHER],
)
def test_a_file_that_somebody_wrote_by_hand_is_read(store: Store, text: str) -> None:
    write(store, text)
    assert store.read().version == 1


def test_a_directory_in_the_files_place_is_named(store: Store) -> None:
    store.path.mkdir(parents=True)
    with pytest.raises(Unreadable, match=r"destinations\.toml cannot be read: Is a directory"):
        store.read()


def test_a_file_in_the_directorys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"")
    with (
        pytest.raises(Unreadable, match=r"config.* cannot be .*: Not a directory"),
        Store(tmp_path / "config").change(),
    ):
        pass


def test_a_lock_that_is_a_symbolic_link_is_not_followed(store: Store, tmp_path: Path) -> None:
    write(store, HEAD)
    store.path.with_name("destinations.toml.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="cannot be written"), store.change():
        pass
    assert not (tmp_path / "elsewhere").exists()


@settings(deadline=None)
@given(data=st.binary(max_size=60) | st.text(alphabet="vers on=1[]{}\"'\n.#x-dT:_", max_size=60).map(str.encode))
def test_any_bytes_are_contents_or_unreadable(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "any-bytes")
    write(store, data)
    try:
        assert store.read().version <= VERSION
    except Unreadable as unreadable:
        assert str(store.path) in str(unreadable)
    assert store.path.read_bytes() == data


@settings(deadline=None, max_examples=25)
@given(
    name=st.from_regex(NAME.pattern, fullmatch=True),
    text=st.text(min_size=1),
    headers=st.dictionaries(st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]+", fullmatch=True), PRINTABLE),
)
def test_any_text_that_is_saved_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str, headers: dict[str, str]
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "any-text")
    wild = Destination(
        id="dst_1",
        name=name,
        url=text,
        added_at=text,
        description=text,
        headers={name: Concealed(value) for name, value in headers.items() if not name.lower().startswith("x-signal")},
    )
    with store.change() as contents:
        contents.workspace.secret = Secret(text)
        contents.destinations = [wild]
    assert store.read().destinations == [wild]
    assert store.read().workspace.secret == Secret(text)


def test_text_that_is_not_unicode_is_refused_in_words_and_nothing_is_lost(world: World) -> None:
    # What the shell hands over and is not UTF-8 arrives as lone surrogates.
    assert world.ark("dest", "add", "https://a.example/", "--no-ping", "--name", "a").status == 0
    before = world.store_file.read_bytes()
    result = world.ark("dest", "add", "https://b.example/", "--no-ping", "--description", "\udcff", "--json")
    assert result.status == 2
    assert result.json["error"]["code"] == "usage"
    assert world.store_file.read_bytes() == before


def ark(home: Path, *args: str, umask: int = -1) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, "ARK_CONFIG_DIR": str(home / "config"), "ARK_STATE_DIR": str(home / "state")}
    command = [sys.executable, "-m", "arkcli", *args]
    return subprocess.run(command, env=variables, umask=umask, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_everything_that_ark_makes_is_its_users_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    result = ark(tmp_path / "home", "dest", "add", "https://a.example/", "--no-ping", umask=umask)
    assert result.returncode == 0, result
    made = {path: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "home").rglob("*")}
    assert tmp_path / "home" / "config" / "destinations.toml" in made
    assert {path: mode for path, mode in made.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.argv[1:] = ["dest", "pause", "a", "--json"]
from arkcli.__main__ import main
main()
"""


def test_a_disk_that_is_full_leaves_the_store_as_it_was_and_says_so(world: World) -> None:
    assert world.ark("dest", "add", "https://a.example/", "--no-ping", "--name", "a").status == 0
    before = world.store_file.read_bytes()
    command = [sys.executable, "-c", FULL_DISK]
    result = subprocess.run(command, env={**os.environ, **world.variables}, capture_output=True, text=True, check=False)
    assert result.returncode == 78, result
    assert f"{world.store_file} cannot be written: File too large; the file is unchanged" in result.stdout
    assert world.store_file.read_bytes() == before
    assert {path.name for path in world.store_file.parent.iterdir()} == {"destinations.toml", "destinations.toml.lock"}


CHANGER = """
import sys
import time
from pathlib import Path
from arkcli.model import Destination
from arkcli.store.store import Store
store, name = Store(Path(sys.argv[1])), sys.argv[2]
for number in range(5):
    with store.change() as contents:
        found = Destination(id=f"dst_{name}{number}", name=f"{name}-{number}", url="u", added_at="t")
        contents.destinations.append(found)
"""


def test_processes_that_change_the_store_at_once_lose_no_change(store: Store) -> None:
    command = [sys.executable, "-c", CHANGER, str(store.path.parent)]
    processes = [subprocess.Popen([*command, name]) for name in "abcdef"]
    assert [process.wait() for process in processes] == [0] * 6
    names = [found.name for found in store.read().destinations]
    assert sorted(names) == [f"{name}-{number}" for name in "abcdef" for number in range(5)]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_file_that_is_open_to_others_is_refused_with_the_command_that_mends_it(store: Store, mode: int) -> None:
    data = write(store, "version = 1\n")
    store.path.chmod(mode)
    with pytest.raises(Unreadable) as raised:
        store.read()
    with pytest.raises(Unreadable), store.change():
        pytest.fail("nothing is changed")
    (command,) = re.findall(r"`(.*?)`", str(raised.value))
    subprocess.run(command, shell=True, check=True)
    assert store.read() == Contents(version=VERSION)
    assert store.path.read_bytes() == data


def test_a_secret_from_the_environment_signs_and_never_enters_the_file(world: World) -> None:
    world.variables["HOOK"] = "from-the-environment"
    assert world.ark("secret", "set", stdin=b"env:HOOK\n").status == 0
    assert world.ark("sign", stdin=b"body").out == sign("from-the-environment", b"body") + "\n"
    assert b"env:HOOK" in world.store_file.read_bytes()
    assert b"from-the-environment" not in world.store_file.read_bytes()
    world.variables["HOOK"] = "rotated"
    assert world.ark("sign", stdin=b"body").out == sign("rotated", b"body") + "\n"
