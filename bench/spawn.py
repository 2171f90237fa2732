"""Runs one command and reports its exit status, times and peak memory: `python spawn.py FD COMMAND…`.

It runs as a small process, because Linux counts the parent's memory in the peak of a spawned process.
"""

import os
import sys
import time


def main() -> None:
    """Writes `status seconds processor-seconds KiB` to the file descriptor FD."""
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    started = time.perf_counter()
    _, status, used = os.wait4(os.posix_spawn(command[0], command, os.environ), 0)
    seconds = time.perf_counter() - started
    processor = used.ru_utime + used.ru_stime
    os.write(report, f"{os.waitstatus_to_exitcode(status)} {seconds:.6f} {processor:.6f} {used.ru_maxrss}".encode())


if __name__ == "__main__":
    main()
