"""Where in the engine's files something stands: the tickets of events, drafts and deliveries, and sets of positions.

Nobody else reads them.
"""

from array import array
from bisect import bisect_left

from arkcli.model import Delivery, Draft, Event
from arkcli.queue.engine import Pending

#: What an event may take the place of at a destination: the attempt that would have been next there (2 and more; one
#: more than there are attempts for a dead delivery), and position and length of the journal line, or of the dead
#: event's line, that it stands on.
Instead = tuple[int, int, int]


class StoredEvent(Event, frozen=True, gc=False):
    """An event in the log. `position` and `length` say where its line is (bytes).

    `instead` says for some destinations which delivery it takes the place of: that is how a delivery is retried now,
    and a dead one revived. It is None for an event that is sent for the first time, and empty for one that is sent
    again beside nothing that waits.
    """

    position: int = 0
    length: int = 0
    instead: dict[str, Instead] | None = None


class StoredDraft(Draft, frozen=True, gc=False):
    """An event on its way into the log, sent again. `instead` is as in `StoredEvent`."""

    instead: dict[str, Instead] | None = None


class StoredDelivery(Delivery, frozen=True, gc=False):
    """An attempt that is due.

    `after` is the position and length of the journal line that this attempt is the retry of; None for the first.
    `instead` is what a first attempt takes the place of.
    """

    event: StoredEvent
    after: tuple[int, int] | None = None
    instead: Instead | None = None


class StoredPending(Pending, frozen=True, gc=False):
    """A delivery that is not done.

    `key` says which one it is, for an event that is to take its place: see `Instead`. It begins with 1 for a delivery
    that waits for its first attempt.
    """

    event: StoredEvent
    key: Instead = (0, 0, 0)


class Positions:
    """A set of positions; a million take 8 MB. Adding is quick where they come more or less in order, as in a log."""

    def __init__(self) -> None:
        #: Without repetitions, in order.
        self.all = array("q")

    def add(self, position: int) -> bool:
        """Takes one in; False when it was there already."""
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
