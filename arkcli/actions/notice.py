"""What the alert command gets: the facts on its standard input, its environment, and its user."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from arkcli import times
from arkcli.actions.overlap import replaced
from arkcli.delivery.ledger import Fact, Kind
from arkcli.model import Destination
from arkcli.queue.engine import Standing
from arkcli.signing.secrets import reference
from arkcli.store.store import Contents, Workspace
from arkcli.text import counted

#: The longest error to pass on, in characters.
_SAID: Final = 300
#: These can hold a secret or lead to one. The command can read the settings itself if it needs them.
_SECRETS: Final = ("ARK_SECRET", "ARK_QUEUE", "ARK_QUEUE_KEY")


def notice_of(fact: Fact, destination: Destination, standing: Standing | None) -> dict[str, Any]:
    """What the command gets on its standard input; docs/json.md has the keys."""
    last = None if standing is None else standing.last
    error = None if last is None or last.error is None else last.error[:_SAID]
    return {
        "kind": fact.kind,
        "destination": destination.name,
        "destination_id": destination.id,
        "at": times.to_text(fact.at),
        "failing_since": None if fact.since is None else times.to_text(fact.since),
        "status": last and last.status,
        "error": error,
        "waiting": standing and standing.waiting,
        "retrying": standing and sum(standing.retrying),
        "dead": standing and standing.dead,
        "message": _message(fact, destination.name, standing, error),
    }


def _message(fact: Fact, name: str, standing: Standing | None, error: str | None) -> str:
    since = "" if fact.since is None else times.to_text(fact.since)
    why = f": {error}" if error else ""
    if fact.kind is Kind.RECOVERED:
        return f"{name} works again" + (f"; it had failed since {since}" if since else "")
    if fact.kind is Kind.DEAD:
        count = "" if standing is None else f" ({counted(standing.dead, 'dead delivery', 'dead deliveries')})"
        return f"a delivery to {name} died{count}{why}"
    lasted = times.describe_duration((fact.at - (fact.since or fact.at)) / 1000)
    if fact.kind is Kind.PAUSED:
        return f"{name} is paused, because it has failed since {since} ({lasted}){why}"
    return f"{name} has failed since {since} ({lasted}){why}"


def variables_for(variables: Mapping[str, str], contents: Contents) -> dict[str, str]:
    """The environment without what holds a secret of ark's."""
    settings = [contents.network.proxy, *(found.proxy for found in contents.destinations)]
    owners: list[Destination | Workspace] = [contents.workspace, *contents.destinations]
    for owner in owners:
        settings += [owner.secret, owner.previous, *(setting for setting, _ in replaced(owner))]
    named = {(reference(setting) or "").partition("env:")[2] for setting in settings if setting is not None}
    return {name: value for name, value in variables.items() if name not in _SECRETS and name not in named}


def owner_of(store: Path) -> tuple[int, int] | None:
    """The user (ids) that root runs the command as: the owner of the settings. None: as this process."""
    for place in (store, store.parent):
        with suppress(OSError):
            found = place.stat()
            return None if os.geteuid() or not found.st_uid else (found.st_uid, found.st_gid)
    return None
