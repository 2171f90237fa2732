"""Accepts events from many clients together: one sync for all that came while the disk was busy with the last one."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from arkcli.errors import ArkError, NotAccepted
from arkcli.model import Draft, Event

#: The largest batch, in events and in bytes of bodies. One request may be larger, and is then a batch of its own.
_MOST: Final = 2_000
_LARGEST: Final = 2 * 1024 * 1024

#: Makes events durable, all or none; with the second argument, an id that was accepted before gives its first event.
Accept = Callable[[Sequence[Draft], bool], Sequence[Event]]


class _Wish(NamedTuple):
    drafts: Sequence[Draft]
    unique: bool
    size: int
    #: The accepted events, or why there are none.
    answer: "asyncio.Future[Sequence[Event]]"


class Commits:
    """A thread that accepts what the event loop submits. The queue belongs to that thread alone."""

    def __init__(self, accept: Accept) -> None:
        """`accept` is called in the thread. It may raise ArkError and OSError."""
        self._accept = accept
        self._loop = asyncio.get_running_loop()
        self._wishes: list[_Wish] = []
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="commits", daemon=True)
        self._thread.start()

    async def accepted(self, drafts: Sequence[Draft], *, unique: bool) -> Sequence[Event]:
        """Returns the events once they are durable. Raises what `accept` raises; OSError becomes NotAccepted."""
        answer: asyncio.Future[Sequence[Event]] = self._loop.create_future()
        with self._changed:
            self._wishes.append(_Wish(drafts, unique, sum(len(draft.body) for draft in drafts), answer))
            self._changed.notify()
        # A client that has gone must not cancel it: by then it may be in a batch with others.
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Accepts what has been submitted, then ends the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while batch := self._next():
            for unique in (False, True):
                part = [wish for wish in batch if wish.unique is unique]
                if part:
                    answers = self._answers(part, unique=unique)
                    # The loop may have been closed: nobody waits any more.
                    with suppress(RuntimeError):
                        self._loop.call_soon_threadsafe(_settle, part, answers)

    def _next(self) -> list[_Wish]:
        """Waits for wishes and takes a batch; nothing at the end."""
        with self._changed:
            while not (self._wishes or self._is_closing):
                self._changed.wait()
            count = events = size = 0
            for wish in self._wishes:
                events += len(wish.drafts)
                size += wish.size
                if count and (events > _MOST or size > _LARGEST):
                    break
                count += 1
            batch, self._wishes = self._wishes[:count], self._wishes[count:]
            return batch

    def _answers(self, part: Sequence[_Wish], *, unique: bool) -> "Iterable[Sequence[Event] | Exception]":
        drafts = [draft for wish in part for draft in wish.drafts]
        try:
            events = self._accept(drafts, unique)
        except ArkError as error:
            return [error] * len(part)
        except OSError as error:
            why = f"the event log cannot be written ({error.strerror or error})"
            return [NotAccepted(why, "nothing was accepted")] * len(part)
        except Exception as error:
            return [error] * len(part)
        found = iter(events)
        return [[next(found) for _ in wish.drafts] for wish in part]


def _settle(part: Sequence[_Wish], answers: "Iterable[Sequence[Event] | Exception]") -> None:
    for wish, answer in zip(part, answers, strict=True):
        if wish.answer.done():
            continue
        if isinstance(answer, Exception):
            wish.answer.set_exception(answer)
            # It may be that nobody waits for it any more.
            wish.answer.exception()
        else:
            wish.answer.set_result(answer)
