"""destinations.toml: the destinations and the signing secret. This module reads it; `shelf` keeps it."""

import contextlib
import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from arkcli import times
from arkcli.contract.headers import check_header
from arkcli.errors import Unreadable, UsageError
from arkcli.model import Destination
from arkcli.signing import Concealed, Secret
from arkcli.store import layout
from arkcli.store.shelf import FileShelf, Shelf
from arkcli.text import pattern

VERSION: Final = 1
_EMPTY: Final = b"version = 1\n"
LONGEST_NAME: Final = 64
NAME: Final = pattern(r"[a-z0-9][a-z0-9._-]{0,63}")
#: msgspec's names of types, and what to call them in messages.
_KINDS: Final = (
    dict.fromkeys(("str", "str | null"), "a string in quotes")
    | dict.fromkeys(("array", "list"), "a list or [[tables]]")
    | dict.fromkeys(("object", "dict"), "a [table]")
    | {"bool": "true or false", "int": "a whole number", "float": "a number", "datetime": "a date and time"}
)
_ID: Final = pattern(r"dst_[a-z0-9]{1,40}")


class Workspace(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Settings for all destinations. `secret` may be `env:NAME` or `file:PATH`. `previous` is the secret before it, and
    `earlier` has those before that, as in a `Destination`.

    `overlap` is how long after `secret_changed_at` (ISO 8601, UTC) Standard Webhooks are also signed with `previous`.
    """

    secret: Secret | None = None
    previous: Secret | None = None
    secret_changed_at: str | None = None
    earlier: list[Secret] = []
    overlap: str = "24h"


class QueueSettings(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`keep` is how long events that are no longer needed are kept for `replay` and `log`.

    `url` names the database that has the queue and all other settings; then the file has nothing else.
    """

    keep: str = "7d"
    url: str | None = None


class NetworkSettings(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`proxy` is for all destinations without their own: a URL, `none`, `env:NAME` or `file:PATH`."""

    proxy: Secret | None = None


class AlertSettings(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`command` is told when a destination has failed for `failing_for`, when a delivery dies, and when it recovers.

    A destination that has failed for `auto_pause_after` is paused.
    """

    command: str | None = None
    failing_for: str = msgspec.field(default="30m", name="after")
    auto_pause_after: str | None = None

    @property
    def are_on(self) -> bool:
        """Whether there is anything to do about a trouble."""
        return self.command is not None or self.auto_pause_after is not None

    @property
    def words(self) -> list[str]:
        """The program and its arguments, split as a shell does; empty if there is no command. Raises ValueError."""
        import shlex

        return shlex.split(self.command or "")


class Contents(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The content of the file."""

    version: int
    workspace: Workspace = msgspec.field(default_factory=Workspace)
    queue: QueueSettings = msgspec.field(default_factory=QueueSettings)
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    alerts: AlertSettings = msgspec.field(default_factory=AlertSettings)
    destinations: list[Destination] = []

    def find(self, name: str) -> Destination | None:
        """The destination with a name or id."""
        return next((found for found in self.destinations if name in (found.name, found.id)), None)

    def with_proxy(self, destination: Destination) -> Destination:
        """A destination with the proxy setting in force for it: its own, else the one for all."""
        if destination.proxy is not None or self.network.proxy is None:
            return destination
        return msgspec.structs.replace(destination, proxy=self.network.proxy)

    def replace(self, destination: Destination) -> None:
        """Puts a changed destination in the place of the one with its id."""
        self.destinations = [destination if known.id == destination.id else known for known in self.destinations]


class Store:
    """The store on a shelf. Reading takes no lock, because the document is always replaced as a whole."""

    def __init__(
        self, directory: Path, shelf: Shelf | None = None, when_empty: Callable[[], None] = lambda: None
    ) -> None:
        """Keeps destinations.toml in a directory, or on another shelf if given.

        `when_empty` is called when it is read and has no destination. What that raises, the reader gets.
        """
        self.path = directory / "destinations.toml"
        self._shelf = shelf or FileShelf(self.path)
        self._when_empty = when_empty
        self._known: tuple[bytes, Contents] | None = None
        #: Whether there was no destination when the file was last read.
        self.was_empty = False

    @property
    def name(self) -> str:
        """Where the content is, for the user."""
        return self._shelf.name

    def read(self) -> Contents:
        """The content; empty if there is no file. Raises Unreadable, which says where."""
        data = self._shelf.read()
        return self._noted(Contents(version=VERSION) if data is None else self._parse(data))

    def read_again(self) -> Contents:
        """The content; the same object as before if unchanged. Raises Unreadable, also if the file has disappeared."""
        data = self._shelf.read()
        if data is None and self._known is not None:
            self._when_empty()
            raise Unreadable(f"{self._shelf.name} is gone; put it back")
        if data is None:
            return self._noted(Contents(version=VERSION))
        if self._known is None or self._known[0] != data:
            self._known = data, self._parse(data)
        return self._noted(self._known[1])

    def _noted(self, contents: Contents) -> Contents:
        self.was_empty = not contents.destinations
        if self.was_empty:
            self._when_empty()
        return contents

    @contextlib.contextmanager
    def change(self) -> Iterator[Contents]:
        """Holds the store during a block, then saves the changed contents in one step.

        The file keeps its comments, order and layout. Saves nothing if the block raises.
        """
        with self._shelf.held():
            kept = self._shelf.read()
            data = _EMPTY if kept is None else kept
            contents = self._parse(data)
            before = _tables(contents)
            yield contents
            self._save(data, before, contents)

    def document(self) -> bytes:
        """The whole content as it is kept, with its comments. Raises Unreadable."""
        return self._shelf.read() or _EMPTY

    def put(self, document: bytes) -> None:
        """Replaces everything. Raises Unreadable."""
        with self._shelf.held():
            self._shelf.replace(document)

    def stamp(self) -> object:
        """A value that changes when the store is changed."""
        return self._shelf.stamp()

    def _save(self, data: bytes, before: layout.Tables, contents: Contents) -> None:
        self._check(contents)
        mark = BOM_UTF8 if data.startswith(BOM_UTF8) else b""
        text = data.decode("utf-8-sig")
        try:
            data = mark + layout.edited(text, before, _tables(contents)).encode()
            kept = self._parse(data)
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object[error.start]!r} is not valid Unicode and cannot be saved") from None
        except UnicodeDecodeError:
            raise UsageError(
                "a secret that is not valid UTF-8 cannot be saved; keep it in a file and give file:PATH"
            ) from None
        except (ValueError, TypeError, LookupError, Unreadable):
            kept = None
        if kept != contents:
            raise Unreadable(
                f"{self._shelf.name} has a layout that ark cannot change without losing comments; nothing was "
                "changed. Write each destination as its own [[destinations]] table, or make the change by hand"
            )
        self._shelf.replace(data)

    def _parse(self, data: bytes) -> Contents:
        if b"\0" in data:
            raise self._wrong(
                "it contains NUL bytes, probably because it is UTF-16 (PowerShell 5 writes that); save it as UTF-8"
            )
        try:
            document = tomllib.loads(data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise self._wrong(f"byte {error.start} is not UTF-8") from None
        except RecursionError:
            raise self._wrong("it is nested too deeply to be read") from None
        except ValueError as error:
            is_value = "Invalid value" in str(error) and "end of document" not in str(error)
            hint = "; put strings in quotes, and write true and false in lowercase" if is_value else ""
            raise self._wrong(f"{error}{hint}") from None
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise self._wrong(f"version {version} is newer than this ark, which reads {VERSION}; update ark", "version")
        if isinstance(version, int) and version < 1:
            raise self._wrong(f"version {version} does not exist; this ark reads {VERSION}", "version")
        try:
            contents = msgspec.convert(document, Contents, dec_hook=_concealed)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$")
            problem = re.sub("`(.*?)`", lambda kind: _KINDS.get(kind[1], kind[0]), problem)
            raise self._wrong(problem, path.removesuffix("`").lstrip(".")) from None
        self._check(contents)
        return contents

    def _check(self, contents: Contents) -> None:
        seen: set[str] = set()
        self._check_duration(contents.queue.keep, "queue.keep")
        self._check_duration(contents.workspace.overlap, "workspace.overlap")
        self._check_times(contents.workspace, "workspace")
        self._check_alerts(contents.alerts)
        for index, destination in enumerate(contents.destinations):
            place = f"destinations[{index}]"
            if not _ID.fullmatch(destination.id):
                raise self._wrong(
                    f"{destination.id!r} is not an id: expected dst_ followed by lowercase letters or digits",
                    f"{place}.id",
                )
            if not NAME.fullmatch(destination.name):
                raise self._wrong(f"{destination.name!r} is not a name: {NAME_RULE}", f"{place}.name")
            for word, key in ((destination.id, "id"), (destination.name, "name")):
                if word in seen:
                    raise self._wrong(f"{word!r} appears twice", f"{place}.{key}")
                seen.add(word)
            self._check_files(destination, place)
            self._check_limits(destination, place)
            self._check_times(destination, place)
            for name, value in destination.headers.items():
                try:
                    check_header(name, value.reveal().decode())
                except UsageError as error:
                    raise self._wrong(str(error), f"{place}.headers") from None

    def _check_alerts(self, alerts: AlertSettings) -> None:
        self._check_duration(alerts.failing_for, "alerts.after")
        self._check_duration(alerts.auto_pause_after or alerts.failing_for, "alerts.auto_pause_after")
        try:
            is_usable = alerts.command is None or (alerts.words and "\0" not in alerts.command)
        except ValueError as error:
            raise self._wrong(f"{error}: it is split into words as a shell does it", "alerts.command") from None
        if not is_usable:
            raise self._wrong("give a program and its arguments, or remove the line", "alerts.command")

    def _check_files(self, destination: Destination, place: str) -> None:
        for key in ("ca_file", "client_cert", "client_key"):
            if "\0" in (getattr(destination, key) or ""):
                raise self._wrong("a file name cannot contain a NUL byte", f"{place}.{key}")
        if (destination.client_cert is None) != (destination.client_key is None):
            raise self._wrong("client_cert and client_key need each other; give both, or neither", place)

    def _check_limits(self, destination: Destination, place: str) -> None:
        try:
            times.parse_rate(destination.rate or "1/s")
        except ValueError as error:
            raise self._wrong(str(error), f"{place}.rate") from None
        if destination.max_in_flight is not None and destination.max_in_flight < 1:
            raise self._wrong("expected a number from 1 up", f"{place}.max_in_flight")

    def _check_duration(self, text: str, place: str) -> None:
        try:
            times.parse_duration(text)
        except ValueError as error:
            raise self._wrong(str(error), place) from None

    def _check_times(self, owner: Workspace | Destination, place: str) -> None:
        text = owner.secret_changed_at
        try:
            times.from_text(text or times.to_text(0))
        except (ValueError, OverflowError):
            what = f"{text!r} is not a time; write it as 2026-11-23T12:00:00Z, or remove the line"
            raise self._wrong(what, f"{place}.secret_changed_at") from None
        try:
            for one in owner.earlier:
                times.from_text(one.reveal().partition(b" ")[0].decode())
        except (ValueError, OverflowError):
            # Without what it is: that may be a secret.
            what = "expected the time at which a secret was replaced, a space and that secret; or remove the line"
            raise self._wrong(what, f"{place}.earlier") from None

    def _wrong(self, problem: str, place: str = "") -> Unreadable:
        where = f"{self._shelf.name}: {place}" if place else self._shelf.name
        return Unreadable(f"{where}: {problem}. ark did not change the file. Fix it and try again")


def _concealed(kind: type[Concealed], value: object) -> Concealed:
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def _tables(contents: Contents) -> layout.Tables:
    plain = msgspec.to_builtins(contents, enc_hook=_revealed)
    listed = {found["id"]: found for found in plain.get("destinations", ())}
    return {name: plain.get(name, {}) for name in layout.SINGLE} | listed


def _revealed(value: Concealed) -> str:
    return value.reveal().decode()


NAME_RULE: Final = "use up to 64 lowercase letters, digits, '.', '_' or '-', and begin with a letter or digit"
