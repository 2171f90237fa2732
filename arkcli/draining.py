"""One run of `ark drain`, in one process or in several that share the destinations. docs/internals.md, section 9.

The queue's locks decide who delivers to which destination. This starts the processes, passes signals on to them, and
adds up what they did.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from arkcli.delivery.drain import Drain, Drained, Part, Plan, together
from arkcli.delivery.places import Limits
from arkcli.environment import Environment
from arkcli.errors import ArkError
from arkcli.model import Destination
from arkcli.queue.view import Standing
from arkcli.roster import Roster
from arkcli.store import Contents
from arkcli.words import process_ending

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

Work = Callable[[Part], Drained]


class Job(NamedTuple):
    """What a run is to do: for which destinations, for how long, how much at once, in how many processes."""

    choose: Callable[[Contents], Sequence[Destination]]
    plan: Plan
    limits: Limits
    workers: int = 1


class Run(NamedTuple):
    """What a run did, and how many of its processes died before they could tell."""

    drained: Drained
    died: int = 0


def drain(environment: Environment, job: Job, warn: Callable[[str], None]) -> Run:
    """Attempts what is due. `warn` is told of destinations that cannot be delivered to, and of processes that died.

    Raises UsageError, Unreadable and NotRecorded.
    """

    def work(part: Part) -> Drained:
        first = part.number == 0
        roster = Roster(environment, job.choose, warn if first else _ignore)
        wire = environment.wire()
        limits = job.limits.shared(*part)
        tidy = roster.tidy if first else _nothing
        try:
            run = Drain(
                environment.queue, wire, environment.clock, limits, roster.read, environment.stopping, tidy, part
            )
            drained = run.run(job.plan)
        finally:
            wire.close()
        drained.left_out = roster.left_out
        return drained

    if job.workers == 1:
        environment.stop_on_signals()
        return Run(work(Part()))
    # What is wrong with the names that were given is said once, and before anything begins.
    job.choose(environment.store.read())
    return _Crew(environment, min(job.workers, job.limits.total), work, warn).run()


def is_anything_left(environment: Environment, job: Job) -> bool:
    """Whether something waits, due or not, for a destination of a run."""
    return any(standing.waiting or any(standing.retrying) for standing in what_waits(environment, job))


def what_waits(environment: Environment, job: Job) -> list[Standing]:
    """What waits for each destination of a run."""
    chosen = [found for found in job.choose(environment.store.read()) if not found.paused]
    environment.queue.join(found.id for found in chosen)
    return [environment.queue.standing(found.id) for found in chosen]


class _Crew:
    """Processes that share the work. They are forked, so they begin with all that is imported."""

    def __init__(self, environment: Environment, size: int, work: Work, warn: Callable[[str], None]) -> None:
        self._environment = environment
        self._size = size
        self._work = work
        self._warn = warn
        self._under_way: dict[Connection, ForkProcess] = {}
        self._drained: list[Drained] = []
        self._error: ArkError | OSError | None = None
        self._died = 0

    def run(self) -> Run:
        """Starts all, waits for all, and adds up. Raises what one of them raised."""
        from multiprocessing.connection import wait

        clock = self._environment.clock
        started = clock.monotonic()
        self._environment.stop_on_signals(tell=self._stop)
        with self._environment.signals_held():
            try:
                for number in range(self._size):
                    self._start(number)
            except OSError:
                # Those that have begun would be waited for, and with --watch for ever.
                self._stop()
                raise
        members = {process.pid for process in self._under_way.values()}
        while self._under_way:
            for connection in wait(list(self._under_way)):
                self._end(connection)  # type: ignore[arg-type] # wait returns what it was given
        if self._error is not None:
            raise self._error
        return Run(together(self._drained, members, round(clock.monotonic() - started, 3)), self._died)

    def _start(self, number: int) -> None:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        receiving, sending = context.Pipe(duplex=False)
        part = Part(number, self._size)
        process = context.Process(target=_follow, args=(self._environment, os.getpid(), self._work, part, sending))
        process.start()
        sending.close()
        self._under_way[receiving] = process

    def _stop(self) -> None:
        self._environment.stop_followers(process.pid for process in self._under_way.values() if process.pid)

    def _end(self, connection: "Connection") -> None:
        try:
            found: Drained | ArkError | OSError | None = connection.recv()
        except (EOFError, OSError):
            # It ended before or amid its word; one that it sent whole is returned, be it an OSError.
            found = None
        process = self._under_way.pop(connection)
        process.join()
        if isinstance(found, Drained):
            self._drained.append(found)
        elif found is not None:
            self._error = self._error or found
        else:
            self._died += 1
            ending = process_ending(process.exitcode)
            self._warn(f"process {process.pid} {ending}; what it had in flight will be sent again")


def _follow(environment: Environment, leader: int, work: Work, part: Part, sending: "Connection") -> None:
    environment.follow(leader)
    try:
        found: Drained | ArkError | OSError = work(part)
    except (ArkError, OSError) as error:
        found = error
    with suppress(BrokenPipeError):
        sending.send(found)


def _ignore(_: str) -> None:
    """Another process says it."""


def _nothing() -> None:
    """Another process does it."""
