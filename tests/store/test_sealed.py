"""The store as a sealed row of a database, shared by hosts that have nothing in common but the key."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from arkcli.database.address import address_of
from arkcli.database.connection import Database
from arkcli.database.schema import prepare
from arkcli.errors import Unreachable, Unreadable
from arkcli.model import Destination
from arkcli.signing import Secret
from arkcli.store.sealed import KeySource, SealedShelf
from arkcli.store.store import Store
from tests.outages.hosts import until
from tests.postgres import network, query
from tests.world import FakeClock, World

TOKEN = "hunter2-in-clear"


class Host:
    """A host: its configuration directory, and its process's clock."""

    def __init__(self, directory: Path, url: str, opened: ExitStack, **variables: str) -> None:
        self.key = KeySource(directory / "queue.key", variables.get("ARK_QUEUE_KEY"), variables)
        self.clock = FakeClock()
        database, writing = (Database(address_of(url, {})) for _ in range(2))
        opened.callback(database.close)
        opened.callback(writing.close)
        prepare(database)
        self.shelf = SealedShelf(database, writing, self.key, self.clock.monotonic, World(directory).randomness)
        self.store = Store(directory, self.shelf)

    def add(self, name: str) -> None:
        with self.store.change() as contents:
            contents.workspace.secret = Secret(TOKEN)
            url = f"https://{TOKEN}.example/"
            contents.destinations.append(Destination(id=f"dst_{name}", name=name, url=url, added_at=""))

    @property
    def names(self) -> list[str]:
        return [found.name for found in self.store.read().destinations]


@pytest.fixture
def host(empty_database: str, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Opens hosts: by the name of their directory, with variables."""
    with ExitStack() as opened:

        def one(name: str = "one", url: str = empty_database, **variables: str) -> Host:
            return Host(tmp_path / name, url, opened, **variables)

        yield one


@pytest.fixture
def first(host: Callable[..., Host]) -> Host:
    found = host()
    assert found.shelf.begin()
    return found


@pytest.fixture
def second(first: Host, host: Callable[..., Host]) -> Host:
    """A host that got the key."""
    found = host("two")
    found.key.make(bytes.fromhex(first.key.file.read_text()))
    return found


def test_the_first_host_makes_a_key_that_only_its_user_can_read(first: Host) -> None:
    assert first.key.file.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(first.key.file.read_text())) == 32
    assert first.names == []


def test_whoever_comes_later_makes_no_key(first: Host, second: Host) -> None:
    assert not first.shelf.begin()
    assert not second.shelf.begin()


def test_a_key_that_was_given_is_used(host: Callable[..., Host], tmp_path: Path) -> None:
    (tmp_path / "given").write_text("ab" * 32)
    one = host("one", ARK_QUEUE_KEY=f"file:{tmp_path / 'given'}")
    assert not one.shelf.begin()
    one.add("crm")
    assert not one.key.file.exists()
    two = host("two", ARK_QUEUE_KEY="env:HERE", HERE="ab" * 32)
    assert two.names == ["crm"]


def test_what_one_host_saves_another_one_reads(first: Host, second: Host) -> None:
    first.add("crm")
    second.add("erp")
    assert first.names == second.names == ["crm", "erp"]


def test_a_process_asks_for_a_change_at_most_four_times_a_second(first: Host, second: Host) -> None:
    before = first.shelf.stamp()
    assert first.names == []
    second.add("crm")
    assert first.shelf.stamp() == before
    assert first.names == []
    first.clock.advance(0.25)
    assert first.shelf.stamp() != before
    assert first.names == ["crm"]


def test_it_does_not_ask_while_the_queue_tells(first: Host, second: Host) -> None:
    second.add("crm")
    version = first.shelf.stamp()
    assert isinstance(version, int)
    first.shelf.seen = lambda: (first.clock.monotonic(), version + 1)
    assert first.shelf.stamp() == version + 1
    assert first.names == ["crm"]
    first.shelf.seen = lambda: (first.clock.monotonic(), version + 1)
    second.add("erp")
    first.clock.advance(10)
    assert first.names == ["crm"]


def test_a_change_that_fails_changes_nothing_and_lets_others_go_on(first: Host, second: Host) -> None:
    with pytest.raises(RuntimeError), first.store.change() as contents:
        contents.workspace.secret = Secret("another")
        raise RuntimeError
    second.add("crm")
    assert first.names == ["crm"]


def test_nothing_in_the_database_is_in_clear(first: Host, empty_database: str) -> None:
    first.add("crm")
    ((sealed,),) = query(empty_database, "select sealed from ark.store")
    for word in (TOKEN.encode(), b"crm", b"destinations", bytes.fromhex(first.key.file.read_text())):
        assert word not in sealed


def test_an_older_document_is_not_accepted_in_place_of_a_newer_one(first: Host, empty_database: str) -> None:
    ((sealed,),) = query(empty_database, "select sealed from ark.store")
    first.add("crm")
    query(empty_database, "update ark.store set sealed = %s", sealed)
    first.clock.advance(1)
    with pytest.raises(Unreadable, match="does not open"):
        first.store.read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing: copy queue.key from the configuration directory of a host that uses this queue"),
        ("cd" * 32, "does not open the store in postgresql://"),
        ("abc", "is not 64 hex digits; copy it again, whole"),
        ("ab" * 31, "is not 64 hex digits"),
    ],
)
def test_a_host_without_the_key_is_told_where_to_get_it(
    first: Host, host: Callable[..., Host], text: str | None, said: str
) -> None:
    other = host("other")
    if text is not None:
        other.key.file.parent.mkdir()
        other.key.file.write_text(text)
        other.key.file.chmod(0o600)
    for ask in (other.shelf.begin, other.store.read, lambda: other.add("crm")):
        with pytest.raises(Unreadable, match=said):
            ask()


def test_a_key_that_others_can_read_is_refused(first: Host) -> None:
    first.key.file.chmod(0o644)
    with pytest.raises(Unreadable, match=r"other users can read it \(mode 0644\); run `chmod 600"):
        first.store.read()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ab" * 32, "must be env:NAME or file:PATH, not the key itself"),
        ("env:NOWHERE", "NOWHERE is not in the environment"),
        ("file:/does/not/exist", "cannot be read"),
    ],
)
def test_a_wrong_name_of_the_key_is_unreadable(host: Callable[..., Host], given: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as raised:
        host(ARK_QUEUE_KEY=given).shelf.begin()
    assert "abab" not in str(raised.value)


def can_add(host: Host, name: str) -> bool:
    """Adds a destination, unless the database is away, or was until a moment ago."""
    with suppress(Unreachable):
        host.add(name)
        return True
    return False


def test_while_the_database_is_away_reading_says_so_and_the_stamp_stays(
    first: Host, host: Callable[..., Host], empty_database: str
) -> None:
    with network(empty_database) as way:
        two = host("one", way.url)
        before = two.shelf.stamp()
        two.store.read()
        way.close()
        two.clock.advance(1)
        assert two.shelf.stamp() == before
        with pytest.raises(Unreachable, match="cannot reach the database postgresql://postgres@127"):
            two.store.read()
        with pytest.raises(Unreachable):
            two.add("crm")
        way.open()
        until(lambda: can_add(two, "crm"))
        assert two.names == ["crm"]
