"""English for numbers, and for how a process ended."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """So many things: `1 line`, `2,000 lines`. `several` is the plural where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def process_ending(status: int | None) -> str:
    """How a process ended, whose exit status (below 0: the signal that killed it) is this."""
    return f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with {status}"
