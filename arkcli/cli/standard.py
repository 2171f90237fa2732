"""What a user has to know about the headers of Standard Webhooks and the secret behind them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from arkcli import times
from arkcli.actions.home import Home
from arkcli.actions.overlap import accepted_until
from arkcli.errors import UsageError
from arkcli.model import Destination
from arkcli.signing import SIGNATURE_HEADER, Secret
from arkcli.signing.standard import SHORTEST, is_short, key_of
from arkcli.store.store import Contents

#: Prints the shared secret as libraries take it.
_SHOW: Final = "ark secret show --standard-webhooks --reveal"


def destination_notes(home: Home, found: Destination, before: Destination | None = None) -> list[str]:
    """What follows from a new destination, or from a change of one: where its library's secret is, and until when the
    secret before is accepted. Nothing if it has no such headers, or if they are as before.
    """
    is_new = before is None or not before.standard_webhooks
    if not found.standard_webhooks or not (is_new or before != found):
        return []
    contents, notes = home.store.read(), list[str]()
    if is_new:
        shown = f"ark dest show {found.name} --reveal" if found.secret else _SHOW
        notes.append(f"libraries of Standard Webhooks take the secret as `whsec_…`: `{shown}` prints it")
    if is_new or before is None or found.secret != before.secret:
        with suppress(UsageError):
            notes += short_notes(home.secret_of(found, contents))
    if before is None or found.secret_changed_at != before.secret_changed_at:
        notes += _both_until(contents, found.secret_changed_at)
    return notes


def rotation_notes(contents: Contents, users: Sequence[Destination]) -> list[str]:
    """Until when the shared secret before is accepted by receivers of these headers, if there are any."""
    is_used = any(found.standard_webhooks for found in users)
    return _both_until(contents, contents.workspace.secret_changed_at) if is_used else []


def short_notes(secret: Secret) -> list[str]:
    """That the secret is too short for Standard Webhooks, if it is."""
    if not is_short(secret):
        return []
    size = len(key_of(secret).reveal())
    return [f"the secret has {size} bytes; Standard Webhooks wants at least {SHORTEST}, so a library may refuse it"]


def _both_until(contents: Contents, changed_at: str | None) -> list[str]:
    if changed_at is None or times.parse_duration(contents.workspace.overlap) == 0:
        return []
    until = times.to_text(accepted_until(contents, changed_at))
    return [
        f"until {until}, webhook-signature has a signature with each of the two secrets, so its receivers may change "
        f"to the new one at any time; {SIGNATURE_HEADER} is signed with the new one only"
    ]
