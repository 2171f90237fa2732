"""Where a database is: a URL as libpq reads it, with safer defaults. No message and no screen shows its password."""

import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from arkcli.errors import UsageError

_SCHEMES: Final = ("postgresql", "postgres")
#: Parameters that are never shown.
_SECRET: Final = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._:%-]*|[/@][^,]*)(?:,(?:[A-Za-z0-9._:%-]*|[/@][^,]*))*")
_PORT: Final = re.compile(r"[0-9]*(?:,[0-9]*)*")
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.[0-9]+){3}|::1|[/@].*", re.IGNORECASE)
_ENCODE: Final = "write @ : / ? # % and spaces in a user name or password as %40 %3A %2F %3F %23 %25 %20"


class Address(NamedTuple):
    """Where a database is. `parameters` are for libpq, and have the password; `masked` is the URL for the screen.

    `prepare`: whether statements may be prepared. `is_local`: the connection stays on this machine.
    """

    parameters: Mapping[str, str]
    masked: str
    prepare: bool
    is_local: bool = False


def address_of(text: str, variables: Mapping[str, str], place: str = "ARK_QUEUE", ca_file: str = "system") -> Address:
    """The address that a URL, or `env:NAME` or `file:PATH` with one, names. `place` is where the text is from.

    Unless the URL (or PGSSLMODE) says otherwise, the server's certificate must be valid for its name, and be signed by
    an authority in `ca_file`; a socket or a loopback address needs none. Raises UsageError, also if the driver is not
    installed; the message never shows the URL.
    """
    url = resolved(text, variables, place)
    scheme, colon, _ = url.partition("://")
    if not colon or scheme not in _SCHEMES:
        # Only a word that cannot be part of a password.
        named = f" at {scheme}://" if colon and re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme) else " there"
        instead = "`local`" if place == "URL" else "leave it out"
        raise UsageError(f"{place}: ark keeps no queue{named}; give postgresql://USER@HOST/DATABASE, or {instead}")
    check_installed()
    if not url.isprintable() or " " in url:
        raise UsageError(f"{place} cannot be read: it contains white space or a control character; {_ENCODE}")
    url, prepare = _without_prepare(url, place)
    parameters = _parsed(url, place)
    masked = _masked(parameters, prepare=prepare)
    hosts = parameters.get("hostaddr") or parameters.get("host") or variables.get("PGHOSTADDR", variables.get("PGHOST"))
    is_service = "service" in parameters or "PGSERVICE" in variables
    is_local = not is_service and all(_LOOPBACK.fullmatch(host or "/") for host in (hosts or "").split(","))
    if not is_local and "sslmode" not in parameters and not variables.get("PGSSLMODE"):
        parameters["sslmode"] = "verify-full"
    # What `system` means to a libpq that was built elsewhere is a directory that does not exist here.
    if parameters.get("sslrootcert", "" if parameters.get("sslmode") == "verify-full" else None) in ("", "system"):
        parameters["sslrootcert"] = ca_file
    return Address(parameters, masked, prepare, is_local)


def resolved(text: str, variables: Mapping[str, str], place: str) -> str:
    """The text itself, or what `env:NAME` or `file:PATH` leads to, without white space around it. Raises UsageError."""
    kind, _, rest = text.partition(":")
    if kind == "env":
        if rest not in variables:
            raise UsageError(f"{place} is env:{rest}, but {rest} is not in the environment; export it")
        text = variables[rest]
    elif kind == "file":
        try:
            text = Path(rest).expanduser().read_text("utf-8")
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not a text file below a directory that exists"
            raise UsageError(f"{place} is file:{rest}, which cannot be read: {why}") from None
    if not text.strip():
        raise UsageError(
            f"{place} is {kind}:{rest}, which is empty" if kind in ("env", "file") else f"{place} is empty"
        )
    return text.strip()


def check_installed() -> None:
    """Raises UsageError, with the command to type, unless the extra `postgres` is installed."""
    if all(find_spec(name) for name in ("psycopg", "cryptography")):
        return
    is_pipx = "pipx" in Path(sys.prefix).parts
    command = "pipx inject arkcli 'psycopg[binary]' cryptography" if is_pipx else "pip install 'arkcli[postgres]'"
    raise UsageError(f"a queue in PostgreSQL needs packages that are not installed; run `{command}`")


def _without_prepare(url: str, place: str) -> tuple[str, bool]:
    """The URL without ark's own parameter `prepare`, and its value."""
    head, _, query = url.partition("?")
    pairs = query.split("&") if query else []
    own = [pair for pair in pairs if pair.partition("=")[0] == "prepare"]
    if any(pair not in ("prepare=on", "prepare=off") for pair in own):
        raise UsageError(f"{place}: prepare must be on or off")
    others = "&".join(pair for pair in pairs if pair not in own)
    return f"{head}?{others}" if others else head, "prepare=off" not in own


def _parsed(url: str, place: str) -> dict[str, str]:
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except Error as error:
        unknown = re.search(r'invalid URI query parameter: "([a-z_]+)"', str(error))
        why = f"it has an unknown parameter, {unknown[1]}" if unknown else _ENCODE
        raise UsageError(f"{place} cannot be read: {why}") from None
    # A password with a character that ends it is read as a host, a port and a database.
    if not _HOST.fullmatch(found.get("host", "")) or not _PORT.fullmatch(found.get("port", "")) or "@" in found.get(
        "dbname", ""
    ):  # fmt: skip
        raise UsageError(f"{place} cannot be read: its host, port or database is not one; {_ENCODE}")
    return found


def _masked(parameters: Mapping[str, str], *, prepare: bool) -> str:
    left = dict(parameters)
    who = quote(left.pop("user", ""), safe="") + (":***" if left.pop("password", None) else "")
    hosts = left.get("host", "").split(",")
    where = ""
    if all(not host.startswith(("/", "@")) for host in hosts):
        ports = left.pop("port", "").split(",")
        ports *= len(hosts) if len(ports) == 1 else 1
        names = (f"[{host}]" if ":" in host else host for host in hosts)
        where = ",".join(f"{name}:{port}" if port else name for name, port in zip(names, ports, strict=False))
        left.pop("host", None)
    name = quote(left.pop("dbname", ""), safe="")
    pairs = [f"{key}={'***' if key in _SECRET else quote(value, safe='/:@,')}" for key, value in left.items()]
    pairs += [] if prepare else ["prepare=off"]
    query = f"?{'&'.join(pairs)}" if pairs else ""
    return f"postgresql://{who}{'@' if who else ''}{where}/{name}{query}"
