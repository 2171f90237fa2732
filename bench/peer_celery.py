"""Celery on Redis: `python peer_celery.py URL BODIES PORT`. Prints its rates per second as JSON."""

import json
import logging
import sys
import threading
import time
from pathlib import Path

from celery import Celery
from celery.contrib.testing.worker import start_worker
from peer_post import post

_THREADS = 16


def main() -> None:
    """Enqueues a task for each body, then lets a worker process them."""
    url, path, port = sys.argv[1:]
    logging.disable(logging.WARNING)
    bodies = Path(path).read_text("utf-8").splitlines()
    celery = Celery("peer", broker=f"redis://127.0.0.1:{port}/0")
    # A task that a killed worker had begun is made again.
    celery.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4)
    left = threading.Semaphore(0)

    def work(body: str) -> None:
        post(url, body)
        left.release()

    task = celery.task(name="post", max_retries=4)(work)
    started = time.perf_counter()
    for body in bodies:
        task.delay(body)
    enqueued = time.perf_counter() - started
    with start_worker(celery, pool="threads", concurrency=_THREADS, perform_ping_check=False, loglevel="critical"):
        started = time.perf_counter()
        for _ in bodies:
            left.acquire()
        delivered = time.perf_counter() - started
    print(json.dumps({"enqueue": len(bodies) / enqueued, "deliver": len(bodies) / delivered}))


if __name__ == "__main__":
    main()
