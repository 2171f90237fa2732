"""What scripts may rely on: for every command, its output on both streams and its exit status, as text and as JSON.

docs/json.md lists the JSON keys; these tests check every command against it. A new command needs a row in SUCCESSES,
one in FAILURES, and one in the document.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arkcli.actions.grouping import By
from arkcli.cli.command import Group
from arkcli.errors import ArkError
from arkcli.signing import sign
from tests.cli.test_help import PAGES
from tests.world import PAYLOAD, Result, World, receiver, verifying

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "json.md"
SIGNATURE = "0" * 64

#: Servers print while they run; the tests in tests/receiver, tests/ingest and tests/web check their output.
SERVERS = {"listen", "serve", "ui"}
COMMANDS = {
    path.removeprefix("ark ") for path, (_, command) in PAGES.items() if not isinstance(command, Group)
} - SERVERS
GROUPS = {path.removeprefix("ark").strip() for path, (_, command) in PAGES.items() if isinstance(command, Group)}
#: Groups that are also commands.
ALONE = {"queue", "events"}


class Row(NamedTuple):
    """One run: the command, its arguments, its standard input, its exit status, and the error's code."""

    command: str
    args: str = ""
    stdin: bytes = b""
    status: int = 0
    code: str | None = None
    #: Whether it prints its text even when quiet, because the text is what the user asked for.
    data: bool = False

    @property
    def words(self) -> list[str]:
        return [*self.command.split(), *self.args.split()]


SUCCESSES = [
    Row("dest add", "OTHER --allow-local --name other"),
    Row("dest list"),
    Row("dest show", "crm"),
    Row("dest set", "crm --description text"),
    Row("dest set", "crm --standard-webhooks"),
    Row("dest set", "crm --rate 10/s --max-in-flight 4"),
    Row("dest pause", "crm"),
    Row("dest resume", "crm"),
    Row("dest remove", "lake --yes"),
    Row("secret show", data=True),
    Row("secret show", "--standard-webhooks", data=True),
    Row("secret set", stdin=b"s3cret\n", data=True),
    Row("secret rotate", data=True),
    Row("ping", "crm"),
    Row("send", "signal.promoted --to crm", PAYLOAD),
    Row("events", data=True),
    Row("events sample", "signal.promoted", data=True),
    Row("events schema", "ping", data=True),
    Row("drain"),
    Row("queue"),
    Row("queue list"),
    Row("queue list --by destination"),
    Row("queue list --by error"),
    Row("queue list --by event"),
    Row("queue show", "dead"),
    Row("queue retry", "--all-dead"),
    Row("queue drop", "--all-dead --yes"),
    Row("queue upgrade"),
    Row("queue check"),
    Row("replay", "dead"),
    Row("log"),
    Row("log --stats"),
    Row("check", "RIGHT --allow-local"),
    Row("sign", "--secret s3cret", b"x", data=True),
    Row("verify", "--secret s3cret --signature VALID", b"x"),
    Row("demo"),
    Row("doctor"),
    Row("config path"),
    Row("config show"),
    Row("completion", "bash", data=True),
]

FAILURES = [
    Row("dest add", "REFUSING --allow-local", status=1, code="delivery_failed"),
    Row("dest add", "http://crm.example/", status=2, code="address"),
    Row("dest list", "extra", status=2, code="usage"),
    Row("dest show", "nobody", status=2, code="usage"),
    Row("dest set", "crm", status=2, code="usage"),
    Row("dest set", "crm --rate often", status=2, code="usage"),
    Row("dest pause", "nobody", status=2, code="usage"),
    Row("dest resume", "nobody", status=2, code="usage"),
    Row("dest remove", "lake", status=2, code="usage"),
    Row("secret show", "extra", status=2, code="usage"),
    Row("secret set", status=2, code="usage"),
    Row("secret rotate", "extra", status=2, code="usage"),
    Row("ping", status=1),
    Row("ping", "nobody", status=2, code="usage"),
    Row("send", "signal.promoted", PAYLOAD, status=75),
    Row("send", "signal.promoted", b"[]", status=2, code="payload"),
    Row("send", "signal.promotd", PAYLOAD, status=2, code="usage"),
    Row("events", "--nonsense", status=2, code="usage"),
    Row("events sample", "nonsense", status=2, code="usage"),
    Row("events schema", "nonsense", status=2, code="usage"),
    Row("drain", "--for soon", status=2, code="usage"),
    Row("drain", "--strict", status=75),
    Row("queue", "--nonsense", status=2, code="usage"),
    Row("queue list", "--state nonsense", status=2, code="usage"),
    Row("queue show", "nothing", status=2, code="usage"),
    Row("queue retry", "nothing", status=2, code="usage"),
    Row("queue drop", "dead", status=2, code="usage"),
    Row("queue move", "local", status=2, code="usage"),
    Row("queue upgrade", "extra", status=2, code="usage"),
    Row("queue check", "extra", status=2, code="usage"),
    Row("replay", status=2, code="usage"),
    Row("log", "--status nonsense", status=2, code="usage"),
    Row("check", "REFUSING --allow-local", status=1),
    Row("check", "http://crm.example/", status=2, code="address"),
    Row("check", "https://crm.example/", status=2, code="usage"),
    Row("sign", "--secret-file /no/such/file", b"x", status=2, code="usage"),
    Row("sign", "--secret s3cret --webhook-id é", b"x", status=2, code="usage"),
    Row("verify", f"--secret s3cret --signature {SIGNATURE} --at soon", b"x", status=2, code="usage"),
    Row("verify", f"--secret s3cret --signature {SIGNATURE}", b"x", status=1),
    Row("demo", "extra", status=2, code="usage"),
    Row("doctor", "extra", status=2, code="usage"),
    Row("config path", "extra", status=2, code="usage"),
    Row("config show", "extra", status=2, code="usage"),
    Row("completion", "tcsh", status=2, code="usage"),
]

