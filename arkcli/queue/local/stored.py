"""Positions in the engine's files, as fields of events, drafts and deliveries; and sets of positions.

Code outside the engine does not read these fields.
"""

from array import array
from bisect import bisect_left

from arkcli.model import Delivery, Draft, Event
from arkcli.queue.engine import Pending

#: The delivery that an event replaces at a destination: the attempt that would be next there (2 and more; for a dead
#: delivery, one more than there are attempts), and position and length of its journal line or, if dead, of its event's
#: line in the log.
Instead = tuple[int, int, int]


class StoredEvent(Event, frozen=True, gc=False):
    """An event in the log. `position` and `length` say where its line is (bytes).

    `instead` names, by destination, the delivery that this event replaces: so ark retries a delivery now, or revives a
    dead one. It is None for an event sent for the first time, and empty for one sent again that replaces nothing.
    """

    position: int = 0
    length: int = 0
    instead: dict[str, Instead] | None = None


class StoredDraft(Draft, frozen=True, gc=False):
    """An event to be added to the log to send it again. `instead` is as in `StoredEvent`."""

    instead: dict[str, Instead] | None = None


class StoredDelivery(Delivery, frozen=True, gc=False):
    """An attempt that is due.

    `after` is the position and length of the journal line of the failure that it retries; None for a first attempt.
    `instead` is the delivery that a first attempt replaces.
    """

    event: StoredEvent
    after: tuple[int, int] | None = None
    instead: Instead | None = None


class StoredPending(Pending, frozen=True, gc=False):
    """An unfinished delivery.

    `key` identifies it for an event that is to replace it: see `Instead`. It begins with 1 for a delivery that waits
    for its first attempt.
    """

    event: StoredEvent
    key: Instead = (0, 0, 0)


class Positions:
    """A set of positions; a million take 8 MB. Adding is fast if they come roughly in order, as in a log."""

    def __init__(self) -> None:
        #: Sorted, without duplicates.
        self.all = array("q")

    def add(self, position: int) -> bool:
        """Adds a position; False if it was there already."""
        if not self.all or position > self.all[-1]:
            self.all.append(position)
        elif position in self:
            return False
        else:
            self.all.insert(bisect_left(self.all, position), position)
        return True

    def __contains__(self, position: int) -> bool:
        index = bisect_left(self.all, position)
        return index < len(self.all) and self.all[index] == position

    def __len__(self) -> int:
        return len(self.all)
