"""destinations.toml as a row of a database, sealed: dumps, replicas, logs and administrators see no secret in it.

It is sealed as a whole, with AES-256-GCM, because URLs, headers and descriptions contain tokens, too. The key is not in
the database.
"""

import contextlib
import math
import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from arkcli.database.address import resolved
from arkcli.database.connection import Database
from arkcli.errors import InDoubt, Unreachable, Unreadable, UsageError
from arkcli.signing import Concealed
from arkcli.system import files
from arkcli.system.owner import is_private
from arkcli.system.refused import in_words

_READ: Final = "select version, sealed from ark.store"
_LOCK: Final = f"{_READ} for update"
_REPLACE: Final = "update ark.store set version = version + 1, sealed = %s"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
#: For how many seconds a document, or its version, counts as the current one.
_FRESH: Final = 0.25
#: What is kept before anything is: no destination.
_EMPTY: Final = b"version = 1\n"


class KeySource(NamedTuple):
    """Where the key is: in a file, which ark may make, or where ARK_QUEUE_KEY says."""

    file: Path
    given: str | None
    variables: Mapping[str, str]

    @property
    def place(self) -> str:
        """The file, or what ARK_QUEUE_KEY says."""
        return self.given or str(self.file)

    @property
    def name(self) -> str:
        """The place, for the user, as a part of a sentence."""
        return f"{self.given} (ARK_QUEUE_KEY)" if self.given else str(self.file)

    def read(self) -> Concealed | None:
        """The key; None if there is none yet. Raises Unreadable."""
        if self.given is None:
            text = self._in_file()
        elif self.given.partition(":")[0] not in ("env", "file"):
            raise Unreadable("ARK_QUEUE_KEY must be env:NAME or file:PATH, not the key itself")
        else:
            try:
                text = resolved(self.given, self.variables, "ARK_QUEUE_KEY")
            except UsageError as error:
                raise Unreadable(str(error)) from None
        if text is None:
            return None
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise Unreadable(f"the key in {self.name} is not {2 * _KEY_BYTES} hex digits; copy it again, whole")
        return Concealed(key)

    def _in_file(self) -> str | None:
        try:
            with files.open_to_read(self.file) as file:
                found, text = os.fstat(file.fileno()), file.read(1000).decode("ascii", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(f"{self.file} cannot be read: {in_words(error, self.file.parent)}") from error
        if not is_private(found):
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            raise Unreadable(
                f"{self.file} has the key of the queue and other users can read it (mode {mode}); "
                f"run `chmod 600 {shlex.quote(str(self.file))}`"
            )
        return text

    def make(self, key: bytes) -> None:
        """Writes a new key into the file. Raises Unreadable."""
        try:
            files.make_directory(self.file.parent)
            files.replace(self.file, key.hex().encode() + b"\n")
        except OSError as error:
            raise Unreadable(f"{self.file} cannot be written: {in_words(error, self.file.parent)}") from error


class SealedShelf:
    """Keeps the document in `ark.store`, whose `version` counts its changes. Fulfils `shelf.Shelf`."""

    def __init__(
        self,
        database: Database,
        writing: Database,
        key: KeySource,
        monotonic: Callable[[], float],
        randomness: Callable[[int], bytes],
    ) -> None:
        """Reads through `database`, which others may use as well, and changes through `writing`."""
        self._database = database
        self._writing = writing
        self._key = key
        self._monotonic = monotonic
        self._randomness = randomness
        #: Returns when (`monotonic`) somebody last saw which version: then it need not be asked for.
        self.seen: Callable[[], tuple[float, int]] = lambda: (-math.inf, 0)
        self._known: tuple[int, bytes | None] = (-1, None)
        self._version = -1
        self._as_of = -math.inf
        self._cursor: Any = None

    @property
    def name(self) -> str:
        """The database, for the user."""
        return self._database.address.masked

    def begin(self) -> bool:
        """Seals an empty document if there is none, with a new key if there is none; returns whether it made a key.

        Raises Unreadable if there is a document but no key here.
        """
        version, sealed = self._row()
        if sealed is not None:
            self._opened(version, sealed)
            return False
        with self.held():
            if self._row()[1] is not None:
                return False
            is_new = self._key.read() is None
            if is_new:
                # Before the document: a key that opens nothing does no harm.
                self._key.make(self._randomness(_KEY_BYTES))
            self.replace(_EMPTY)
        return is_new

    def read(self) -> bytes | None:
        """The document, at most 0.25 s old; None if there is none. Raises Unreadable and Unreachable."""
        if self._cursor is None and self._known[0] == self._version and self._is_fresh():
            return self._known[1]
        version, sealed = self._row()
        if version != self._known[0]:
            self._known = version, None if sealed is None else self._opened(version, sealed)
        return self._known[1]

    def stamp(self) -> object:
        """The version; while the database cannot be reached, the last one known."""
        if not self._is_fresh():
            with contextlib.suppress(Unreachable, Unreadable):
                self._row()
        return self._version

    def _is_fresh(self) -> bool:
        at, version = self.seen()
        if at > self._as_of:
            self._as_of, self._version = at, version
        return self._monotonic() < self._as_of + _FRESH

    def _row(self) -> tuple[int, bytes | None]:
        """The version, and the document as it is kept."""
        as_of = self._monotonic()
        if self._cursor is not None:
            found = self._cursor.execute(_READ).fetchone()
        else:
            try:
                with self._database.transaction() as cursor:
                    cursor.execute(_READ)
            except InDoubt as error:
                # There was nothing to commit.
                raise Unreachable(f"the database {self.name} does not answer") from error
            found = cursor.fetchone()
        if found is None:
            raise Unreadable(f"the table ark.store in {self.name} is empty; restore it from a backup")
        self._version, self._as_of = found[0], as_of
        return found[0], found[1]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Locks the row during a block. The change counts when the block has ended."""
        with self._writing.transaction(pipelined=False) as cursor:
            cursor.execute(_LOCK)
            self._cursor = cursor
            try:
                yield
            finally:
                self._cursor = None
                self._known, self._as_of = (-1, None), -math.inf

    def replace(self, data: bytes) -> None:
        """Replaces the document, within `held`."""
        assert self._cursor is not None
        version, _ = self._row()
        nonce = self._randomness(_NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(nonce, data, _bound_to(version + 1))
        self._cursor.execute(_REPLACE, (sealed,))

    def _opened(self, version: int, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            cipher, nonce, data = self._cipher(), sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return bytes(cipher.decrypt(nonce, data, _bound_to(version)))
        except (InvalidTag, ValueError):
            raise Unreadable(
                f"the key in {self._key.name} does not open the store in {self.name}: it is another queue's key, or "
                "the row is damaged; copy queue.key from a host that uses this queue"
            ) from None

    def _cipher(self) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._key.read()
        if key is None:
            raise Unreadable(
                f"the store in {self.name} is sealed, and {self._key.file} is missing: copy queue.key from the "
                "configuration directory of a host that uses this queue (`ark config show` prints it there), mode "
                "0600, or name the key in ARK_QUEUE_KEY"
            )
        return AESGCM(key.reveal())


def _bound_to(version: int) -> bytes:
    """What is authenticated beside the document: an older one is not accepted in the place of a newer one."""
    return f"ark store v1 {version}".encode()
