"""Exit statuses of the commands that deliver; the README explains each. Pure functions."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from arkcli.errors import ExitCode
from arkcli.model import State

if TYPE_CHECKING:
    from arkcli.delivery.drain import Drained
    from arkcli.delivery.sent import Sending


def of_sending(sending: "Sending", paused: set[str], *, queued: bool, interrupted: bool) -> ExitCode:
    """The status of `send` for one event. `paused` are the names of paused destinations, which do not count."""
    states = {sent.state for sent in sending.deliveries if sent.destination not in paused}
    is_broken = any(sent.is_broken for sent in sending.deliveries)
    if interrupted:
        return ExitCode.INTERRUPTED
    if not is_broken and (queued or states <= {State.DELIVERED}):
        return ExitCode.DONE
    # The event is accepted, and 1 would say that it is not, so a broken destination counts as one to retry.
    return ExitCode.FAILED if State.DEAD in states else ExitCode.RETRYING


def of_again(states: Collection[State], *, left_out: bool, interrupted: bool) -> ExitCode:
    """The status of `queue retry --now` and `replay --now`. `states` are those of deliveries that are not paused.

    `left_out`: a destination has no usable secret.
    """
    if interrupted:
        return ExitCode.INTERRUPTED
    if left_out or State.DEAD in states:
        return ExitCode.FAILED
    return ExitCode.DONE if set(states) <= {State.DELIVERED, State.DROPPED} else ExitCode.RETRYING


def of_stream(drained: "Drained | None", refused: int, *, interrupted: bool) -> ExitCode:
    """The status of `send --ndjson`. `drained` is None if nothing was to be delivered; `refused` counts bad lines."""
    if interrupted:
        return ExitCode.INTERRUPTED
    if refused:
        return ExitCode.USAGE
    if drained is None:
        return ExitCode.DONE
    if drained.total("dead"):
        return ExitCode.FAILED
    # As of a send: the events are accepted.
    is_left = drained.left_out or drained.broken or drained.held or drained.held_back or drained.is_away
    return ExitCode.RETRYING if is_left or drained.total("retrying") else ExitCode.DONE


def of_drain(drained: "Drained", *, lost: bool, left: bool, interrupted: bool) -> ExitCode:
    """The status of `drain`. `lost`: a destination's deliveries are gone.

    `left`: with --strict, a delivery is still waiting or retrying, due or not.
    """
    if interrupted:
        return ExitCode.INTERRUPTED
    if lost or drained.left_out or drained.broken or drained.is_away or drained.total("dead"):
        return ExitCode.FAILED
    return ExitCode.RETRYING if left else ExitCode.DONE
