"""After a secret was replaced: until when Standard Webhooks' header is signed with the old one, too."""

from collections.abc import Callable
from contextlib import suppress

from arkcli import times
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, Joined, Scheme
from arkcli.signing.standard import Former, StandardWebhooks
from arkcli.store.store import Contents


def scheme_of(
    destination: Destination, contents: Contents, now: int, resolve: Callable[[Secret], Secret] = lambda it: it
) -> Scheme:
    """How requests to a destination are signed from `now` on (milliseconds, UTC).

    `resolve` returns the secret of a setting, or raises UsageError; then requests are signed without that one.
    """
    if not destination.standard_webhooks:
        return BODY
    formers = []
    replaced = [(destination.previous, destination.secret_changed_at)]
    if destination.secret is None:
        replaced.append((contents.workspace.previous, contents.workspace.secret_changed_at))
    for previous, changed_at in replaced:
        until = accepted_until(contents, changed_at)
        if previous is not None and until > now:
            with suppress(UsageError):
                formers.append(Former(resolve(previous), until // 1000))
    return Joined((BODY, StandardWebhooks(tuple(formers))))


def accepted_until(contents: Contents, changed_at: str | None) -> int:
    """Until when the secret before a change signs, too (milliseconds, UTC); 0 if the time of the change is unknown."""
    if changed_at is None:
        return 0
    return times.from_text(changed_at) + round(times.parse_duration(contents.workspace.overlap) * 1000)
