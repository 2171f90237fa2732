"""Making batches of events durable while the next ones are made. docs/internals.md, section 4.

A stream that keeps coming is worth a second process: checking payloads and writing events take about as long.
"""

import mmap
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from arkcli.environment import Environment
from arkcli.errors import NotAccepted
from arkcli.model import Draft
from arkcli.words import process_ending

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

#: How many bytes of bodies the two processes share; a batch that needs more is accepted at once.
_ROOM: Final = 4 * 1024 * 1024

#: A draft whose body stands in the shared memory: id, name, time, the body's length, and whom it is for.
_Head = tuple[str, str, str, int, tuple[str, ...] | None]
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[_Head])


class Committer:
    """Accepts one batch at a time: at once, or in a process of its own, which is started when it is first needed."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._room = mmap.mmap(-1, _ROOM)
        self._process: ForkProcess | None = None
        self._connection: Connection | None = None
        #: Why the last batch was not accepted.
        self._reason: str | None = None
        #: Whether a batch is under way in the other process.
        self.is_busy = False
        #: Whether nobody knows how much of the last batch was accepted: the other process was killed at it.
        self.is_uncertain = False

    def submit(self, drafts: Sequence[Draft], *, aside: bool) -> None:
        """Begins to accept a batch, the one before being finished; `aside` does it while this process goes on."""
        self._reason = None
        sizes = [len(draft.body) for draft in drafts]
        if not aside or sum(sizes) > _ROOM:
            self._reason = _accept(self._environment, drafts)
            return
        connection = self._connection or self._start()
        self._room.seek(0)
        for draft in drafts:
            self._room.write(draft.body)
        heads = [(draft.id, draft.name, draft.at, size, draft.to) for draft, size in zip(drafts, sizes, strict=True)]
        try:
            connection.send_bytes(_encoder.encode(heads))
            self.is_busy = True
        except OSError:
            self._reason = self._ending()

    def finish(self) -> str | None:
        """Waits for the batch, and tells why it was not accepted; None when it is durable."""
        if self.is_busy and self._connection is not None:
            self.is_busy = False
            try:
                self._reason = self._connection.recv()
            except (EOFError, OSError):
                self._reason = self._ending()
                self.is_uncertain = True
        return self._reason

    def close(self) -> None:
        """Lets the other process go, and waits until it has gone."""
        if self._process is not None and self._connection is not None:
            self._connection.close()
            self._process.join()
        self._room.close()

    def _start(self) -> "Connection":
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        arguments = (self._environment, os.getpid(), self._room, self._connection, theirs)
        with self._environment.signals_held():
            self._process = context.Process(target=_serve, args=arguments)
            self._process.start()
        theirs.close()
        return self._connection

    def _ending(self) -> str:
        assert self._process is not None
        self._process.join()
        return f"the process that writes events {process_ending(self._process.exitcode)}"


def _accept(environment: Environment, drafts: Sequence[Draft]) -> str | None:
    try:
        environment.queue.accept(drafts)
    except NotAccepted as error:
        return error.reason
    return None


def _serve(environment: Environment, leader: int, room: mmap.mmap, theirs: "Connection", mine: "Connection") -> None:
    # Else it would never see that the leader is gone.
    theirs.close()
    environment.follow(leader)
    try:
        while True:
            heads = _decoder.decode(mine.recv_bytes())
            room.seek(0)
            drafts = [Draft(found, name, at, room.read(size), to) for found, name, at, size, to in heads]
            mine.send(_accept(environment, drafts))
    except (EOFError, OSError):
        # What else there is to do at the end, such as flushing streams, is the leader's.
        os._exit(0)
