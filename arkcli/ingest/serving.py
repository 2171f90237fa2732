"""Runs `ark serve` until it is stopped: the listening sockets, and the process that delivers beside them."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from arkcli.errors import Moved, Replaced
from arkcli.httpd.connection import Callbacks, Connections, ServerLimits
from arkcli.httpd.run import Run
from arkcli.httpd.server import Entrance, serving
from arkcli.ingest.commits import Accept, Commits
from arkcli.model import Draft, Event
from arkcli.system import descriptors
from arkcli.system.child import Child

#: How many connections there may be at once. Each may hold a body of up to 1 MiB.
_CONNECTIONS: Final = 512
#: Descriptors for everything except connections.
_OTHER_DESCRIPTORS: Final = 100
#: How long answers under way may take after a stop, in seconds.
_GRACE: Final = 10.0
#: How often to look whether the process that delivers still runs, in seconds.
_LOOK_EVERY: Final = 0.5
#: How long to wait before it is started again: at first, and at most. After a run of that length it is the first again.
_AGAIN_AFTER: Final = 1.0
_AGAIN_AT_MOST: Final = 60.0


class Serving:
    """One run."""

    def __init__(self, drain: Child, accept: Accept, warn: Callable[[str], None]) -> None:
        """`drain` delivers; it is started again when it ends. `accept` is called in a thread of its own.

        `warn` gets a message for each trouble.
        """
        self._drain = drain
        self._accept = accept
        self._warn = warn
        self._run = Run()
        self.stop = self._run.stop

    def run(self, entrances: Callable[[Commits], Sequence[Entrance]], ready: Callable[[], None]) -> None:
        """Serves until `stop` is called; then answers what is under way and ends. `ready` is called when it listens.

        Raises what an answer raised unexpectedly. Raises Moved and Replaced when an event came after the queue was
        moved away or replaced: a new process will find it.
        """
        self._run.until_end(lambda: self._serve(entrances, ready))

    async def _serve(self, entrances: Callable[[Commits], Sequence[Entrance]], ready: Callable[[], None]) -> None:
        commits = Commits(self._accept_here)
        doors = entrances(commits)
        limits = ServerLimits(connections=_connections(len(doors)))
        keeping = asyncio.create_task(self._keep_draining())
        served: list[Connections] = []
        try:
            async with contextlib.AsyncExitStack() as stack:
                for entrance in doors:
                    callbacks = Callbacks(entrance.take, self._warn, self._run.fail)
                    found = serving(entrance.listeners, callbacks, entrance.limits or limits)
                    served.append(await stack.enter_async_context(found))
                ready()
                await self._run.stopped()
            self._drain.ask_to_stop()
            await asyncio.gather(*(connections.end(_GRACE) for connections in served))
        finally:
            for connections in served:
                connections.abort()
            keeping.cancel()
            self._drain.ask_to_stop()
            await commits.close()

    def _accept_here(self, drafts: Sequence[Draft], unique: bool) -> Sequence[Event]:
        try:
            return self._accept(drafts, unique)
        except (Moved, Replaced) as gone:
            self._run.call(partial(self._run.fail, gone))
            raise

    async def _keep_draining(self) -> None:
        pause = 0.0
        while not self._run.is_stopping:
            began = asyncio.get_running_loop().time()
            ending = await self._one_run()
            if not self._run.is_stopping:
                pause = pause_after(asyncio.get_running_loop().time() - began, pause)
                self._warn(f"the process that delivers {ending}; it is started again in {pause:g} s")
                await asyncio.sleep(pause)

    async def _one_run(self) -> str:
        """Starts the process that delivers, and waits for its end; returns how it ended."""
        try:
            self._drain.start()
        except OSError as error:
            return f"cannot be started ({error.strerror})"
        while (ending := self._drain.ending()) is None:
            await asyncio.sleep(_LOOK_EVERY)
        return ending


def pause_after(ran: float, before: float) -> float:
    """How long to wait after a run, in seconds, given its length and the pause before it (0: none)."""
    if ran >= _AGAIN_AT_MOST:
        return _AGAIN_AFTER
    return min(max(2 * before, _AGAIN_AFTER), _AGAIN_AT_MOST)


def _connections(entrances: int) -> int:
    most = (descriptors.limit() - _OTHER_DESCRIPTORS) // max(entrances, 1)
    return max(min(_CONNECTIONS, most), 1)
