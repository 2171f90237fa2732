"""Procrastinate on PostgreSQL: `python peer_procrastinate.py URL BODIES DSN`. Prints its rates per second as JSON."""

import json
import logging
import sys
import time
from pathlib import Path

from peer_post import post
from procrastinate import App, PsycopgConnector, RetryStrategy

_THREADS = 16


def main() -> None:
    """Enqueues a job for each body, then lets a worker process them."""
    url, path, dsn = sys.argv[1:]
    logging.disable(logging.WARNING)
    bodies = Path(path).read_text("utf-8").splitlines()
    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=1, max_size=_THREADS))

    def work(body: str) -> None:
        post(url, body)

    task = app.task(name="post", retry=RetryStrategy(max_attempts=5, wait=30))(work)
    with app.open():
        app.schema_manager.apply_schema()
        started = time.perf_counter()
        for body in bodies:
            task.defer(body=body)
        enqueued = time.perf_counter() - started
    started = time.perf_counter()
    app.run_worker(concurrency=_THREADS, wait=False, delete_jobs="always", install_signal_handlers=False)
    delivered = time.perf_counter() - started
    print(json.dumps({"enqueue": len(bodies) / enqueued, "deliver": len(bodies) / delivered}))


if __name__ == "__main__":
    main()
