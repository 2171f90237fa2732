"""What a PostgreSQL server says about itself. A role without pg_monitor sees less; what it cannot see is left out."""

from typing import Final, NamedTuple

from arkcli.database.connection import Database

_SERVER: Final = """
select current_setting('server_version'), current_setting('server_version_num')::int,
 (select version from pg_stat_ssl where pid = pg_backend_pid() and ssl),
 current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
 (select count(*) from pg_stat_replication where sync_state in ('async', 'potential')),
 (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')),
 (extract(epoch from clock_timestamp()) * 1000)::bigint,
 (select count(*) from pg_stat_activity where backend_type = 'client backend'),
 current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
"""
#: What keeps vacuum from removing dead rows, each with the seconds for which it has done so, the longest first.
_HOLDING: Final = """
select what, age from (
 select 'a transaction of ' || coalesce(nullif(application_name, ''), usename::text, 'somebody') || ', process ' || pid,
  extract(epoch from clock_timestamp() - xact_start)::float8
 from pg_stat_activity where backend_xmin is not null and xact_start is not null and pid <> pg_backend_pid()
 union all
 select 'the prepared transaction ' || gid, extract(epoch from clock_timestamp() - prepared)::float8
 from pg_prepared_xacts
 union all
 select 'the replication slot ' || slot_name || ', which nobody reads', null
 from pg_replication_slots where not active and coalesce(xmin, catalog_xmin) is not null
) found(what, age) where age is null or age > %s order by age desc nulls first
"""


class Facts(NamedTuple):
    """A server. `tls` is its version of TLS on this connection, None without TLS. `now` is its time, in milliseconds.

    `holding` has what keeps vacuum from removing dead rows, and for how many seconds (None: unknown).
    """

    version: str
    number: int
    tls: str | None
    syncs: bool
    writes_full_pages: bool
    asynchronous: int
    synchronous: int
    now: int
    connections: int
    most_connections: int
    holding: list[tuple[str, float | None]]


def facts_of(database: Database, held_for: float) -> Facts:
    """Asks a server. `holding` has only what has lasted longer than `held_for` seconds. Raises Unreachable."""
    with database.transaction() as cursor:
        holding = cursor.connection.cursor(binary=True)
        cursor.execute(_SERVER)
        holding.execute(_HOLDING, (held_for,))
    (row,) = cursor.fetchall()
    return Facts._make([*row, holding.fetchall()])
