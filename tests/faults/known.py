"""Faults that are known, to be mended: delete a row when it is right."""

from fnmatch import fnmatch

#: (part, fault, command, why); `*` and `?` stand for what they do in the names of files.
KNOWN: list[tuple[str, str, str, str]] = []


def reason_for(part: str, fault: str, command: str) -> str | None:
    """Why a cell is known to fail; None for one that must not."""
    cell = (part, fault, command)
    return next((why for *row, why in KNOWN if all(map(fnmatch, cell, row))), None)
