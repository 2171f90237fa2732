"""Which database keeps the queue and the store, if one does, and what opens it."""

from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arkcli.errors import Unreadable
from arkcli.store.store import Contents, Store
from arkcli.system import files

if TYPE_CHECKING:
    from arkcli.database.address import Address
    from arkcli.database.connection import Database
    from arkcli.store.sealed import KeySource


class Given(NamedTuple):
    """The URL as the user gave it, and where: `environment ARK_QUEUE`, or the path of a file."""

    text: str
    source: str


def given_in(variables: Mapping[str, str], directory: Path) -> Given | None:
    """The database that ARK_QUEUE names, else [queue] url in a directory's destinations.toml; None: there is none.

    Raises Unreadable if the file has settings beside the url: they would not be used.
    """
    if text := variables.get("ARK_QUEUE"):
        return Given(text, "environment ARK_QUEUE")
    file = directory / "destinations.toml"
    try:
        # Most files have no [queue] settings, and need not be parsed to know that.
        is_possible = b"queue" in files.read(file)
    except OSError:
        return None
    contents = None
    # What is wrong in the file is said when it is read as the store.
    with suppress(Unreadable):
        contents = Store(directory).read() if is_possible else None
    if contents is None or contents.queue.url is None:
        return None
    if contents != Contents(version=contents.version, queue=type(contents.queue)(url=contents.queue.url)):
        raise Unreadable(
            f"{file} has [queue] url, so the settings are in that database, and the others in this file would not be "
            "used. Move its destinations there with `ark dest add`, and leave only version and [queue] url here; or "
            "remove the url"
        )
    return Given(contents.queue.url, str(file))


class Shared:
    """The database that keeps the queue and the store of many hosts."""

    def __init__(self, given: Given, variables: Mapping[str, str], directory: Path, purpose: str) -> None:
        """`directory` has the key, unless ARK_QUEUE_KEY names one. The server shows `purpose`. Opens nothing yet."""
        self.given = given
        self._purpose = purpose
        self._variables = variables
        self._directory = directory

    @cached_property
    def address(self) -> "Address":
        """Where the database is. Raises UsageError."""
        from arkcli.database.address import address_of
        from arkcli.wire.trust import ca_bundle

        source = self.given.source
        place = {"environment ARK_QUEUE": "ARK_QUEUE", "the command line": "URL"}.get(
            source, f"[queue] url in {source}"
        )
        return address_of(self.given.text, self._variables, place, ca_bundle(self._variables))

    @cached_property
    def key(self) -> "KeySource":
        """Where the key of the store is."""
        from arkcli.store.sealed import KeySource

        return KeySource(self._directory / "queue.key", self._variables.get("ARK_QUEUE_KEY"), self._variables)

    def connect(self) -> "Database":
        """A connection of its own. It is not opened before it is used, and in the process that uses it.

        Raises UsageError for a wrong URL, and if psycopg is not installed.
        """
        address = self.address
        from arkcli.database.connection import Database

        return Database(address, self._purpose)

    def upgrade(self) -> int:
        """Makes ark's tables, or brings them up to this ark's version, which is returned.

        Raises Unreachable, and Unreadable with the SQL to run if this role may not.
        """
        with closing(self.connect()) as database:
            from arkcli.database.schema import VERSION, prepare

            prepare(database)
        return VERSION

    def upgrade_script(self) -> tuple[int, str]:
        """The version of the tables that this ark needs, and the SQL that leads to it (empty: nothing to do)."""
        found = self.version()
        from arkcli.database.schema import VERSION, script

        return VERSION, script(found) if found < VERSION else ""

    def version(self) -> int:
        """The version of ark's tables; 0 if the database has none. Raises Unreachable and Unreadable."""
        with closing(self.connect()) as database:
            from arkcli.database.schema import version_of

            return version_of(database)
