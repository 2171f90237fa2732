"""Which CA certificates ark trusts, and how to make libcurl notice that their file has changed."""

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
#: Where macOS keeps the certificates that it trusts. Those that a company or a user adds are in no file.
KEYCHAIN: Final = Path("/System/Library/Keychains/SystemRootCertificates.keychain")


def ca_bundle(variables: Mapping[str, str]) -> str:
    """The file of CA certificates to trust: SSL_CERT_FILE, else the system's, else certifi's."""
    found = variables.get("SSL_CERT_FILE") or next((path for path in _BUNDLES if Path(path).is_file()), None)
    if found is None:
        # Imported here because it takes 2 ms and is seldom needed.
        import certifi

        found = str(certifi.where())
    return found


def is_keychain_trusted(ca_file: str, keychain: Path = KEYCHAIN) -> bool:
    """Whether to trust what the system's keychain trusts, too: where there is one, and `ca_file` is the system's file
    (in whatever spelling), not one that the user has named. Only libcurl can look into the keychain.
    """
    return str(Path(ca_file)) in _BUNDLES and keychain.exists()


class CaFiles:
    """The CA files in use, each with the spelling of its path that libcurl gets.

    libcurl caches certificates for a day and does not verify a resumed TLS session again. It keys both, and its kept
    connections, by path. When a file changes, `ark` therefore spells its path differently, so that libcurl uses nothing
    that depends on the old content. Without the cache, reading the system's bundle (8 ms) would cost five times as much
    as the rest of a connection.
    """

    def __init__(self) -> None:
        #: By path: the file's stamp, and how often it has changed.
        self._seen: dict[str, tuple[object, int]] = {}

    def spelling(self, path: str) -> str:
        """The spelling of a path: the same as before, unless the file has changed."""
        stamp = stamp_of(Path(path))
        before, changes = self._seen.get(path, (stamp, 0))
        changes += stamp != before
        self._seen[path] = stamp, changes
        return _spelled(path, changes)


def _spelled(path: str, changes: int) -> str:
    """A different spelling for each number: its binary digits as `./` and `/`, so that it stays short."""
    if not changes:
        return path
    digits = "".join("./" if digit == "1" else "/" for digit in f"{changes:b}")
    return f"/{digits}{str(Path(path).absolute()).lstrip('/')}"
