"""Faults that are known, and to be mended: delete a row when its cells are right."""

#: Parts, faults and commands (all of them: `*`) that fail when they come together, and why.
KNOWN: list[tuple[str, str, str, str]] = []


def reason_for(part: str, fault: str, command: str) -> str | None:
    """Why a cell is known to fail; None for one that must not."""
    for *rows, reason in KNOWN:
        if all(row == "*" or word in row.split() for word, row in zip((part, fault, command), rows, strict=True)):
            return reason
    return None
