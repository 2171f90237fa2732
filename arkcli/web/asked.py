"""What a browser asks for, and what it gets: pages, and where to go after a change."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from arkcli.errors import UsageError

Item = TypeVar("Item")
#: How many rows a page of a list has, and the last page of a list.
ROWS: Final = 25
_LAST: Final = 400
#: The most fields in a form or a query.
_FIELDS: Final = 50


class Asked(NamedTuple):
    """A request that was let in: its path below the root, its query, and the form that was sent."""

    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def page(self) -> int:
        """The page of a list, from 1."""
        given = self.query.get("page", "")
        return min(max(int(given), 1), _LAST) if given.isdecimal() and len(given) < 9 else 1

    @property
    def is_confirmed(self) -> bool:
        """Whether the question before a change was answered with yes."""
        return self.form.get("yes") == "yes"


class Shown(NamedTuple):
    """A page: the name of its template, and what the template shows."""

    template: str
    values: Mapping[str, Any]
    status: int = 200


class Gone(NamedTuple):
    """After a change: the path to show next, and what to say there; `failed` if it did not come out well."""

    path: str
    said: str = ""
    failed: bool = False


Answer = Shown | Gone
Handler = Callable[..., Answer]


class Part(NamedTuple):
    """The rows of one page of a list. `total` is None if they were not counted."""

    rows: Sequence[Any]
    page: int
    is_last: bool
    total: int | None = None


def fields(text: str) -> dict[str, str]:
    """The fields of a query or a form; the last one of each name. Raises UsageError if there are too many."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS, errors="replace"))
    except ValueError:
        raise UsageError(f"the form has more than {_FIELDS} fields") from None


def part_of(found: Sequence[Any], asked: Asked) -> Part:
    """The page of a list that was asked for; the last one if there are fewer."""
    page = min(asked.page, max(-(-len(found) // ROWS), 1))
    end = page * ROWS
    return Part(found[end - ROWS : end], page, end >= len(found), len(found))


def part_of_many(found: Iterator[Any], asked: Asked) -> Part:
    """The page of a list of unknown length that was asked for."""
    rows = list(islice(found, (asked.page - 1) * ROWS, asked.page * ROWS + 1))
    return Part(rows[:ROWS], asked.page, len(rows) <= ROWS or asked.page == _LAST)
