"""`ark send --dry-run` and `--curl`: prints what would be sent, and sends and stores nothing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import to_builtins

from arkcli.actions import preview
from arkcli.actions.printed import event_json
from arkcli.actions.send import Order, unsaved
from arkcli.cli.printout import Printout
from arkcli.cli.session import Session
from arkcli.errors import UsageError
from arkcli.model import Destination, Event
from arkcli.output import Output
from arkcli.text import is_harmless

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint


def show_requests(
    session: Session, order: Order, endpoints: "Iterable[Endpoint]", unusable: Mapping[str, str], paused: Sequence[str]
) -> Printout:
    """The requests that `ark send` would make at once. The `unusable` destinations (with the reason) and the `paused`
    ones would get none.
    """
    event = unsaved(session.home, order)
    found = preview.requests(event, endpoints, session.home.clock.now() // 1000)
    document = to_builtins(found)
    notes = [f"{name} is paused: the event would wait" for name in paused]
    shown = {"event": event_json(event), "requests": document}
    return Printout(shown, [str(request) for request in found], notes, broken=unusable)


def show_commands(output: Output, event: Event, receivers: Iterable[Destination], misleading: str) -> Printout:
    """For every destination, a command that sends the event with curl.

    Raises UsageError with the message `misleading` on a terminal if a command could mislead it.
    """
    found = preview.commands(event, receivers)
    if output.on_a_terminal and not all(is_harmless(command) for _, command in found):
        raise UsageError(misleading)
    document = [{"destination": destination.name, "command": command} for destination, command in found]
    return Printout({"event": event_json(event), "commands": document}, [command for _, command in found])
