"""After a secret was replaced: until when Standard Webhooks' header is signed with the old one, too."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec

from arkcli import times
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.signing import Secret
from arkcli.signing.scheme import BODY, Joined, Scheme
from arkcli.signing.standard import Former, StandardWebhooks
from arkcli.store.store import Contents, Workspace


def scheme_of(
    destination: Destination, contents: Contents, now: int, resolve: Callable[[Secret], Secret] = lambda it: it
) -> Scheme:
    """How requests to a destination are signed from `now` on (milliseconds, UTC).

    `resolve` returns the secret of a setting, or raises UsageError; then requests are signed without that one.
    """
    if not destination.standard_webhooks:
        return BODY
    formers = []
    current = destination.secret or contents.workspace.secret
    for setting, at in _in_overlap(_owners(destination, contents), contents, now).items():
        if setting != current:
            with suppress(UsageError):
                formers.append(Former(resolve(setting), (at + _overlap(contents)) // 1000))
    return Joined((BODY, StandardWebhooks(tuple(formers))))


def replaced(owner: Destination | Workspace) -> Iterator[tuple[Secret, int]]:
    """The settings of the secrets before the current one, the newest first, and when each was replaced (milliseconds,
    UTC), if that is known.
    """
    if owner.previous is not None and owner.secret_changed_at is not None:
        yield owner.previous, times.from_text(owner.secret_changed_at)
    for one in owner.earlier:
        changed_at, _, setting = one.reveal().partition(b" ")
        yield Secret(setting), times.from_text(changed_at.decode())


def change_shared(contents: Contents, secret: Secret, now: int) -> None:
    """Replaces the shared secret at `now` (milliseconds, UTC), and keeps those that still sign."""
    workspace = contents.workspace
    if workspace.secret is not None:
        workspace.earlier = _kept(_in_overlap([workspace], contents, now))
        workspace.previous, workspace.secret_changed_at = workspace.secret, times.to_text(now)
    workspace.secret = secret


def change_own(after: Destination, before: Destination, contents: Contents, now: int) -> Destination:
    """The destination after a change at `now` (milliseconds, UTC), with the secrets that signed until then, if Standard
    Webhooks are to be signed with them, too.
    """
    shared = contents.workspace.secret
    signed, secret = before.secret or shared, after.secret or shared
    if not after.standard_webhooks or signed is None or signed == secret:
        return after
    earlier = _kept(_in_overlap(_owners(before, contents), contents, now))
    return msgspec.structs.replace(after, previous=signed, secret_changed_at=times.to_text(now), earlier=earlier)


def _owners(destination: Destination, contents: Contents) -> list[Destination | Workspace]:
    return [destination] if destination.secret is not None else [destination, contents.workspace]


def _in_overlap(owners: list[Destination | Workspace], contents: Contents, now: int) -> dict[Secret, int]:
    """The settings of the secrets that still sign, and when each was last replaced."""
    found: dict[Secret, int] = {}
    for owner in owners:
        for setting, at in replaced(owner):
            if at + _overlap(contents) > now:
                found[setting] = max(at, found.get(setting, 0))
    return found


def _kept(found: dict[Secret, int]) -> list[Secret]:
    return [Secret(b"%b %b" % (times.to_text(at).encode(), setting.reveal())) for setting, at in found.items()]


def accepted_until(contents: Contents, changed_at: str | None) -> int:
    """Until when the secret before a change signs, too (milliseconds, UTC); 0 if the time of the change is unknown."""
    if changed_at is None:
        return 0
    return times.from_text(changed_at) + _overlap(contents)


def _overlap(contents: Contents) -> int:
    return round(times.parse_duration(contents.workspace.overlap) * 1000)
