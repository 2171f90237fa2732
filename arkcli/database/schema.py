"""ark's tables in a database: the SQL that makes them, the steps from one version to the next, and who may do that.

Steps only go forward. One that old versions of ark can work with raises `version`; one that they cannot raises
`reads_from` as well: an older ark then touches nothing.
"""

from typing import Final, NamedTuple

from arkcli.database.connection import FORBIDDEN, MISSING, Database
from arkcli.errors import Filling, InDoubt, Moved, Refused, Unreachable, Unreadable

_TABLES: Final = """
create schema ark;

create table ark.meta (  -- one row; its lock is the lock of the event log
 one boolean primary key default true check (one),
 version int not null, reads_from int not null,
 state text not null default 'ready' check (state in ('moving', 'ready', 'moved')),
 move text not null default '', place text not null default '',  -- the last move: its id, and the other place
 floor bigint not null default 1  -- from this seq on, the log has no gaps
);

create table ark.store (  -- destinations.toml, sealed; its own row, so that changing it never stops accepting
 one boolean primary key default true check (one),
 version bigint not null default 0, sealed bytea
);

create unlogged table ark.worker (  -- the processes that hold leases; empty after a crash, which tells them about it
 holder text primary key, drains boolean not null default false, until timestamptz not null
);

create table ark.event (
 seq bigint primary key,  -- in the order of the commits; from 1 on without gaps
 id text collate "C" not null, name text not null, at timestamptz not null,
 addressed bigint not null, bytes bigint not null,  -- up to and with this one: events with "to", and bytes of bodies
 "to" text[],  -- ids of destinations; null: all
 body bytea not null
) with (toast_tuple_target = 8160);
alter table ark.event alter body set storage external;
create index event_id on ark.event (id, seq);
create index event_to on ark.event (seq) where "to" is not null;

create table ark.share (  -- a destination's place and lease
 destination int primary key generated always as identity,
 id text collate "C" not null unique,
 joined bigint not null, cursor bigint not null,  -- every event before it has been attempted, or is in ark.pending
 epoch bigint not null default 0, until timestamptz, holder text, purpose text,
 outage text,
 pace text  -- what counts against its rate
) with (fillfactor = 10);

create table ark.pending (  -- retrying, dead, sent again, or under way in an ark send: nothing else
 destination int not null, seq bigint not null,
 round smallint not null default 0,  -- one more each time it is sent again by hand
 attempt smallint not null,  -- the last one made; 0: none in this round
 due_at timestamptz,  -- null: dead
 holder text,  -- the ark send that makes the next attempt, until due_at
 failed_at timestamptz, status smallint, error text,
 primary key (destination, seq)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
create index pending_due on ark.pending (destination, due_at) where due_at is not null;
create index pending_failed on ark.pending (destination, failed_at) where due_at is not null;
create index pending_dead on ark.pending (destination, seq) where due_at is null;
create index pending_held on ark.pending (destination) where holder is not null;
create index pending_seq on ark.pending (seq);

create table ark.attempt (  -- append only
 destination int not null, seq bigint not null, round smallint not null default 0, attempt smallint not null,
 n bigint not null generated always as identity,  -- the order in which a destination's were recorded
 at timestamptz not null, outcome "char" not null,  -- d(elivered), f(ailed), x: dropped, p: passed over
 status smallint, ms int, error text, excerpt text,
 primary key (destination, seq, round, attempt)  -- nothing is recorded twice
);
create index attempt_n on ark.attempt (destination, n);

create table ark.memo (name text primary key, data bytea);  -- small documents that processes change in turn

insert into ark.store default values;
insert into ark.meta (version, reads_from) values (1, 1);
"""


class Step(NamedTuple):
    """What brings the tables to a version, and the oldest version of the tables' readers that can still use them."""

    version: int
    reads_from: int
    sql: str


STEPS: Final = (Step(1, 1, _TABLES),)
#: The version that this ark makes and needs.
VERSION: Final = STEPS[-1].version

