"""One run of a server: the event loop, and how it ends."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any


class Run:
    """Runs a coroutine, once, until it is told to stop or something fails."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_told = False
        self._error: BaseException | None = None
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Makes `until_end` end soon. May be called from a signal handler, and from any thread."""
        self._is_told = True
        self.call(self._stopping.set)

    def fail(self, error: BaseException) -> None:
        """Makes `until_end` end, and raise the first of these errors. To be called in the loop's thread."""
        self._error = self._error or error
        self._stopping.set()

    def call(self, act: Callable[[], object]) -> None:
        """Calls a function in the loop's thread; does nothing if there is no loop (any more). See `stop`."""
        loop = self._loop
        if loop is not None:
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(act)

    def until_end(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs `serve`, which has to end soon after `stopped`. Raises what failed."""
        asyncio.run(self._until_end(serve))
        if self._error is not None:
            raise self._error

    async def _until_end(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        # A signal handler may use it from here on.
        self._loop = asyncio.get_running_loop()
        if self._is_told:
            self._stopping.set()
        try:
            await serve()
        finally:
            self._loop = None

    @property
    def is_stopping(self) -> bool:
        """Whether it has been told to stop, or something has failed."""
        return self._stopping.is_set()

    async def stopped(self) -> None:
        """Waits for that."""
        await self._stopping.wait()
