"""Measures whole processes in alternating rounds, and prints one table of ratios and their noise."""

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.peers import Absent

#: The `ark` of the interpreter that runs the benchmarks.
ARK: Final = str(Path(sysconfig.get_path("scripts")) / "ark")
#: Timeout of a single command, in seconds.
LONGEST: Final = 300.0

_SPAWN: Final = str(Path(__file__).with_name("spawn.py"))


class Finished(NamedTuple):
    """The time, processor time and peak memory of a command, and its output."""

    seconds: float
    processor_seconds: float
    mebibytes: float
    output: bytes


def run(command: Sequence[str], variables: Mapping[str, str] | None = None, stdin: Path | None = None) -> Finished:
    """Runs a command to its end in a process of its own. `variables` are added to the environment.

    Raises RuntimeError if it fails.
    """
    path = shutil.which(command[0])
    if path is None:
        raise RuntimeError(f"{command[0]} is not there")
    with tempfile.TemporaryFile() as report, (stdin or Path(os.devnull)).open("rb") as given:
        done = subprocess.run(
            [sys.executable, "-S", "-E", _SPAWN, str(report.fileno()), path, *command[1:]],
            check=True,
            env=environment(variables),
            stdin=given,
            capture_output=True,
            pass_fds=(report.fileno(),),
            timeout=LONGEST,
        )
        report.seek(0)
        status, seconds, processor_seconds, kibibytes = report.read().split()
    if int(status):
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        raise RuntimeError(f"{' '.join(command)} ended with {int(status)}: {said}")
    return Finished(float(seconds), float(processor_seconds), int(kibibytes) / 1024, done.stdout)


def most_descriptors(command: Sequence[str], variables: Mapping[str, str] | None = None, limit: int = 256) -> int:
    """Runs a command that may open `limit` files, and returns how many it had open at most. Raises RuntimeError."""
    most = 0
    confined = ["sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", *command]
    with tempfile.TemporaryFile() as said:
        started = subprocess.Popen(confined, env=environment(variables), stdout=said, stderr=said)
        while started.poll() is None:
            with contextlib.suppress(OSError):
                most = max(most, sum(1 for _ in Path(f"/proc/{started.pid}/fd").iterdir()))
            time.sleep(0.002)
        if started.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {started.returncode}: {said.read().decode()}")
    return most


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The process environment without the variables that configure `ark` or Python, plus these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARK_", "PYTHON"))}
    return kept | dict(variables or {})


class Samples(tuple[float, ...]):
    """One measured value per round."""

    __slots__ = ()

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self)

    def over(self, other: "Samples") -> "Samples":
        """The ratio of each round, which cancels whatever slows a whole round down."""
        return Samples(mine / theirs for mine, theirs in zip(self, other, strict=True))


#: Runs something once and returns the measured values by name.
Contestant = Callable[[], Mapping[str, float]]


class Found(dict[str, Samples]):
    """The measured samples by name; empty for a contestant that is absent."""

    def __missing__(self, name: str) -> Samples:
        return Samples()


def alternate(rounds: int, contestants: Sequence[Contestant]) -> Found:
    """Runs the contestants in turn, every other round in reverse order. An extra first round does not count.

    A contestant that is absent is named on standard error and left out.
    """
    measured: dict[str, list[float]] = {}
    present = list(contestants)
    for number in range(rounds + 1):
        for contestant in list(present) if number % 2 else present[::-1]:
            try:
                found = contestant()
            except Absent as why:
                print(f"absent: {why}", file=sys.stderr, flush=True)
                present.remove(contestant)
                continue
            if number:
                for name, value in found.items():
                    measured.setdefault(name, []).append(value)
    return Found((name, Samples(values)) for name, values in measured.items())


class Goal(NamedTuple):
    """A target for a value, or for its ratio to the peer's value."""

    at_least: float | None = None
    at_most: float | None = None
    of_value: bool = False

    def __str__(self) -> str:
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:,g}{'' if self.of_value else ' x'}"

    def is_met(self, result: "Result") -> bool:
        """Whether the median reaches the goal."""
        found = result.samples if self.of_value else result.ratio
        if not found:
            return False
        return (self.at_least is None or found.median >= self.at_least) and (
            self.at_most is None or found.median <= self.at_most
        )


class Result(NamedTuple):
    """One row: the measured value, the peer's, and the peer's measured again (the noise of the machine)."""

    what: str
    unit: str
    samples: Samples
    peer: str = ""
    peer_samples: Samples = Samples()
    again: Samples = Samples()
    goals: tuple[Goal, ...] = ()

    @property
    def ratio(self) -> Samples:
        """The ratio to the peer in each round; empty without a peer."""
        return self.samples.over(self.peer_samples) if self.samples and self.peer_samples else Samples()

    @property
    def noise(self) -> Samples:
        """The ratio of the peer's second measurement to its first."""
        return self.again.over(self.peer_samples) if self.again and self.peer_samples else Samples()


class Options(NamedTuple):
    """A benchmark's command-line options."""

    rounds: int
    full: bool


Benchmark = Callable[[Options], list[Result]]


def main(*benchmarks: Benchmark) -> None:
    """Runs benchmarks and prints one table of their results."""
    parser = argparse.ArgumentParser(description=_title(sys.modules["__main__"].__doc__))
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count; 5 unless given")
    parser.add_argument(
        "--full", action="store_true", help="go up to 1,000,000 waiting deliveries and 10,000 destinations: needs 10 GB"
    )
    given = parser.parse_args()
    if not 1 <= given.rounds <= 100:
        parser.error("--rounds takes 1 to 100")
    load = os.getloadavg()[0]
    results: list[Result] = []
    for benchmark in benchmarks:
        print(_title(sys.modules[benchmark.__module__].__doc__), file=sys.stderr, flush=True)
        try:
            results += benchmark(Options(given.rounds, given.full))
        except Absent as why:
            print(f"absent: {why}", file=sys.stderr, flush=True)
            results.append(Result(benchmark.__module__, "", Samples()))
    print(f"{_machine()}, load {load:.1f} at the start.")
    print("Medians (least to most); ratios are taken round by round; noise is the peer against itself.\n")
    print(_table(results))


def _title(docstring: str | None) -> str:
    return (docstring or "").split("\n\n")[0]


def _machine() -> str:
    cpus = os.cpu_count() or 1
    return f"Python {platform.python_version()}, Linux {platform.release()}, {cpus} CPUs, {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _table(results: Sequence[Result]) -> str:
    rows = [("what", "measured", "peer", "ratio to peer", "noise", "figure", "reached")]
    for result in results:
        peer = f"{result.peer}: {_median(result.peer_samples)}" if result.peer else ""
        rows.append(
            (
                result.what,
                _spread(result.samples, result.unit) or "absent",
                peer,
                _spread(result.ratio),
                _spread(result.noise),
                ", ".join(map(str, result.goals)),
                _reached(result),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _median(samples: Samples) -> str:
    return _number(samples.median) if samples else "absent"


def _reached(result: Result) -> str:
    if not result.goals:
        return ""
    if not all(result.samples if goal.of_value else result.ratio for goal in result.goals):
        return "unknown"
    return "yes" if all(goal.is_met(result) for goal in result.goals) else "no"


def _spread(samples: Samples, unit: str = "") -> str:
    if not samples:
        return ""
    shown = f"{_number(samples.median)} {unit}".rstrip()
    return shown if len(samples) == 1 else f"{shown} ({_number(min(samples))} to {_number(max(samples))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"
