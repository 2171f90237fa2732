"""Makes a batch of events durable while the next one is prepared. docs/internals.md, section 4.

A long stream is worth a second process: checking payloads takes about as long as writing events. Where a fork is not
safe, it is a second thread: it can do little while payloads are checked, but it can wait for the disk.
"""

import mmap
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from arkcli.errors import ArkError, NotAccepted, Unreadable
from arkcli.model import Draft, Event
from arkcli.queue.engine import Queue
from arkcli.system.process import Process
from arkcli.text import process_ending

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

#: The size of the memory for bodies that both processes share, in bytes. A larger batch is accepted in this process.
_ROOM: Final = 4 * 1024 * 1024
_NOT_BEGUN: Final = "it was not begun"

#: A draft whose body is in the shared memory: id, name, time, the body's length, and the destinations it is for.
_Head = tuple[str, str, str, int, tuple[str, ...] | None]
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[_Head])


class _Child(NamedTuple):
    """The other process, the connection to it, and the memory for bodies."""

    process: "ForkProcess"
    connection: "Connection"
    room: mmap.mmap


class Writer:
    """Accepts one batch at a time, in this process, or in a second process or thread that starts when first needed."""

    def __init__(self, queue: Callable[[], Queue], open_queue: Callable[[], Queue], process: Process) -> None:
        """`queue` returns this process's queue; `open_queue` opens one for the other process. Both raise Unreadable.

        While `is_busy`, the caller must not use either.
        """
        self._queue = queue
        self._open_queue = open_queue
        self._process = process
        self._child: _Child | None = None
        self._is_alone = False
        self._thread: ThreadPoolExecutor | None = None
        self._promised: Future[tuple[str | None, Sequence[Event]]] | None = None
        #: Why the last batch is not accepted; None only once it is known to be durable.
        self._reason: str | None = _NOT_BEGUN
        #: Whether a batch is under way in the other process or thread.
        self.is_busy = False
        #: What the last batch with `unique` became: an event for each draft, in order.
        self.events: Sequence[Event] = ()
        #: Whether it is unknown how much of the last batch was accepted, because the other process ended while at it.
        self.is_uncertain = False

    def submit(self, drafts: Sequence[Draft], *, aside: bool, unique: bool = False) -> None:
        """Begins to accept a batch; call `finish` for the previous one first. `aside`: in the second process or thread.

        `unique` is passed on to `Queue.accept`; such a batch is never aside. Raises Unreadable if the queue cannot be
        opened.
        """
        self._reason = _NOT_BEGUN
        sizes = [len(draft.body) for draft in drafts]
        aside = aside and not unique
        child = self._started() if aside and drafts and sum(sizes) <= _ROOM else None
        if child is not None:
            self._hand_over(child, drafts, sizes)
        elif self._thread is not None and aside:
            self._promised = self._thread.submit(_accept, self._queue(), drafts)
            self.is_busy = True
        else:
            self._reason, self.events = _accept(self._queue(), drafts, unique=unique)

    def _hand_over(self, child: _Child, drafts: Sequence[Draft], sizes: Sequence[int]) -> None:
        child.room.seek(0)
        for draft in drafts:
            child.room.write(draft.body)
        heads: list[_Head] = [
            (draft.id, draft.name, draft.at, size, draft.to) for draft, size in zip(drafts, sizes, strict=True)
        ]
        try:
            child.connection.send_bytes(_encoder.encode(heads))
            self.is_busy = True
        except OSError:
            self._reason = _ending(child)

    def finish(self) -> str | None:
        """Waits for the batch; returns why it was not accepted, or None if it is durable."""
        if self._promised is not None:
            promised, self._promised, self.is_busy = self._promised, None, False
            self._reason, _ = promised.result()
        if self.is_busy and self._child is not None:
            self.is_busy = False
            try:
                self._reason = self._child.connection.recv()
            except (EOFError, OSError):
                self._reason = _ending(self._child)
                self.is_uncertain = True
        return self._reason

    def close(self) -> None:
        """Ends the other process or thread and waits for it."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread, self._is_alone = None, False
        if self._child is not None:
            _let_go(self._child)
            self._child = None

    def _started(self) -> _Child | None:
        """The other process, started if necessary; None if it cannot be started, or is a thread instead."""
        if self._child is None and not self._is_alone:
            if _can_fork():
                self._child = _start(self._open_queue, self._process)
            elif os.geteuid():
                # Not for root, who acts as other users in all threads at once.
                from concurrent.futures import ThreadPoolExecutor

                self._thread = ThreadPoolExecutor(1)
            self._is_alone = self._child is None
        return self._child


def _can_fork() -> bool:
    """Whether a fork of this process is safe. It is not on macOS, whose libraries have threads of their own. There,
    Python's default is to start a new interpreter.
    """
    import multiprocessing

    return multiprocessing.get_start_method() != "spawn"


def _start(open_queue: Callable[[], Queue], process: Process) -> _Child | None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    try:
        mine, theirs = context.Pipe()
    except OSError:
        return None
    room = mmap.mmap(-1, _ROOM)
    child = context.Process(target=_serve, args=(open_queue, process, room, mine, theirs))
    try:
        with process.signals_held():
            child.start()
    except OSError:
        mine.close()
        return None
    finally:
        theirs.close()
    started = _Child(child, mine, room)
    try:
        mine.recv()
    except (EOFError, OSError):
        # It could not open the queue. This process will get the same error, and report it.
        _let_go(started)
        return None
    return started


def _let_go(child: _Child) -> None:
    child.connection.close()
    child.process.join()
    child.room.close()


def _ending(child: _Child) -> str:
    child.process.join()
    return f"the process that writes events {process_ending(child.process.exitcode)}"


def _accept(queue: Queue, drafts: Sequence[Draft], *, unique: bool = False) -> tuple[str | None, Sequence[Event]]:
    """Why a batch is not accepted, or None and its events."""
    if not drafts:
        return None, ()
    try:
        return None, queue.accept(drafts, unique=unique)
    except NotAccepted as error:
        return error.reason, ()
    except OSError as error:
        return f"the event log cannot be written ({error.strerror or error})", ()


def _serve(
    open_queue: Callable[[], Queue], process: Process, room: mmap.mmap, theirs: "Connection", mine: "Connection"
) -> None:
    status = 1
    try:
        # With these copies left open, neither this process nor those at the other ends of the leader's streams would
        # notice that the leader has ended.
        theirs.close()
        process.let_go_of_streams()
        process.follow()
        # The leader waits for this message.
        queue = open_queue()
        mine.send(True)
        while True:
            heads = _decoder.decode(mine.recv_bytes())
            room.seek(0)
            drafts = [Draft(found, name, at, room.read(size), to) for found, name, at, size, to in heads]
            try:
                reason, _ = _accept(queue, drafts)
            except Unreadable as error:
                # It has been moved or replaced since.
                reason = str(error)
            mine.send(reason)
    except (ArkError, EOFError, OSError):
        status = 0
    finally:
        # Not sys.exit: flushing streams and reporting errors is the leader's job.
        os._exit(status)
