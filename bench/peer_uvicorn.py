"""An application that enqueues what it is sent: `python peer_uvicorn.py PORT DIRECTORY`. huey on SQLite, with syncs.

uvicorn parses HTTP in C (httptools); the task is enqueued before the application answers 202.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from huey import SqliteHuey

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def main() -> None:
    """Serves until it is stopped."""
    port, directory = sys.argv[1:]
    logging.disable(logging.INFO)
    huey = SqliteHuey(filename=f"{directory}/huey.db", fsync=True, results=False)

    @huey.task(retries=4, retry_delay=30)
    def work(body: str) -> None:
        raise NotImplementedError("nothing consumes the queue here")

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await asyncio.to_thread(work, body.decode())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="critical", access_log=False)


if __name__ == "__main__":
    main()
