"""Sets of positions that may be large: a million take 8 MB."""

from array import array
from bisect import bisect_left


class Positions:
    """Some positions. Adding is quick where they come more or less in order, as they do in a log."""

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
