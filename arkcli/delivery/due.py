"""The source of a claimed destination in a drain."""

from collections.abc import Callable, Sequence

from arkcli.errors import Broken
from arkcli.model import Answer, Delivery
from arkcli.queue.engine import Claim


class Due:
    """The source of a claimed destination: everything that is due."""

    def __init__(
        self,
        claim: Claim,
        release: Callable[[Claim, str], None],
        broke: Callable[[str, str], None],
    ) -> None:
        """`release` is called in the end, with the claim and how the last attempt failed; `broke` with a destination
        whose part of the queue cannot be used, and why.
        """
        self.claim = claim
        #: How the last attempt failed.
        self.error: str | None = None
        self._release = release
        self._broke = broke

    def take(self, now: int, most: int) -> Sequence[Delivery]:
        """See `loop.Source`."""
        try:
            return self.claim.take(now, most)
        except Broken as broken:
            self._broke(broken.destination_id, str(broken))
            return ()

    def has_lapsed(self) -> bool:
        """See `loop.Source`."""
        return self.claim.has_lapsed

    def not_made(self, answer: Answer) -> None:
        """Nothing to do: the delivery is due again once the claim has been released."""

    def finish(self) -> None:
        """Releases the claim."""
        self._release(self.claim, self.error or "")
