"""Which CA certificates are trusted, and how libcurl is made to notice that their file has changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from arkcli.system.followed import stamp_of

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def ca_bundle(variables: Mapping[str, str]) -> str:
    """The CA certificates to trust: SSL_CERT_FILE, else the system's, else those that certifi brings."""
    found = variables.get("SSL_CERT_FILE") or next((path for path in _BUNDLES if Path(path).is_file()), None)
    if found is None:
        # Seldom needed, and it takes 2 ms to import.
        import certifi

        found = str(certifi.where())
    return found


class CaFiles:
    """The CA files that are in use, each with the spelling of its path that libcurl is given.

    libcurl keeps the certificates it has read for a day, and a session that is resumed is not verified again. Both go
    by the path, as kept connections do. So a file that has changed gets another spelling of the same path, and nothing
    that the old content vouched for is used again. Reading a system's bundle takes 8 ms, so reading it for each
    connection would cost five times as much as all else that a connection needs.
    """

    def __init__(self) -> None:
        #: The stamp of each, and how often it has changed.
        self._seen: dict[str, tuple[object, int]] = {}

    def spelling(self, path: str) -> str:
        """How to spell a path now: as before, unless the file has changed."""
        stamp = stamp_of(Path(path))
        before, changes = self._seen.get(path, (stamp, 0))
        changes += stamp != before
        self._seen[path] = stamp, changes
        return _spelled(path, changes)


def _spelled(path: str, changes: int) -> str:
    """Another spelling for each number: its binary digits as `./` and `/`, so that it stays short."""
    if not changes:
        return path
    digits = "".join("./" if digit == "1" else "/" for digit in f"{changes:b}")
    return f"/{digits}{str(Path(path).absolute()).lstrip('/')}"
