"""Where a signing secret may stand: in a setting, in the environment, in a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from arkcli.errors import UsageError
from arkcli.signing import Secret

#: A signing secret is no longer, in bytes.
_LONGEST: Final = 4096


def reference(setting: Secret) -> str | None:
    """What a setting that is not itself the secret refers to, as it was written: `env:NAME` or `file:PATH`."""
    kind, colon, _ = setting.reveal().partition(b":")
    return setting.reveal().decode("utf-8", "replace") if colon and kind in (b"env", b"file") else None


def resolve_secret(setting: Secret, variables: Mapping[str, str], place: str) -> Secret:
    """The secret that a setting means: itself, `env:NAME` or `file:PATH`. Raises UsageError."""
    kind, _, rest = (reference(setting) or "").partition(":")
    if not kind:
        return setting
    try:
        if kind == "env":
            if rest not in variables:
                raise UsageError(f"{place} is env:{rest}, but {rest} is not in the environment; export it")
            return Secret(variables[rest])
        return read_secret_file(Path(rest).expanduser())
    except RuntimeError:
        raise UsageError(f"the secret file {rest} cannot be read: there is no such home directory") from None
    except ValueError:
        raise UsageError(f"{place} is empty; give it a value") from None


def read_secret_file(path: Path) -> Secret:
    """The secret in a file: its one line. Raises UsageError."""
    try:
        with path.open("rb") as file:
            return read_secret(file, f"the secret file {path}")
    except OSError as error:
        raise UsageError(f"the secret file {path} cannot be read: {error.strerror}") from None


def read_secret(stream: BinaryIO, place: str) -> Secret:
    """The secret in a stream: its one line, without white space around it. Raises UsageError."""
    text = stream.read(_LONGEST + 1)
    line = text.strip()
    if not line:
        raise UsageError(f"{place} is empty; put the signing secret into it")
    if b"\n" in line:
        raise UsageError(f"{place} has several lines; a signing secret is one line, and no key or certificate in PEM")
    if len(text) > _LONGEST:
        raise UsageError(f"{place} has more than {_LONGEST:,} bytes; a signing secret is one line")
    return Secret(line)
