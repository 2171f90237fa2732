"""The source of a claimed destination in a drain."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arkcli.errors import Broken
from arkcli.model import Answer, Delivery
from arkcli.queue.engine import Claim

if TYPE_CHECKING:
    from arkcli.delivery.drain import Tally


class Due:
    """The source of a claimed destination: everything that is due."""

    def __init__(
        self,
        claim: Claim,
        tally: "Tally",
        release: Callable[[Claim, str], None],
        broke: Callable[[str, str], None],
    ) -> None:
        self.claim = claim
        self.tally = tally
        #: How the last attempt failed.
        self.error: str | None = None
        self._release = release
        self._broke = broke

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        try:
            return self.claim.take(now, most)
        except Broken as broken:
            self._broke(broken.destination_id, str(broken))
            return ()

    def has_lapsed(self) -> bool:
        return self.claim.has_lapsed

    def not_made(self, answer: Answer) -> None:
        """Nothing to do: the delivery is due again once the claim has been released."""

    def finish(self) -> None:
        self._release(self.claim, self.error or "")
