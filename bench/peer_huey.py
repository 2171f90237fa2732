"""huey on SQLite: `python peer_huey.py URL BODIES DIRECTORY synced|as-shipped`. Prints its rates per second as JSON."""

import json
import logging
import sys
import time
from pathlib import Path

from huey import SqliteHuey
from peer_post import post

_THREADS = 16


def main() -> None:
    """Enqueues a task for each body, then lets a consumer process them."""
    url, path, directory, synced = sys.argv[1:]
    logging.disable(logging.INFO)
    bodies = Path(path).read_text("utf-8").splitlines()
    huey = SqliteHuey(filename=f"{directory}/huey.db", fsync=synced == "synced", results=False)
    done: list[None] = []

    def work(body: str) -> None:
        post(url, body)
        done.append(None)

    task = huey.task(retries=4, retry_delay=30)(work)
    started = time.perf_counter()
    for body in bodies:
        task(body)
    enqueued = time.perf_counter() - started
    consumer = huey.create_consumer(workers=_THREADS, periodic=False, initial_delay=0.01, max_delay=0.1)
    started = time.perf_counter()
    consumer.start()
    while len(done) < len(bodies):
        time.sleep(0.005)
    delivered = time.perf_counter() - started
    consumer.stop(graceful=True)
    print(json.dumps({"enqueue": len(bodies) / enqueued, "deliver": len(bodies) / delivered}))


if __name__ == "__main__":
    main()
