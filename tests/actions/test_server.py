"""`ark doctor`'s checks of a database: what passes, and what is said if it does not."""

import pytest

from arkcli.actions import server
from arkcli.actions.checks import Check, Status
from arkcli.database.address import Address, address_of
from arkcli.database.facts import Facts

PASS, WARN, FAIL = Status.PASS, Status.WARN, Status.FAIL
GOOD = Facts("18.4", 180004, "TLSv1.3", True, True, 0, 0, 1_000_000, 10, 97, [])
ADDRESS = address_of("postgresql://ark@db.example/ark", {})
LOCAL = address_of("postgresql:///ark?host=/run/postgresql", {})


def said(check: Check) -> tuple[Status, str]:
    return check.status, f"{check.message}. {check.hint or ''}"


@pytest.mark.parametrize(("number", "status"), [(180004, PASS), (140000, PASS), (139999, FAIL)])
def test_the_version(number: int, status: Status) -> None:
    assert server.check_version(GOOD._replace(number=number), ADDRESS).status is status


@pytest.mark.parametrize(
    ("tls", "address", "status", "words"),
    [
        ("TLSv1.3", ADDRESS, PASS, "TLSv1.3"),
        ("TLSv1.3", address_of("postgresql://db/ark?sslmode=require", {}), WARN, "certificate is not checked"),
        (None, address_of("postgresql://db/ark?sslmode=disable", {}), WARN, "not encrypted"),
        (None, LOCAL, PASS, "stays on this machine"),
        ("TLSv1.3", LOCAL, PASS, "TLSv1.3"),
    ],
)
def test_the_encryption(tls: str | None, address: Address, status: Status, words: str) -> None:
    found = said(server.check_encryption(GOOD._replace(tls=tls), address))
    assert found[0] is status
    assert words in found[1]


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        (GOOD, PASS, "no standby"),
        (GOOD._replace(synchronous=2), PASS, "2 synchronous standbys"),
        (GOOD._replace(synchronous=1, asynchronous=3), PASS, "1 synchronous standby"),
        (GOOD._replace(asynchronous=1), WARN, "may be missing. name one in synchronous_standby_names"),
        (GOOD._replace(syncs=False), FAIL, "off: fsync; a crash of the server can lose events"),
        (GOOD._replace(syncs=False, writes_full_pages=False), FAIL, "fsync = on, full_page_writes = on"),
    ],
)  # fmt: skip
def test_the_durability(facts: Facts, status: Status, words: str) -> None:
    found = said(server.check_durability(facts))
    assert found[0] is status
    assert words in found[1]


@pytest.mark.parametrize(
    ("before", "after", "status", "words"),
    [
        (999_000, 1_001_000, PASS, "agrees"),
        # The answer took long: the clocks may agree.
        (900_000, 1_100_000, PASS, "agrees"),
        (1_005_000, 1_005_100, PASS, "agrees"),
        (1_060_000, 1_060_100, WARN, "60 s apart"),
        (939_900, 940_000, WARN, "60 s apart"),
    ],
)
def test_the_clocks(before: int, after: int, status: Status, words: str) -> None:
    found = said(server.check_clocks(GOOD, before, after))
    assert found[0] is status
    assert words in found[1]


@pytest.mark.parametrize(
    ("holding", "status", "words"),
    [
        ([], PASS, "nothing"),
        ([("a transaction of psql, process 7", 600.0)], WARN, "for 10 min by a transaction of psql, process 7"),
        ([("the replication slot old, which nobody reads", None), ("x", 1.0)], WARN, "by the replication slot old"),
        ([("x", 600.0), ("y", 500.0)], WARN, "by x, and 1 more"),
    ],
)  # fmt: skip
def test_what_holds_vacuum_back(holding: list[tuple[str, float | None]], status: Status, words: str) -> None:
    found = said(server.check_vacuum(GOOD._replace(holding=holding)))
    assert found[0] is status
    assert words in found[1]


@pytest.mark.parametrize(("connections", "status"), [(10, PASS), (77, PASS), (78, WARN), (97, WARN)])
def test_the_connections(connections: int, status: Status) -> None:
    assert server.check_connections(GOOD._replace(connections=connections)).status is status
