"""Enqueues one event, durably, in a process of its own: `python peer_one.py huey|dramatiq BODY DIRECTORY|PORT`."""

import sys
from pathlib import Path


def main() -> None:
    """Enqueues it. Imports only the queue that was named."""
    queue, path, where = sys.argv[1:]
    body = Path(path).read_text("utf-8")
    if queue == "huey":
        from huey import SqliteHuey

        SqliteHuey(filename=f"{where}/huey.db", fsync=True, results=False).task(retries=4)(_post)(body)
    else:
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker

        dramatiq.actor(_post, broker=RedisBroker(host="127.0.0.1", port=int(where)), max_retries=4).send(body)


def _post(body: str) -> None:
    """A worker would do it."""


if __name__ == "__main__":
    main()
