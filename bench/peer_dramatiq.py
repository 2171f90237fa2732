"""dramatiq on Redis: `python peer_dramatiq.py URL BODIES PORT`. Prints its rates per second as JSON."""

import json
import logging
import sys
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from peer_post import post

_THREADS = 16


def main() -> None:
    """Enqueues a message for each body, then lets a worker process them."""
    url, path, port = sys.argv[1:]
    logging.disable(logging.WARNING)
    bodies = Path(path).read_text("utf-8").splitlines()
    broker = RedisBroker(host="127.0.0.1", port=int(port))
    broker.flush_all()
    actor = dramatiq.actor(post, broker=broker, max_retries=4)
    started = time.perf_counter()
    for body in bodies:
        actor.send(url, body)
    enqueued = time.perf_counter() - started
    worker = dramatiq.Worker(broker, worker_threads=_THREADS)
    started = time.perf_counter()
    worker.start()
    broker.join(actor.queue_name)
    worker.join()
    delivered = time.perf_counter() - started
    worker.stop()
    print(json.dumps({"enqueue": len(bodies) / enqueued, "deliver": len(bodies) / delivered}))


if __name__ == "__main__":
    main()
