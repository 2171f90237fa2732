"""Tables: drawn under headings on a terminal, tab-separated when piped."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from arkcli.output.screen import Screen, plain
from arkcli.text import columns_of

#: Narrowest width of a folded column, in characters. If the table is still too wide, its rows are printed as records.
_SLIM: Final = 12
#: Words of up to this many characters stay whole, as ids do; longer ones if they take up to half the width.
_WHOLE: Final = 32


class Table(NamedTuple):
    """Rows under headings: aligned on a terminal, tab-separated and without headings when piped."""

    headings: Sequence[str]
    rows: Sequence[Sequence[object]]


class Prose(str):
    """A sentence for people: broken between words on a terminal. `indent` begins each line but the first."""

    indent = "  "


class Column(NamedTuple):
    """A column of streamed rows. `width` is in characters; 0 in the last column means any width."""

    heading: str
    width: int = 0
    right: bool = False


def draw(table: Table, screen: Screen) -> None:
    """Prints a table on a screen, aligned if it is a terminal."""
    if not table.rows:
        return
    if not screen.is_terminal:
        screen.stream.writelines("\t".join(map(screen.cell, row)) + "\n" for row in table.rows)
        return
    from rich.table import Table as RichTable
    from rich.text import Text

    least = _least_widths(table, screen.width)
    if _joined(width for width, _ in least) > screen.width:
        _draw_records(table, screen)
        return
    drawn = RichTable(box=None, show_header=any(table.headings), pad_edge=False, header_style="bold")
    for heading, (width, whole) in zip(table.headings, least, strict=True):
        drawn.add_column(heading, overflow="fold", min_width=width, no_wrap=whole)
    for row in table.rows:
        drawn.add_row(*(Text.from_ansi(screen.cell(value)) for value in row))
    screen.console().print(drawn)


def fitting(table: Table, width: int, spare: Sequence[str], rather: Sequence[str] = ()) -> Table:
    """The table with each row on one line of this width, as far as leaving out `spare` columns, in this order, helps.

    If the rest is too wide, cells will be folded; the columns in `rather` are left out before rows become records.
    """
    if not table.rows:
        return table
    for heading in spare:
        if needed(table) <= width:
            return table
        table = _without(table, heading)
    for heading in rather if needed(table) > width else ():
        if _joined(least for least, _ in _least_widths(table, width)) <= width:
            break
        table = _without(table, heading)
    return table


def needed(table: Table) -> int:
    """The width, in columns, at which each row is one line."""
    cells = zip(*((map(columns_of, map(plain, row))) for row in (table.headings, *table.rows)), strict=True)
    return _joined(map(max, cells))


def _joined(widths: Iterable[int]) -> int:
    """The width of columns beside each other: two spaces separate them."""
    return sum(width + 2 for width in widths) - 2


def _without(table: Table, heading: str) -> Table:
    kept = [number for number, known in enumerate(table.headings) if known != heading]
    return Table([table.headings[number] for number in kept], [[row[number] for number in kept] for row in table.rows])


def _draw_records(table: Table, screen: Screen) -> None:
    """Prints a table that is too wide as records: one line per cell, a blank line between rows."""
    label = max(map(len, table.headings))
    records = (
        [
            screen.folded(f"{heading.ljust(label)} {screen.cell(cell)}", " " * (label + 1))
            for heading, cell in zip(table.headings, row, strict=True)
        ]
        for row in table.rows
    )
    screen.stream.write("\n\n".join("\n".join(lines) for lines in records) + "\n")


def _least_widths(table: Table, width: int) -> list[tuple[int, bool]]:
    """For each column, what `_least` says on a terminal of this width."""
    columns = zip(table.headings, *(map(plain, row) for row in table.rows), strict=True)
    return [_least(heading, cells, max(width // 2, _WHOLE)) for heading, *cells in columns]


def _least(heading: str, cells: Sequence[str], longest: int) -> tuple[int, bool]:
    """The least width at which no word of a column is broken, and whether it must stay whole, as an id must."""
    widest = max(map(len, cells))
    if widest <= longest and not any(" " in text for text in cells):
        return max(len(heading), widest), True
    words = max(len(word) for text in (heading, *cells) for word in text.split() or "-")
    # A word that takes half the width, such as a URL, is broken where it has to be.
    return words if words <= longest else max(*map(len, heading.split()), 0, min(widest, _SLIM)), False


def narrowed(widths: Mapping[str, int], narrower: Iterable[tuple[str, int]], width: int) -> dict[str, int]:
    """The widths of columns by their headings, made narrower one by one in the given order until a row fits.

    A column of width 0 is left out.
    """
    found = dict(widths)
    for heading, less in narrower:
        shown = [size for size in found.values() if size]
        if sum(shown) + 2 * (len(shown) - 1) > width:
            found[heading] = min(found[heading], less)
    return {heading: size for heading, size in found.items() if size}


def fitted(text: str, column: Column) -> str:
    """A cell's text, filled to its column's width; cut if it is too long and not a number."""
    from rich.cells import cell_len, set_cell_size

    if column.width and not column.right and cell_len(text) > column.width:
        text = f"{set_cell_size(text, column.width - 1)}…"
    fill = " " * (column.width - cell_len(text))
    return fill + text if column.right else text + fill
