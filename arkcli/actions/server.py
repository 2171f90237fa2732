"""`ark doctor`'s checks of the database that keeps the queue and the store."""

from contextlib import closing
from typing import TYPE_CHECKING, Final

from arkcli.actions.checks import Check, Status, passed
from arkcli.errors import ArkError
from arkcli.store.store import Store
from arkcli.text import counted
from arkcli.times import describe_duration

if TYPE_CHECKING:
    from arkcli.actions.home import Home
    from arkcli.database.address import Address
    from arkcli.database.facts import Facts

#: The oldest PostgreSQL that ark works with.
_OLDEST: Final = 140_000
#: Warn about what has kept vacuum from working for this many seconds, and above this share of the connections.
_LONG: Final = 300.0
_NEARLY: Final = 0.8
#: Warn if the clocks differ by more milliseconds.
_APART: Final = 5_000


def check_database(home: "Home") -> list[Check]:
    """The checks of the database. One that fails comes alone if the server cannot be asked."""
    assert home.shared is not None
    try:
        address = home.shared.address
        with closing(home.shared.connect()) as database:
            from arkcli.database.facts import facts_of

            before = home.clock.now()
            facts = facts_of(database, _LONG)
            after = home.clock.now()
            schema = check_schema(home)
    except ArkError as error:
        hint = "until it can be reached, nothing is accepted, and nothing is delivered; what was accepted is safe in it"
        return [Check("database", Status.FAIL, str(error), hint)]
    return [
        check_version(facts, address),
        check_encryption(facts, address),
        check_durability(facts),
        check_clocks(facts, before, after),
        check_vacuum(facts),
        check_connections(facts),
        schema,
        *check_unused(home),
    ]


def check_version(facts: "Facts", address: "Address") -> Check:
    """Checks that ark works with this version."""
    said = f"PostgreSQL {facts.version} at {address.masked}"
    if facts.number < _OLDEST:
        return Check("database", Status.FAIL, said, "ark needs PostgreSQL 14 or newer")
    return passed("database", said)


def check_encryption(facts: "Facts", address: "Address") -> Check:
    """Checks that nobody in between can read or change anything."""
    hint = "remove sslmode from the URL, so that ark insists on a valid certificate"
    if facts.tls is None:
        if address.is_local:
            return passed("encryption", "none: the connection stays on this machine")
        return Check("encryption", Status.WARN, "the connection is not encrypted", hint)
    if not address.is_local and address.parameters.get("sslmode") not in ("verify-full", "verify-ca"):
        return Check("encryption", Status.WARN, f"{facts.tls}, but the server's certificate is not checked", hint)
    return passed("encryption", facts.tls)


def check_durability(facts: "Facts") -> Check:
    """Checks that an event that was accepted survives a crash of the server, and the loss of its machine."""
    settings = {"fsync": facts.syncs, "full_page_writes": facts.writes_full_pages}
    wrong = [name for name, is_on in settings.items() if not is_on]
    if wrong:
        said = f"off: {', '.join(wrong)}; a crash of the server can lose events that were accepted, or all of them"
        hint = f"in postgresql.conf: {', '.join(f'{name} = on' for name in wrong)}"
        return Check("durability", Status.FAIL, said, hint)
    if facts.asynchronous and not facts.synchronous:
        standbys = counted(facts.asynchronous, "asynchronous standby", "asynchronous standbys")
        said = f"{standbys} and no synchronous one: when it takes over, the last accepted events may be missing"
        return Check("durability", Status.WARN, said, "name one in synchronous_standby_names, or accept that")
    standbys = counted(facts.synchronous, "synchronous standby", "synchronous standbys")
    seen = standbys if facts.synchronous else "no standby"
    return passed("durability", f"fsync and full_page_writes are on, and synchronous_commit for events; {seen}")


def check_clocks(facts: "Facts", before: int, after: int) -> Check:
    """Compares the server's clock, which decides what is due, with this host's, which is in bodies. Milliseconds."""
    apart = max(before - facts.now, facts.now - after, 0)
    if apart <= _APART:
        return passed("database clock", "it agrees with this host's")
    said = f"it and this host's clock are {describe_duration(apart / 1000)} apart"
    hint = "synchronise both: deliveries are due by the database's, and timestamps in bodies are this host's"
    return Check("database clock", Status.WARN, said, hint)


def check_vacuum(facts: "Facts") -> Check:
    """Checks that nothing keeps the server from removing dead rows."""
    if not facts.holding:
        return passed("vacuum", "nothing holds it back")
    what, age = facts.holding[0]
    long = "" if age is None else f" for {describe_duration(age)}"
    more = f", and {len(facts.holding) - 1} more" if facts.holding[1:] else ""
    hint = "end it: until then tables and indexes grow, and everything gets slower"
    return Check("vacuum", Status.WARN, f"held back{long} by {what}{more}", hint)


def check_connections(facts: "Facts") -> Check:
    """Checks that there is room for more connections."""
    said = f"{facts.connections:,} of {facts.most_connections:,} in use"
    if facts.connections < facts.most_connections * _NEARLY:
        return passed("connections", said)
    hint = "raise max_connections, or put pgbouncer in front (pool_mode = transaction)"
    return Check("connections", Status.WARN, said, hint)


def check_schema(home: "Home") -> Check:
    """Checks that ark's tables are of this ark's version. Raises Unreachable and Unreadable."""
    assert home.shared is not None
    found = home.shared.version()
    from arkcli.database.schema import VERSION

    if found < VERSION:
        said = f"version {found}, and this ark needs {VERSION}" if found else "ark's tables do not exist yet"
        return Check("schema", Status.WARN, said, "`ark queue upgrade` makes them, or prints the SQL with --print")
    return passed("schema", f"version {found}")


def check_unused(home: "Home") -> list[Check]:
    """Says if this host has destinations that are not used."""
    try:
        # Not through the home, whose store is the one in the database.
        store = Store(home.directory)
        count = len(store.read().destinations)
    except ArkError:
        count = 0
    if not count:
        return []
    said = f"{store.path} has {counted(count, 'destination')}, which are not used while ARK_QUEUE is set"
    return [Check("unused", Status.WARN, said, "`ark queue move` takes them along; or unset ARK_QUEUE")]
