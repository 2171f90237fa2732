"""Where a signing secret may stand: in a setting, in the environment, in a file."""

from collections.abc import Mapping
from pathlib import Path

from arkcli.errors import UsageError
from arkcli.signing import Secret


def resolve_secret(text: str, variables: Mapping[str, str], place: str) -> Secret:
    """The secret that a setting means: itself, `env:NAME` or `file:PATH`. Raises UsageError."""
    kind, colon, rest = text.partition(":")
    try:
        if colon and kind == "env":
            if rest not in variables:
                raise UsageError(f"{place} is env:{rest}, but {rest} is not in the environment; export it")
            return Secret(variables[rest])
        if colon and kind == "file":
            return read_secret_file(Path(rest).expanduser())
        return Secret(text)
    except RuntimeError:
        raise UsageError(f"the secret file {rest} cannot be read: there is no such home directory") from None
    except ValueError:
        raise UsageError(f"{place} is empty; give it a value") from None


def read_secret_file(path: Path) -> Secret:
    """The secret in a file: all of it but white space around it. Raises UsageError."""
    try:
        return Secret(path.read_bytes().strip())
    except OSError as error:
        raise UsageError(f"the secret file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"the secret file {path} is empty; put the signing secret into it") from None
