"""One user's store, queue and network access, each opened when first used.

The only module that knows which engine keeps the queue.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, cast

from arkcli.errors import ArkError, Filling, Moved, UsageError
from arkcli.signing import Secret
from arkcli.signing.secrets import PROXY, resolve_secret
from arkcli.system.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from arkcli.actions.shared import Given, Shared
    from arkcli.database.connection import Database
    from arkcli.delivery.loop import Token
    from arkcli.delivery.places import Limits
    from arkcli.delivery.send import Sender
    from arkcli.model import Destination, RetrySchedule
    from arkcli.queue.engine import Queue
    from arkcli.queue.local.queue import LocalQueue
    from arkcli.queue.moves import Moves
    from arkcli.queue.postgres.queue import PostgresQueue
    from arkcli.signing.secrets import ReadFile
    from arkcli.store.sealed import SealedShelf
    from arkcli.store.store import Contents, Store, Workspace
    from arkcli.wire.wire import Endpoint, Wire


class Home:
    """The store, the queue and the wire of one user. Nothing is opened or created before it is needed."""

    def __init__(
        self,
        variables: Mapping[str, str],
        clock: Clock,
        randomness: Callable[[int], bytes],
        warn: Callable[[str], None],
        retries: "RetrySchedule | None" = None,
        *,
        lasting: bool = False,
    ) -> None:
        """`randomness` returns that number of random bytes; `retries` defaults to the documented schedule.

        `warn` is called for destinations whose deliveries are gone. `lasting`: keep the connections to receivers from
        one send to the next, until `close`.
        """
        self.variables = variables
        #: What the process does, for those who look at a database's connections.
        self.purpose = "ark"
        self.clock = clock
        self.randomness = randomness
        self.warn = warn
        self._retries = retries
        self._lasting = lasting
        self._kept: Wire[Token] | None = None
        self._endpoints: dict[str, Endpoint] = {}
        #: Names of destinations whose deliveries this run found to be gone.
        self.losses: list[str] = []
        self._wire: Wire[Token] | None = None
        self._writing: Database | None = None
        #: For a move, which may use a queue that nobody else can use now.
        self.is_moving = False

    @cached_property
    def schedule(self) -> "RetrySchedule":
        """When failed deliveries are retried."""
        from arkcli.model import DOCUMENTED

        return self._retries or DOCUMENTED

    @cached_property
    def store(self) -> "Store":
        """The store: destinations and the shared signing secret."""
        from arkcli.store.store import Store

        return Store(self.directory, None if self.shared is None else self._shelf, self._check_moved)

    def _check_moved(self) -> None:
        """Raises Moved or Filling if the store is empty because a move has emptied it, or still fills it."""
        if self.shared is not None:
            from arkcli.database.schema import prepare

            prepare(self._database, is_moving=self.is_moving)
            return
        from arkcli.queue.local.moving import Version

        try:
            Version(self.queue_directory, is_moving=self.is_moving).check()
        except (Moved, Filling):
            raise
        except (ArkError, OSError):
            # Whoever uses the queue says what else is wrong with it.
            pass

    @cached_property
    def shared(self) -> "Shared | None":
        """The database that keeps the queue and the store, for several hosts; None: both are files of this host."""
        from arkcli.actions.shared import given_in

        given = given_in(self.variables, self.directory)
        return None if given is None else self.shared_at(given)

    def shared_at(self, given: "Given") -> "Shared":
        """The database at a URL."""
        from arkcli.actions.shared import Shared

        return Shared(given, self.variables, self.directory, self.purpose)

    @property
    def directory(self) -> "Path":
        """Where the settings are, or what says in which database."""
        from arkcli.system.paths import config_directory

        return config_directory(self.variables)

    @cached_property
    def _database(self) -> "Database":
        assert self.shared is not None
        return self.shared.connect()

    @cached_property
    def _shelf(self) -> "SealedShelf":
        """The store in the database, whose tables are made if need be."""
        assert self.shared is not None
        # Before psycopg is imported: it says how to install it.
        self._writing = self.shared.connect()
        from arkcli.database.schema import prepare
        from arkcli.store.sealed import SealedShelf

        prepare(self._database, is_moving=self.is_moving)
        key = self.shared.key
        shelf = SealedShelf(self._database, self._writing, key, self.clock.monotonic, self.randomness)
        if shelf.begin():
            self.warn(
                f"made {key.file}, the key of the destinations and secrets in {self.shared.address.masked}. Copy it to "
                "the other hosts that use this queue, and keep a copy: nobody can recover it"
            )
        return shelf

    @property
    def found_nothing(self) -> bool:
        """Whether a destination was looked for, and there was none."""
        return "store" in vars(self) and self.store.was_empty and not self.is_moving

    @cached_property
    def queue(self) -> "Queue":
        """The queue, created if there is none. Raises Unreadable."""
        if self.shared is None:
            return self.open_queue()
        queue = self._over(self._database)
        # Whoever looks into the queue learns of changes in the store on the way.
        self._shelf.seen = lambda: queue.store_seen
        return queue

    def open_queue(self) -> "Queue":
        """Opens the queue once more: a forked process needs its own, since locks and connections are inherited."""
        if self.shared is None:
            from arkcli.queue.local.queue import LocalQueue

            return LocalQueue(self.queue_directory, self.schedule, is_moving=self.is_moving)
        return self._over(self.shared.connect())

    @cached_property
    def moves(self) -> "Moves":
        """What a move does with this queue, beside filling and reading it."""
        if self.shared is None:
            from arkcli.queue.local.moving import LocalMoves

            return LocalMoves(self.queue_directory, lambda: cast("LocalQueue", self.queue).still())
        return cast("PostgresQueue", self.queue).moves(self.shared.connect())

    def _over(self, database: "Database") -> "PostgresQueue":
        from arkcli.queue.postgres.queue import PostgresQueue

        return PostgresQueue(database, self.schedule, self.clock, is_moving=self.is_moving)

    def joined(self, destinations: "Iterable[Destination]", *, to_read: bool = False) -> "list[Destination]":
        """Gives destinations their places in the queue and returns them. Call this before asking the queue about them.

        Warns about destinations whose deliveries are gone. See `engine.Queue.join`.
        """
        found = list(destinations)
        told = self.queue.join((destination.id for destination in found), to_read=to_read) if found else {}
        for destination in found if told else ():
            if destination.id in told:
                self.losses.append(destination.name)
                self.warn(f"{destination.name}: {told[destination.id]}")
        return found

    @property
    def has_queue(self) -> bool:
        """Whether there is a queue by now. To ask makes none, and raises nothing where nobody may look."""
        if self.shared is None:
            return os.path.isdir(self.queue_directory)  # noqa: PTH112 - Path's raises
        with suppress(ArkError):
            return self.shared.version() > 0
        return False

    @property
    def queue_directory(self) -> "Path":
        """Where the queue is, or will be, if it is not in a database."""
        from arkcli.system.paths import state_directory

        return state_directory(self.variables) / "queue"

    def nameless_file(self) -> BinaryIO:
        """An unnamed temporary file on the queue's disk, for data too large for memory. Closing it deletes it."""
        from arkcli.system import files

        if self.shared is not None:
            import tempfile
            from pathlib import Path

            return files.nameless(Path(tempfile.gettempdir()))
        from arkcli.system.paths import state_directory

        directory = state_directory(self.variables)
        files.make_directory(directory)
        return files.nameless(directory)

    def wire(self, connections: int = 256) -> "Wire[Token]":
        """Opens network access; it keeps at most `connections` connections."""
        from arkcli.wire.trust import ca_bundle
        from arkcli.wire.wire import Wire

        self._wire = Wire(ca_bundle(self.variables), self.clock, connections)
        return self._wire

    @property
    def in_flight(self) -> tuple[int, float]:
        """How many attempts are under way, and within how many seconds they end. A signal handler may ask."""
        return (self._wire.in_flight, self._wire.ends_within()) if self._wire else (0, 0.0)

    @contextmanager
    def sender(
        self, stopping: Callable[[], bool], limits: "Limits | None" = None, connections: int = 256
    ) -> "Iterator[Sender]":
        """Provides a Sender, which makes first attempts, for a block; it stops when `stopping` returns True."""
        from arkcli.delivery.places import Limits
        from arkcli.delivery.send import Sender

        wire = self._kept or self.wire(connections)
        try:
            yield Sender(wire, self.clock, limits or Limits(), self.schedule, stopping)
        finally:
            if self._lasting:
                self._kept = wire
            else:
                wire.close()

    def new_id(self, prefix: str) -> str:
        """A new id: the prefix and 28 hex digits, 12 of time and 16 random, so that ids sort by age."""
        (digits,) = self.new_digits(1)
        return f"{prefix}_{digits}"

    def new_digits(self, count: int) -> list[str]:
        """The digits of `count` new ids: 28 hex digits each."""
        now, random = f"{self.clock.now():012x}", self.randomness(8 * count).hex()
        return [now + random[begin : begin + 16] for begin in range(0, 16 * count, 16)]

    def secret_of(
        self, destination: "Destination", contents: "Contents", read_file: "ReadFile | None" = None
    ) -> Secret:
        """The secret that signs for a destination: its own, or else the shared one. Raises UsageError."""
        if destination.secret is None:
            return self.workspace_secret(contents, read_file)
        return resolve_secret(destination.secret, self.variables, f"the secret of {destination.name}", read_file)

    def routed(
        self, destination: "Destination", contents: "Contents", read_file: "ReadFile | None" = None
    ) -> "Destination":
        """A destination with the URL of the proxy in force, if there is one. Raises UsageError if it is not usable."""
        if (setting := contents.with_proxy(destination).proxy) is None:
            return destination
        import msgspec

        from arkcli.url import NO_PROXY, parse_proxy

        place = f"the proxy of {destination.name}" if destination.proxy is not None else "[network] proxy"
        try:
            found = resolve_secret(setting, self.variables, place, read_file, PROXY)
        except UsageError as error:
            # The error about a file does not say whose proxy it is.
            said = str(error)
            raise UsageError(said if said.startswith(place) else f"{place}: {said}") from None
        text = found.reveal().decode("utf-8", "replace")
        if text == NO_PROXY:
            return msgspec.structs.replace(destination, proxy=None)
        try:
            parse_proxy(text)
        except UsageError as error:
            raise UsageError(f"{place}: {error}") from None
        return msgspec.structs.replace(destination, proxy=Secret(text))

    def workspace_secret(self, contents: "Contents", read_file: "ReadFile | None" = None) -> Secret:
        """The shared signing secret. Raises UsageError, also if there is none."""
        if contents.workspace.secret is None:
            raise UsageError("there is no signing secret yet; `ark dest add URL` or `ark secret rotate` creates one")
        return resolve_secret(contents.workspace.secret, self.variables, "the workspace's secret", read_file)

    def known_secrets(self) -> dict[str, Secret]:
        """Every secret in the environment and the store, by its source. Secrets that cannot be read are left out."""
        from arkcli import times
        from arkcli.actions.overlap import replaced

        known: dict[str, Secret] = {}
        if given := self.variables.get("ARK_SECRET"):
            known["the secret in ARK_SECRET"] = Secret(given)
        with suppress(ArkError):
            contents = self.store.read()
            settings: dict[str, Secret | None] = {}
            owners: list[tuple[str, Destination | Workspace]]
            owners = [(f"the secret of {found.name}", found) for found in contents.destinations]
            for source, owner in (*owners, ("the shared secret", contents.workspace)):
                settings |= {source: owner.secret, f"{source} before the last change": owner.previous}
                for former, at in replaced(owner):
                    if former != owner.previous:
                        settings[f"{source} until {times.to_text(at)}"] = former
            for source, setting in settings.items():
                with suppress(ArkError):
                    if setting is not None:
                        known[source] = resolve_secret(setting, self.variables, source)
        return known

    def endpoint(
        self,
        destination: "Destination",
        contents: "Contents",
        known: "Endpoint | None" = None,
        read_file: "ReadFile | None" = None,
    ) -> "Endpoint":
        """A destination with its secrets and the proxy in force, ready for sending; `known`, the one before, if nothing
        has changed.

        Raises UsageError if the secret or the proxy is not available.
        """
        from arkcli.actions.overlap import scheme_of
        from arkcli.wire.wire import Endpoint

        def before(setting: Secret) -> Secret:
            return resolve_secret(setting, self.variables, "the secret before", read_file)

        secret = self.secret_of(destination, contents, read_file)
        scheme = scheme_of(destination, contents, self.clock.now(), before)
        routed = self.routed(destination, contents, read_file)
        if known is None or (known.destination, known.secret, known.scheme) != (routed, secret, scheme):
            return Endpoint(routed, secret, known, scheme)
        return known

    def endpoints(
        self, destinations: "Iterable[Destination]", contents: "Contents"
    ) -> "tuple[list[Endpoint], dict[str, str]]":
        """Destinations with their secrets, ready for sending; and by name, why others have no usable secret or proxy.

        Raises UsageError if none is usable, though there are some.
        """
        usable: list[Endpoint] = []
        unusable: dict[str, UsageError] = {}
        for destination in destinations:
            try:
                known = self.endpoint(destination, contents, self._endpoints.get(destination.id))
            except UsageError as error:
                unusable[destination.name] = error
                continue
            usable.append(known)
            if self._lasting:
                self._endpoints[destination.id] = known
        if unusable and not usable:
            raise next(iter(unusable.values()))
        return usable, {name: str(error) for name, error in unusable.items()}

    def close(self) -> None:
        """Closes what this home has opened."""
        if self._kept is not None:
            self._kept.close()
        if "queue" in vars(self):
            self.queue.close()
        if "moves" in vars(self):
            self.moves.close()
        if "_database" in vars(self):
            self._database.close()
        if self._writing is not None:
            self._writing.close()