_FIND: Final = "select to_regclass('ark.meta') is not null, to_regnamespace('ark') is not null"
_READ: Final = "select version, reads_from, state, place from ark.meta"
#: Two processes must not make the tables at the same time; there is no row to lock yet. The number has no meaning.
_LOCK_MAKING: Final = "select pg_advisory_xact_lock(4785076320)"
_NOTE: Final = "update ark.meta set version = {}, reads_from = {};"


def prepare(database: Database, steps: tuple[Step, ...] = STEPS, *, is_moving: bool = False) -> int:
    """Makes the tables, or brings them up to this ark's version; returns the version that they had (0: none).

    Raises Unreadable, with the SQL to run, if this role may not, and if the tables were made by a newer ark that this
    one cannot work with. Raises Unreachable and InDoubt; the next call then continues. Raises Moved and Filling, unless
    it is the move that asks (`is_moving`).
    """
    found, state, place = _read(database, steps)
    if not is_moving:
        check_state(state, database.address.masked, place)
    if found >= steps[-1].version:
        return found
    try:
        with database.transaction(pipelined=False) as cursor:
            cursor.execute(_LOCK_MAKING)
            cursor.execute(_FIND)
            has_tables, has_schema = cursor.fetchone() or (False, False)
            version = 0
            if has_tables:
                cursor.execute(f"{_READ} for update")
                version, *_ = cursor.fetchone() or (0,)
            # Not by this cursor: a binary one sends one statement at a time.
            cursor.connection.execute(_script(steps, version, has_schema=has_schema))
    except Refused as error:
        if error.state != FORBIDDEN:
            raise
        what = "makes ark's tables" if not found else "brings ark's tables up to date"
        raise Unreadable(
            f"{error}. This role may not change the schema. Have the owner of the database run the SQL that {what}, "
            "which `ark queue upgrade --print` prints; then try again"
        ) from error
    return found


def version_of(database: Database, steps: tuple[Step, ...] = STEPS) -> int:
    """The version of the tables; 0 if there are none. Raises Unreadable if this ark is too old for them."""
    return _read(database, steps)[0]


def _read(database: Database, steps: tuple[Step, ...]) -> tuple[int, str, str]:
    """The version, the state, and the other place of the last move."""
    try:
        with database.transaction(durable=False) as cursor:
            cursor.execute(_READ)
        version, reads_from, state, place = cursor.fetchone() or (0, 0, "ready", "")
    except InDoubt as error:
        # To read changes nothing.
        raise Unreachable(str(error)) from error
    except Refused as error:
        if error.state not in MISSING:
            raise
        return 0, "ready", ""
    check_reads_from(reads_from, steps)
    return int(version), state, place


def check_state(state: str, name: str, place: str) -> None:
    """Raises Moved or Filling if a queue in this state cannot be used."""
    if state == "moved":
        raise Moved(name, place)
    if state == "moving":
        raise Filling(name, place)


def check_reads_from(reads_from: int, steps: tuple[Step, ...] = STEPS) -> None:
    """Raises Unreadable if the tables need a newer ark than this one."""
    if reads_from > steps[-1].version:
        raise Unreadable(
            f"a newer ark has changed the database (its tables need version {reads_from}, this ark knows "
            f"{steps[-1].version}); nothing was read or changed. Update ark on this machine"
        )


def script(version: int, steps: tuple[Step, ...] = STEPS) -> str:
    """The SQL that brings tables of a version (0: none) up to this ark's, for somebody who may run it."""
    return f"begin;\n{_script(steps, version, has_schema=False)}\ncommit;"


def _script(steps: tuple[Step, ...], version: int, *, has_schema: bool) -> str:
    parts = []
    for step in steps:
        if step.version > version:
            parts += [step.sql.strip(), _NOTE.format(step.version, step.reads_from)]
    found = "\n".join(parts)
    return found.replace("create schema ark;\n", "", 1) if has_schema else found
