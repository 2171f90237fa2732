"""The error tree and the exit codes.

ArkError
├── UsageError            2   what was asked for cannot be done as asked
│   ├── PayloadError          a payload that breaks the contract, with the place in it
│   └── AddressRefused        a URL or an address that may not be dialled
├── DeliveryFailed        1   an endpoint did not take what it was sent
├── NotAccepted           1   the event could not be made durable; nothing was accepted
├── Unfinished           75   it was accepted, and something got in the way of delivering it
├── NotRecorded           1   an outcome could not be written down, so delivering stopped
├── NotAttempted          1   this machine is short of something that every attempt needs
├── Broken                1   one destination's part of the queue cannot be used
│   └── Gone                  1   a destination has no part in the queue (any more)
├── Busy                  1   another process holds what this one needs
│   └── Held                  another process has claimed a destination
├── Unreadable           78   the store or the queue cannot be read
└── Interrupted         130   told to stop
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the exit status says (74, 75 and 78 are sysexits.h's EX_IOERR, EX_TEMPFAIL and EX_CONFIG)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNWRITTEN = 74
    RETRYING = 75
    UNREADABLE = 78
    INTERRUPTED = 130


class ArkError(Exception):
    """Anything a user or the world can cause.

    The message says what happened, where, and what to do. `code` is the word for it in JSON.
    """

    code: ClassVar[str] = "failed"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    #: Whether the user has read it already, amid what came before it.
    told = False


class UsageError(ArkError):
    """What was asked for cannot be done as asked."""

    code = "usage"
    exit_code = ExitCode.USAGE


class PayloadError(UsageError):
    """A payload that breaks the contract. The message begins with the place: `$.signal.icp_score: …`."""

    code = "payload"


class AddressRefused(UsageError):
    """A URL that may not be a destination."""

    code = "address"


class DeliveryFailed(ArkError):
    """An endpoint did not take what it was sent."""

    code = "delivery_failed"


class NotAccepted(ArkError):
    """The event could not be made durable. The queue is as it was before."""

    code = "not_accepted"

    def __init__(self, reason: str, what: str) -> None:
        """`reason` is why, and `what` says what was accepted nevertheless, and what to do."""
        super().__init__(f"{reason}: {what}")
        self.reason = reason


class Unfinished(ArkError):
    """What was accepted is queued, and something got in the way of delivering it. The message says both."""

    code = "unfinished"
    exit_code = ExitCode.RETRYING


class NotRecorded(ArkError):
    """An outcome could not be written down. Nothing is lost; what was in flight will be sent again."""

    code = "not_recorded"


class NotAttempted(ArkError):
    """No attempt can be made: this machine is short of file descriptors, say. Nothing is lost."""

    code = "not_attempted"


class Broken(ArkError):
    """One destination's part of the queue cannot be used. The others go on."""

    code = "broken"

    def __init__(self, destination_id: str, reason: str) -> None:
        """`reason` says what is wrong, where, and what to do."""
        super().__init__(reason)
        self.destination_id = destination_id


class Gone(Broken):
    """A destination has no part in the queue (any more): it was removed, perhaps a moment ago."""

    code = "gone"


class Busy(ArkError):
    """Another process holds what this one needs."""

    code = "busy"


class Held(Busy):
    """Another process has claimed a destination."""

    code = "held"

    def __init__(self, destination_id: str, holder: object) -> None:
        """`holder` says in words who has it."""
        super().__init__(f"{holder} is delivering to {destination_id}")
        self.destination_id = destination_id
        self.holder = holder


class Unreadable(ArkError):
    """The store or the queue cannot be read. The file is untouched."""

    code = "unreadable"
    exit_code = ExitCode.UNREADABLE


class Interrupted(ArkError):
    """Told to stop by SIGINT, SIGTERM or SIGHUP."""

    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED
