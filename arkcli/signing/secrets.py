"""Reads signing secrets, and other secrets that are kept alike: from a setting, the environment or a file."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO, Final

from arkcli.errors import UsageError
from arkcli.signing import Secret
from arkcli.system.followed import Followed, stamp_of

#: The longest signing secret, in bytes.
_LONGEST: Final = 4096
#: How often to look at a secret file at most, in seconds.
_LOOK_EVERY: Final = 0.25

#: What a secret is, as errors call it.
SIGNING: Final = "signing secret"
TOKEN: Final = "bearer token"
PROXY: Final = "proxy"

#: Reads the secret in a file, given what it is. Raises UsageError.
ReadFile = Callable[[Path, str], Secret]


def reference(setting: Secret) -> str | None:
    """The setting as written if it is a reference (`env:NAME` or `file:PATH`); None if it is the secret itself."""
    kind, colon, _ = setting.reveal().partition(b":")
    return setting.reveal().decode("utf-8", "replace") if colon and kind in (b"env", b"file") else None


def resolve_secret(
    setting: Secret, variables: Mapping[str, str], place: str, read_file: ReadFile | None = None, what: str = SIGNING
) -> Secret:
    """The secret of a setting, which is the secret itself, `env:NAME` or `file:PATH`. Raises UsageError.

    `place` is the setting, and `what` the secret, as the error calls them.
    """
    kind, _, rest = (reference(setting) or "").partition(":")
    if not kind:
        return setting
    try:
        if kind == "env":
            if rest not in variables:
                raise UsageError(f"{place} is env:{rest}, but {rest} is not in the environment; export it")
            return Secret(variables[rest])
        return (read_file or read_secret_file)(Path(rest).expanduser(), what)
    except RuntimeError:
        raise UsageError(f"{_named(rest, what)} cannot be read: there is no such home directory") from None
    except ValueError:
        raise UsageError(f"{place} is empty; give it a value") from None


def read_secret_file(path: Path, what: str = SIGNING) -> Secret:
    """The secret in a file: its only line. `what` it is, for the error. Raises UsageError."""
    place = _named(path, what)
    try:
        with path.open("rb") as file:
            return read_secret(file, place, what)
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror}") from None


def _named(path: Path | str, what: str) -> str:
    return f"the {what.rsplit(maxsplit=1)[-1]} file {path}"


class SecretFiles:
    """Secrets in files, for a long run: as the files are now, or as they were when last readable."""

    def __init__(self, monotonic: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`warn` gets one message when a file can no longer be read."""
        self._monotonic = monotonic
        self._warn = warn
        self._files: dict[Path, Followed[Secret]] = {}
        self._wanted: set[Path] = set()
        self._changes = 0

    def read(self, path: Path, what: str = SIGNING) -> Secret:
        """The secret in a file, as of the last look. Raises UsageError if the file could never be read."""
        self._wanted.add(path)
        if path not in self._files:
            # A pipe, as from `<(command)`, can be read only once.
            once = cache if path.exists() and not path.is_file() else lambda read: read
            read, stamp = once(partial(read_secret_file, path, what)), partial(stamp_of, path)
            self._files[path] = Followed(stamp, read, self._monotonic, self._warn, every=_LOOK_EVERY)
        return self._files[path].value

    def look(self) -> int:
        """Checks the files, each at most four times a second. Returns a number that changes whenever a secret does."""
        self._changes += sum([found.look() for found in self._files.values()])
        return self._changes

    def forget_others(self) -> None:
        """Stops watching files that have not been read since the last call."""
        self._files = {path: found for path, found in self._files.items() if path in self._wanted}
        self._wanted.clear()


def read_secret(stream: BinaryIO, place: str, what: str = SIGNING) -> Secret:
    """The secret in a stream: its only line, without spaces, tabs and line ends around it. Raises UsageError."""
    # Only these bytes, not all of Python's white space: a key may begin or end with any other byte.
    line = stream.read(2 * _LONGEST).strip(b" \t\r\n")
    if not line:
        raise UsageError(f"{place} is empty; write the {what} into it")
    if b"\n" in line:
        raise UsageError(f"{place} has several lines; a {what} is one line, not a PEM key or certificate")
    if len(line) > _LONGEST:
        raise UsageError(f"{place} has more than {_LONGEST:,} bytes; a {what} is one line")
    return Secret(line)
