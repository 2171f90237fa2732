"""Known failures that should be fixed. Delete a row when its cells pass."""

_READERS = "dest-list queue queue-list queue-repair"
_FULL = "`the disk is full` does not say where"
_LESS = "what the log has lost is missing without a word, exit 0; queue check and doctor name it"
_GONE = "what a place has lost is missing with a warning at most, exit 0; queue check and doctor name it"
_LETTERS = "nothing compares the dead letters with the journal"
_FORGOTTEN = "attempts that a journal has lost are missing without a word, exit 0"
#: Combinations of part, fault and command (`*`: all) that fail, and why.
KNOWN = [
    ("config store", "taken-away", "*", "a store that vanished is taken for one that never was"),
    ("state queue", "taken-away", "*", "a queue that vanished is taken for one that never was"),
    ("state queue events", "full", "send send-ndjson send-queue queue-retry", _FULL),
    ("events event-segment", "older", f"{_READERS} drain", _LESS),
    ("event-segment", "halved", f"{_READERS} drain", _LESS),
    ("events event-segment", "taken-away emptied flipped", f"{_READERS} drain replay", _LESS),
    ("destinations place", "taken-away", f"{_READERS} queue-show log", _GONE),
    ("dead-letters", "taken-away halved emptied", "*", _LETTERS),
    ("dead-letters", "flipped", "queue-list", "a damaged dead letter is missing without a word, exit 0"),
    ("journal journal-segment", "taken-away flipped halved emptied", "log", _FORGOTTEN),
    ("destinations", "older", "log", _FORGOTTEN),
]


def reason_for(part: str, fault: str, command: str) -> str | None:
    """Why a cell is known to fail; None if it must pass."""
    for *row, reason in KNOWN:
        if all(at == "*" or word in at.split() for word, at in zip((part, fault, command), row, strict=True)):
            return reason
    return None
