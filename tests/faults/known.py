"""Faults that are known, and to be mended: delete a row when its cells are right."""

#: Parts, faults and commands (all of them: `*`) that fail when they come together, and why.
KNOWN: list[tuple[str, str, str, str]] = [
    (
        "config state queue store",
        "taken-away",
        "*",
        "a home without a store, or without a queue, is taken for a new one",
    ),
    (
        "events event-segment",
        "halved emptied taken-away older newer",
        "*",
        "what the event log lost is named by `queue check` and `doctor`; other commands go on and exit 0",
    ),
    (
        "destinations place",
        "taken-away older newer",
        "*",
        "the command that finds it warns, `queue check` and `doctor` fail; a command that only reads exits 0",
    ),
    (
        "dead-letters",
        "flipped halved emptied taken-away older newer",
        "*",
        "letters that are missing from dead.jsonl are not missed: only damaged ones are named",
    ),
]


def reason_for(part: str, fault: str, command: str) -> str | None:
    """Why a cell is known to fail; None for one that must not."""
    for *rows, reason in KNOWN:
        if all(row == "*" or word in row.split() for word, row in zip((part, fault, command), rows, strict=True)):
            return reason
    return None
