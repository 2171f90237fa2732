"""The requests that deliver an event, as text and as curl commands. Nothing is sent."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from arkcli.actions import curl
from arkcli.contract.headers import DELIVERY_HEADER
from arkcli.model import Delivery, Destination, Event
from arkcli.text import clean, clean_lines
from arkcli.wire import request

if TYPE_CHECKING:
    from arkcli.wire.wire import Endpoint

_MASK = "***"


class Preview(msgspec.Struct, frozen=True):
    """One request. Values of headers that the user set are masked, since any of them may be a secret."""

    destination: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def head(self) -> list[str]:
        """The headers as lines."""
        return [f"{name}: {clean(value)}" for name, value in self.headers.items()]

    def __str__(self) -> str:
        return "\n".join([f"{self.method} {self.url}", *self.head, "", clean_lines(self.body), ""])


def requests(event: Event, endpoints: "Iterable[Endpoint]", at: int, attempt: int = 1) -> list[Preview]:
    """An attempt at every endpoint, signed at a time (seconds since 1970, UTC)."""
    return [
        Preview(
            destination=endpoint.destination.name,
            method=request.METHOD,
            url=endpoint.destination.url,
            headers={
                name: _MASK if name in _set_by_user(endpoint.destination) else value
                for name, value in endpoint.requests.headers(Delivery(event, attempt), at)
            },
            body=event.body.decode(),
        )
        for endpoint in endpoints
    ]


def commands(event: Event, destinations: Iterable[Destination]) -> list[tuple[Destination, str]]:
    """For every destination, a command that makes the first attempt with curl."""
    return [(destination, _command(event, destination)) for destination in destinations]


def _command(event: Event, destination: Destination) -> str:
    # Leave out the signature: the command makes it when it is run.
    told = request.attempt_headers(Delivery(event, 1), destination)
    own = _set_by_user(destination)
    shown = {name: None if name in own else value for name, value in request.fixed_headers(destination) + told}
    webhook_id = dict(told)[DELIVERY_HEADER] if destination.standard_webhooks else None
    return curl.command(destination, shown, event.body, webhook_id)


def _set_by_user(destination: Destination) -> set[str]:
    """Names of headers whose values may be secrets."""
    return {*destination.headers, *(["Authorization"] if destination.userinfo is not None else [])}
