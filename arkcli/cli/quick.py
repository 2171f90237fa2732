"""A fast path for simple `ark sign` and `ark verify`, without Typer, whose import takes several times as long.

It handles only command lines that need no parser: the options below, each once with its value as the next word, and a
body of at most 1 MiB. And it handles only success: everything else, from --help to a wrong signature, is left to the
commands themselves, which then read standard input as if it had not been read. So the fast path never prints anything
that the commands would not print; tests/cli/test_quick.py compares the two.
"""

import os
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from arkcli import signing
from arkcli.signing import Secret

if TYPE_CHECKING:
    from arkcli.cli.session import Session

_SECRETS: Final = {"--secret": "secret", "--secret-file": "secret_file"}
#: The options of each command that the fast path handles, and the parameters they set.
OPTIONS: Final = {"sign": _SECRETS, "verify": {**_SECRETS, "--signature": "signature", "-s": "signature"}}
_LARGEST: Final = 1024 * 1024


def run(args: Sequence[str], session: "Session") -> bool:
    """Runs a command line and returns True; returns False, with nothing done, if the full command must run."""
    given = parse(args)
    if given is None or any(name.startswith("_ARK_COMPLETE") for name in session.variables):
        return False
    secret = _secret(given, session)
    body = None if secret is None else _body(given.get("file", "-"), session)
    if secret is None or body is None:
        return False
    said = "valid"
    if args[0] == "sign":
        said = signing.sign(secret, body)
    elif not signing.verify(secret, body, given["signature"]):
        return False
    output = session.output()
    output.result({}, said, always=True)
    return output.lost is None


def parse(args: Sequence[str]) -> dict[str, str] | None:
    """The values of a command line, by parameter; None if it needs the parser."""
    options = OPTIONS.get(args[0]) if args else None
    if options is None:
        return None
    given: dict[str, str] = {}
    words = iter(args[1:])
    for word in words:
        name, value = (options[word], next(words, "")) if word in options else ("file", word)
        if not value or name in given or (value.startswith("-") and (name, value) != ("file", "-")):
            return None
        given[name] = value
    return given if args[0] == "sign" or "signature" in given else None


def _secret(given: dict[str, str], session: "Session") -> Secret | None:
    """The one secret that was given; None if there are several, none, or it cannot be read."""
    texts = [given["secret"]] if "secret" in given else []
    if "secret_file" in given:
        from pathlib import Path

        from arkcli.errors import ArkError
        from arkcli.signing.secrets import read_secret_file

        try:
            return None if texts else read_secret_file(Path(given["secret_file"]))
        except ArkError:
            return None
    text = texts[0] if texts else session.variables.get("ARK_SECRET")
    return Secret(text) if text else None


def _body(file: str, session: "Session") -> bytes | None:
    """The body; None if it is too large or cannot be read twice. Standard input is then restored."""
    if file != "-":
        return _contents(file)
    stdin = session.stdin
    try:
        body = stdin.read(_LARGEST + 1)
    except (OSError, KeyboardInterrupt) as error:
        # The full command will meet the same error and report it.
        session.stdin = cast("BinaryIO", _Again(b"", _raising(error)))
        return None
    session.stdin = cast("BinaryIO", _Again(body, stdin.read))
    return body if len(body) <= _LARGEST else None


def _contents(file: str) -> bytes | None:
    try:
        # A pipe, for example, can be read only once.
        if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - pathlib would take 10 % of the time
            return None
        with open(file, "rb") as opened:  # noqa: PTH123 - the same
            body = opened.read(_LARGEST + 1)
    except (OSError, ValueError):
        return None
    return body if len(body) <= _LARGEST else None


def _raising(error: BaseException) -> Callable[[int], bytes]:
    def read(_: int) -> bytes:
        raise error

    return read


class _Again:
    """A stream that repeats what has been read from it already, then continues."""

    def __init__(self, begun: bytes, rest: Callable[[int], bytes]) -> None:
        self._begun = begun
        self._rest = rest

    def read(self, size: int) -> bytes:
        piece, self._begun = self._begun[:size], self._begun[size:]
        return piece or self._rest(size)