#: Commands that print another kind of document (a payload or a schema), and some of its keys.
FREE = {"events sample": {"event", "timestamp", "signal.id"}, "events schema": {"$schema", "type"}}

#: Commands that print one object per line.
STREAMS = {"log"}


class Stage(NamedTuple):
    """A home in which everything that a command can show has happened."""

    world: World
    stands: dict[str, str]

    def run(self, row: Row, *options: str) -> Result:
        return self.world.ark(*(self.stands.get(word, word) for word in row.words), *options, stdin=row.stdin)


@contextmanager
def staged(world: World) -> Iterator[Stage]:
    """A home with one dead event and one that is retried."""
    with (
        receiver(200) as crm,
        receiver(503) as lake,
        receiver(200) as other,
        receiver(500) as refusing,
        receiver(verifying(world.shared_secrets)) as right,
    ):
        world.add(crm, "crm")
        world.add(lake, "lake")
        world.ark("send", "signal.promoted", "--id", "dead", stdin=PAYLOAD)
        for seconds in (30, 300, 1800, 7200):
            world.clock.advance(seconds)
            world.ark("drain")
        world.ark("send", "signal.promoted", "--id", "retrying", stdin=PAYLOAD)
        urls = {"OTHER": other.url, "REFUSING": refusing.url, "RIGHT": right.url}
        yield Stage(world, {**urls, "VALID": sign("s3cret", b"x")})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The home that every test copies."""
    with staged(World(tmp_path_factory.mktemp("built") / "home")) as found:
        yield found


@pytest.fixture
def stage(built: Stage, tmp_path: Path) -> Stage:
    shutil.copytree(built.world.home, tmp_path / "home")
    world = World(tmp_path / "home")
    world.clock.advance(built.world.clock.seconds)
    return Stage(world, built.stands)


def name_of(row: Row) -> str:
    return " ".join(row.words)


def keys(found: Any, path: str = "") -> Iterator[str]:
    """Every key in a document, as a path such as `destinations[].name`."""
    if isinstance(found, dict) and found:
        for key, value in found.items():
            yield from keys(value, f"{path}.{key}" if path else key)
    elif isinstance(found, list) and found:
        for value in found:
            yield from keys(value, f"{path}[]")
    else:
        yield path


def shortened(key: str, found: set[str]) -> str:
    """The path above a key where the document has null or an empty list, else the key."""
    return next((place for place in found if key.startswith((f"{place}.", f"{place}[]"))), key)


def documented() -> dict[str, set[str]]:
    """The table in docs/json.md: the keys of each command."""
    rows = dict(re.findall(r"^\| `ark ([a-z -]+)` \| (.*) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE))
    return {command: keys_in(cell, rows) for command, cell in rows.items()}


def keys_in(cell: str, rows: dict[str, str]) -> set[str]:
    """The keys that a cell lists, or those of the command that it refers to, which lists its own."""
    if same := re.fullmatch(r"the same as `ark ([a-z -]+)`", cell):
        return listed(rows[same[1]])
    if each := re.fullmatch(r"`([a-z]+\[\])`, each with the keys of `([a-z]+)` in `ark ([a-z -]+)`", cell):
        return {key.replace(each[2], each[1], 1) for key in listed(rows[each[3]]) if key.startswith(f"{each[2]}.")}
    return listed(cell)


def listed(cell: str) -> set[str]:
    """The keys in a cell that is a list of keys and nothing else."""
    assert re.fullmatch(r"`[a-z0-9_.\[\]]+`(, `[a-z0-9_.\[\]]+`)*", cell), cell
    return set(re.findall(r"`([^`]+)`", cell))


def parsed(row: Row, out: str) -> list[Any]:
    """The documents that were printed, one per line."""
    lines = out.splitlines()
    assert out.endswith("\n")
    assert len(lines) == 1 or (row.command in STREAMS and row.code is None)
    return [json.loads(line) for line in lines]


def check_keys(command: str, documents: list[Any]) -> None:
    """Checks that documents have all keys that are promised, and no others."""
    found = {key for document in documents for key in keys(document)}
    promised = documented()[command] - {"set_aside", "repeated"}
    assert found == {key if key in found else shortened(key, found) for key in promised}


def test_every_command_has_rows_here_and_in_the_document() -> None:
    shapes = COMMANDS | ALONE | {"log --stats", *(f"queue list --by {by}" for by in By)}
    # tests/test_move.py has that one's: it needs a database.
    assert {row.command for row in SUCCESSES} == shapes - {"queue move"}
    assert {row.command for row in FAILURES} == COMMANDS | ALONE
    assert documented().keys() == shapes - FREE.keys()


@pytest.mark.parametrize("row", SUCCESSES, ids=name_of)
def test_a_success_in_json_is_the_documented_object_alone(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--json")
    assert (result.status, result.err) == (0, "")
    if row.command in FREE:
        assert FREE[row.command] <= set(keys(result.json))
    else:
        check_keys(row.command, parsed(row, result.out))


def test_damage_is_a_failure_with_every_documented_key(stage: Stage) -> None:
    (log,) = (stage.world.queue_directory / "events").glob("*.jsonl")
    log.write_bytes(log.read_bytes().replace(b"Northwind", b"Southwind", 1))
    found = stage.world.ark("queue", "check", "--json")
    assert (found.status, set(keys(found.json))) == (78, documented()["queue check"] - {"set_aside"})
    assert stage.world.ark("doctor", "--json").status == 1
    repaired = stage.world.ark("queue", "check", "--repair", "--json")
    assert (repaired.status, set(keys(repaired.json))) == (0, documented()["queue check"])


@pytest.mark.parametrize("row", SUCCESSES, ids=name_of)
def test_a_success_is_silent_when_quiet_unless_it_was_asked_for_data(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--quiet")
    assert (result.status, result.err) == (0, "")
    assert bool(result.out) is row.data


@pytest.mark.parametrize("row", SUCCESSES, ids=name_of)
def test_a_success_in_text_says_something_and_drives_no_terminal(stage: Stage, row: Row) -> None:
    result = stage.run(row)
    assert result.status == 0
    assert result.out
    assert "\x1b" not in result.out + result.err
    assert "error" not in result.err


@pytest.mark.parametrize("row", FAILURES, ids=name_of)
def test_a_failure_has_the_same_status_and_a_document_in_json(stage: Stage, row: Row) -> None:
    result = stage.run(row, "--json")
    assert (result.status, result.err) == (row.status, "")
    (document,) = parsed(row, result.out)
    if row.code is None:
        check_keys(row.command, [document])
    else:
        assert set(keys(document)) == {"error.code", "error.message"}
        assert document["error"]["code"] == row.code


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("row", FAILURES, ids=name_of)
def test_a_failure_is_told_in_text_quiet_or_not(stage: Stage, row: Row, quiet: bool) -> None:
    result = stage.run(row, *["--quiet"] * quiet)
    assert result.status == row.status
    if row.code is None:
        assert result.out + result.err
    else:
        assert result.out == ""
        assert re.fullmatch(r"error: .+\n", result.err)


@pytest.mark.parametrize("command", [*sorted(COMMANDS - {"demo"}), *sorted(GROUPS)])
def test_every_command_with_json_alone_prints_json_whatever_comes_of_it(world: World, command: str) -> None:
    result = world.ark(*command.split(), "--json")
    assert result.err == ""
    assert all(isinstance(document, dict) for document in parsed(Row("log"), result.out or "{}\n"))
    assert bool(result.out) or command == "log"


@pytest.mark.parametrize("command", [*sorted(COMMANDS), *sorted(GROUPS)])
def test_an_unknown_option_is_bad_input_everywhere(world: World, command: str) -> None:
    text, as_json = (world.ark(*command.split(), "--nonsense", *more) for more in ([], ["--json"]))
    assert (text.status, text.out, as_json.status, as_json.err) == (2, "", 2, "")
    assert "there is no option '--nonsense'" in text.err
    assert as_json.json["error"]["code"] == "usage"


def test_the_document_tells_of_every_error_and_its_status() -> None:
    def below(kind: type[ArkError]) -> Iterator[type[ArkError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| (\d+) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    told = {code: int(status) for codes, status in rows for code in re.findall(r"`([a-z_]+)`", codes)}
    assert told == {kind.code: kind.exit_code for kind in below(ArkError) if kind.__module__ == ArkError.__module__}
