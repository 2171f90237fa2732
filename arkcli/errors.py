"""The error tree and the exit codes.

ArkError
├── UsageError            2   the request cannot be carried out as given
│   ├── PayloadError          a payload that breaks the contract, and where
│   └── AddressRefused        a URL or an address that is not allowed
├── DeliveryFailed        1   an endpoint did not accept what it was sent
├── NotAccepted           1   the event could not be made durable; nothing was accepted
├── Unfinished           75   the event was accepted, but could not be delivered to the end
├── NotRecorded           1   an outcome could not be recorded, so ark stopped delivering
├── NotAttempted          1   this machine is short of something that every attempt needs
├── Broken                1   one destination's part of the queue cannot be used
│   └── Gone                  1   a destination has no part in the queue (any more)
├── Unreachable           1   the database cannot be reached; nothing was changed
├── InDoubt               1   the connection was lost while the database committed
├── Busy                  1   another process holds what this one needs
│   ├── Held                  another process has claimed a destination
│   └── Filling               the queue is being filled by a move
├── Unreadable           78   the store or the queue cannot be read
│   ├── Moved                78   the queue has been moved to another place
│   ├── Replaced             78   the queue has been removed or replaced while it was in use
│   └── Refused              78   the database refused something for good
└── Interrupted         130   a signal asked ark to stop
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit statuses. 74, 75 and 78 are EX_IOERR, EX_TEMPFAIL and EX_CONFIG from sysexits.h."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNWRITTEN = 74
    RETRYING = 75
    UNREADABLE = 78
    INTERRUPTED = 130


class ArkError(Exception):
    """An error that the user or something outside ark caused.

    The message says what happened, where, and what to do. `code` names the error in JSON.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    #: True when the error has already been printed as part of the output.
    told = False

    def __init_subclass__(cls, code: str, exit_code: ExitCode | None = None) -> None:
        """`exit_code` is by default that of the class above."""
        cls.code, cls.exit_code = code, exit_code or cls.exit_code


class UsageError(ArkError, code="usage", exit_code=ExitCode.USAGE):
    """The request cannot be carried out as given."""


class PayloadError(UsageError, code="payload"):
    """A payload that breaks the contract. The message begins with the path: `$.signal.icp_score: …`."""


class AddressRefused(UsageError, code="address"):
    """A URL that cannot be a destination."""


class DeliveryFailed(ArkError, code="delivery_failed"):
    """An endpoint did not accept what it was sent."""


class NotAccepted(ArkError, code="not_accepted"):
    """The event could not be made durable. The queue is unchanged."""

    def __init__(self, reason: str, what: str) -> None:
        """`reason` says why; `what` says what was accepted all the same, and what to do."""
        super().__init__(f"{reason}: {what}")
        self.reason = reason


class Unfinished(ArkError, code="unfinished", exit_code=ExitCode.RETRYING):
    """The accepted events are queued, but an error kept ark from delivering them. The message says both."""


class NotRecorded(ArkError, code="not_recorded"):
    """An outcome could not be recorded. Nothing is lost; deliveries in flight will be sent again."""


class NotAttempted(ArkError, code="not_attempted"):
    """No attempt can be made, because this machine is short of, say, file descriptors. Nothing is lost."""


class Broken(ArkError, code="broken"):
    """One destination's part of the queue cannot be used. The others are not affected."""

    def __init__(self, destination_id: str, reason: str) -> None:
        """`reason` says what is wrong, where, and what to do."""
        super().__init__(reason)
        self.destination_id = destination_id


class Gone(Broken, code="gone"):
    """A destination has no part in the queue (any more), perhaps because it was just removed."""


class Unreachable(ArkError, code="unreachable"):
    """The database cannot be reached, or could not do what was asked. Nothing was changed there; try again later."""


class InDoubt(ArkError, code="in_doubt"):
    """The connection was lost while the database committed: nobody knows yet whether it did."""


class Busy(ArkError, code="busy"):
    """Another process holds what this one needs."""


class Held(Busy, code="held"):
    """Another process has claimed a destination."""

    def __init__(self, destination_id: str, holder: object) -> None:
        """`str(holder)` names the process that has claimed it."""
        super().__init__(f"{holder} is delivering to {destination_id}")
        self.destination_id = destination_id
        self.holder = holder


class Filling(Busy, code="filling"):
    """A move fills the queue, which cannot be used before it has ended."""

    def __init__(self, name: str, place: str) -> None:
        """`name` says where the queue is, `place` what is moved to it, as text for the user."""
        super().__init__(
            f"{name} is being filled by a move from {place}; nothing was accepted or changed. Try again when it has "
            "ended; if it was interrupted, run it again"
        )


class Unreadable(ArkError, code="unreadable", exit_code=ExitCode.UNREADABLE):
    """The store or the queue cannot be read. The file is untouched."""


class Moved(Unreadable, code="moved"):
    """The queue has been moved, and cannot be used where it was."""

    def __init__(self, name: str, place: str) -> None:
        """`name` says where it was, `place` where it is, as text for the user."""
        super().__init__(
            f"{name} has been moved to {place}: nothing was accepted or changed here. Use it there: set ARK_QUEUE or "
            "[queue] url, or unset it if the queue is in files again. If the move was interrupted, run it again"
        )


class Replaced(Unreadable, code="replaced"):
    """The queue's files have been removed or replaced since this process opened them."""

    def __init__(self, place: str) -> None:
        """`place` says where the queue is."""
        super().__init__(
            f"the queue in {place} was removed or replaced while this process used it: nothing was accepted or "
            "changed. Start it again"
        )


class Refused(Unreadable, code="refused"):
    """The database refused a statement for good: a table is missing, or a permission. Nothing was changed."""

    def __init__(self, message: str, state: str) -> None:
        """`message` is for the user, `state` the SQLSTATE."""
        super().__init__(message)
        self.state = state


class Interrupted(ArkError, code="interrupted", exit_code=ExitCode.INTERRUPTED):
    """SIGINT, SIGTERM or SIGHUP asked ark to stop."""
