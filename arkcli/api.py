"""`import arkcli`: send events from a Python application. docs/python.md explains it.

Everything here may be used from several threads. It changes no signal handler and no limit of the process, starts no
process, and prints nothing: warnings go to the logger `arkcli`.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Self

from arkcli.actions import documents
from arkcli.actions.documents import Drained, Queue, Sent, Story
from arkcli.actions.home import Home
from arkcli.actions.homes import Homes
from arkcli.errors import NotAccepted, Unreachable, UsageError
from arkcli.model import Destination
from arkcli.store.store import Contents
from arkcli.system.clock import SystemClock

_log = logging.getLogger("arkcli")

Payload = Mapping[str, Any] | bytes | str


class Ark:
    """One user's destinations and queue: the same ones that the command `ark` uses. Close it after use.

    Every method may be called from any thread, and raises ArkError: UsageError for what the caller has to change,
    NotAccepted if an event could not be made durable, Unreadable if a file cannot be read.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        """`variables` are environment variables: ARK_CONFIG_DIR, ARK_STATE_DIR and the others of the command."""
        self._homes = Homes(
            lambda: Home(variables, SystemClock(), os.urandom, _log.warning, lasting=True),
            lambda: UsageError("this ark has been closed; open another one with arkcli.open()"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._homes.has_idle:
            warnings.warn("an Ark was not closed; call `close`, or use `with`", ResourceWarning, 2, self)
            self.close()

    def send(
        self,
        event: str,
        payload: Payload,
        *,
        id: str | None = None,
        to: Iterable[str] | None = None,
        validate: bool = True,
    ) -> Sent:
        """Accepts an event durably, then delivers it at once to every destination that is not paused.

        `payload` is a JSON object: a mapping, or JSON as bytes or text. `event`, `timestamp` and `batchId` are filled
        in where absent. `id` is an idempotency key: the same id and payload again do nothing, and the result says
        `repeated`. `to` names destinations, None means all. `validate=False` skips the schema.

        Returns when every receiver has answered or 10 s have passed. What failed is retried by `drain`. Raises
        PayloadError, UsageError (no destination, an unknown one, an id with another payload) and NotAccepted.
        """
        return self._accept(event, payload, id, to, validate=validate, now=True)

    def accept(
        self,
        event: str,
        payload: Payload,
        *,
        id: str | None = None,
        to: Iterable[str] | None = None,
        validate: bool = True,
    ) -> Sent:
        """Accepts an event durably and returns at once; `drain` delivers it. Otherwise as `send`."""
        return self._accept(event, payload, id, to, validate=validate, now=False)

    def drain(self, *, to: Iterable[str] | None = None, watch: bool = False, seconds: float | None = None) -> Drained:
        """Attempts everything that is due, and returns what it did. `to` names destinations, None means all.

        With `watch` it keeps running and attempts deliveries as they fall due, until `close` is called from another
        thread. `seconds` ends it in any case. Any number of drains, here and in other processes, share the work.
        """
        from arkcli.actions import drain
        from arkcli.delivery.drain import Plan

        with self._homes.lent() as (home, process):
            chosen = drain.all_of if to is None else drain.only(_chosen(home.store.read_again(), to))
            plan = Plan(watch=watch or seconds is not None, seconds=seconds)
            return documents.drained_of(drain.drain(home, drain.Job(chosen, plan), _log.warning, process.stopping))

    def queue(self) -> Queue:
        """What waits for every destination, as `ark queue`."""
        from arkcli.actions.reading import Reading

        with self._homes.lent() as (home, _):
            reading = Reading(home, home.store.read_again().destinations)
            return documents.queue_of(reading.overview(), reading.totals)

    def story(self, event_id: str) -> Story:
        """One event, its body, and every attempt at every destination, as `ark queue show`.

        `event_id` is an event's id, a unique beginning of one, or `last`. Raises UsageError if there is no such event.
        """
        from arkcli.actions.reading import Reading

        with self._homes.lent() as (home, _):
            return documents.story_of(Reading(home, home.store.read_again().destinations).story(event_id))

    def close(self) -> None:
        """Ends what other threads are doing here (attempts in flight end first), and closes all files and connections.

        Calls after this raise UsageError.
        """
        self._homes.stop()

    def _accept(
        self,
        event: str,
        payload: Payload,
        event_id: str | None,
        to: Iterable[str] | None,
        *,
        validate: bool,
        now: bool,
    ) -> Sent:
        from arkcli.actions.send import Order, Repeated, send
        from arkcli.contract.events import check_queued

        check_queued(event)
        with self._homes.lent() as (home, process):
            try:
                contents = home.store.read_again()
                receivers = None if to is None else _chosen(contents, to)
                if not contents.destinations:
                    raise UsageError("there is no destination yet; add one with `ark dest add URL`")
                order = Order(event=event, payload=_bytes(payload), to=receivers, event_id=event_id, validate=validate)
                return documents.sent_of(send(home, order, contents, process, now=now))
            except Unreachable as error:
                if process.accepted:
                    raise
                raise NotAccepted(str(error), "nothing was accepted") from error
            except Repeated as repeated:
                return Sent(event=documents.event_of(repeated.event), deliveries=(), repeated=True)


def open(config_dir: str | os.PathLike[str] | None = None, state_dir: str | os.PathLike[str] | None = None) -> Ark:
    """Opens the user's destinations and queue, as the command `ark` would: with ARK_CONFIG_DIR and ARK_STATE_DIR.

    `config_dir` and `state_dir` are absolute paths that replace these two.
    """
    variables = dict(os.environ)
    for name, given in (("ARK_CONFIG_DIR", config_dir), ("ARK_STATE_DIR", state_dir)):
        if given is not None:
            variables[name] = os.fspath(given)
    return Ark(variables)


def _chosen(contents: Contents, names: Iterable[str]) -> list[Destination]:
    chosen = {}
    for name in [names] if isinstance(names, str) else names:
        found = contents.find(name)
        if found is None:
            raise UsageError(f"there is no destination {name!r}; `ark dest list` shows all")
        chosen[found.id] = found
    if not chosen:
        raise UsageError("`to` names no destination; leave it out for all")
    return list(chosen.values())


def _bytes(payload: Payload) -> bytes:
    if isinstance(payload, bytes):
        return payload
    import json

    try:
        if isinstance(payload, str):
            return payload.encode()
        return json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"the payload cannot be written as JSON: {error}") from None
    except RecursionError:
        raise UsageError("the payload cannot be written as JSON: it is nested too deeply") from None
