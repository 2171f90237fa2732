"""English for numbers."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """So many things: `1 line`, `2,000 lines`. `several` is the plural where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
