"""Which CA certificates are trusted, and how libcurl is made to notice that their file has changed."""

from pathlib import Path

#: What is different when a file has been replaced or written to; None where there is no file.
_Stamp = tuple[int, ...] | None


class CaFiles:
    """The CA files that are in use, each with the spelling of its path that libcurl is given.

    libcurl keeps the certificates it has read for a day, and a session that is resumed is not verified again. Both go
    by the path, as kept connections do. So a file that has changed gets another spelling of the same path, and nothing
    that the old content vouched for is used again. Reading a system's bundle takes 8 ms, so reading it for each
    connection would cost five times as much as all else that a connection needs.
    """

    def __init__(self) -> None:
        #: The stamp of each, and how often it has changed.
        self._seen: dict[str, tuple[_Stamp, int]] = {}

    def spelling(self, path: str) -> str:
        """How to spell a path now: as before, unless the file has changed."""
        stamp = _stamp(path)
        before, changes = self._seen.get(path, (stamp, 0))
        changes += stamp != before
        self._seen[path] = stamp, changes
        return _spelled(path, changes)


def _stamp(path: str) -> _Stamp:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _spelled(path: str, changes: int) -> str:
    """Another spelling for each number: its binary digits as `./` and `/`, so that it stays short."""
    if not changes:
        return path
    digits = "".join("./" if digit == "1" else "/" for digit in f"{changes:b}")
    return f"/{digits}{str(Path(path).absolute()).lstrip('/')}"
