"""Pages of the event log, read once per process and shared by all its destinations."""

from collections import OrderedDict
from typing import Final, NamedTuple

from arkcli.queue.postgres.access import Access
from arkcli.queue.postgres.log import PAGE, PAGE_SIZE
from arkcli.queue.postgres.stored import StoredEvent, event_of

#: What has been recorded of a destination's deliveries, in a range of the log.
_KNOWN: Final = """
select seq from ark.attempt where destination = %(destination)s and seq between %(begin)s and %(end)s
union all
select seq from ark.pending where destination = %(destination)s and seq between %(begin)s and %(end)s
"""
#: The most bytes of bodies to keep, apart from the page read last.
_MOST: Final = 16 * 1024 * 1024


class _Page(NamedTuple):
    """The events with numbers from `begin` to `end`."""

    begin: int
    end: int
    events: dict[int, StoredEvent]
    size: int


class Pages:
    """The pages read last."""

    def __init__(self, access: Access) -> None:
        """Reads nothing yet."""
        self._access = access
        self._pages: OrderedDict[int, _Page] = OrderedDict()
        self._size = 0

    def waiting(self, destination: int, destination_id: str, position: int) -> tuple[list[int], int]:
        """The numbers of events for a destination of which nothing is recorded, in the page that has the event
        `position`; and the number after that page.
        """
        page = self._find(position)
        end = position + PAGE_SIZE - 1 if page is None else page.end
        with self._access.transaction() as cursor:
            if page is None:
                cursor.execute(PAGE, (position, PAGE_SIZE))
            known = cursor.connection.cursor(binary=True)
            known.execute(_KNOWN, {"destination": destination, "begin": position, "end": end})
        if page is None:
            page = self._keep(position, list(map(event_of, cursor.fetchall())))
        done = {seq for (seq,) in known.fetchall()}
        found = [
            seq
            for seq, event in page.events.items()
            if seq >= position and seq not in done and (event.to is None or destination_id in event.to)
        ]
        return found, page.end + 1

    def event(self, seq: int) -> StoredEvent:
        """The event with a number that `waiting` returned."""
        page = self._find(seq)
        if page is None:
            page = self._keep(seq, [event_of(row) for row in self._access.rows(PAGE, (seq, PAGE_SIZE))])
        return page.events[seq]

    def _find(self, seq: int) -> _Page | None:
        for begin, page in reversed(self._pages.items()):
            if begin <= seq <= page.end:
                self._pages.move_to_end(begin)
                return page
        return None

    def _keep(self, begin: int, events: list[StoredEvent]) -> _Page:
        end = events[-1].seq if events else max(self._access.last, begin)
        page = _Page(begin, end, {event.seq: event for event in events}, sum(len(event.body) for event in events))
        if begin in self._pages:
            self._size -= self._pages.pop(begin).size
        while self._pages and self._size + page.size > _MOST:
            _, oldest = self._pages.popitem(last=False)
            self._size -= oldest.size
        if events:
            self._pages[begin] = page
            self._size += page.size
        return page

    def clear(self) -> None:
        """Forgets everything."""
        self._pages.clear()
        self._size = 0
