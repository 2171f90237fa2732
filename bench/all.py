"""Runs all benchmarks in turn and prints one table."""

from bench import (
    accept,
    addressed,
    destinations,
    drain,
    growth,
    hung,
    idle,
    latency,
    listen,
    measure,
    postgres,
    postgres_senders,
    postgres_trouble,
    queues,
    serve,
    sign_large,
    startup,
    tls,
)

if __name__ == "__main__":
    measure.main(
        startup.results,
        drain.results,
        tls.results,
        latency.results,
        hung.results,
        queues.results,
        accept.results,
        idle.results,
        addressed.results,
        destinations.results,
        listen.results,
        serve.results,
        postgres.results,
        postgres_senders.results,
        postgres_trouble.results,
        growth.results,
        sign_large.results,
    )
