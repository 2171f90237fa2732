"""`ark`, and `python -m arkcli`."""

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arkcli.system.process import Process

_ELSEWHERE = (
    "ark does not run on Windows; use WSL 2: install ark in a Linux distribution there, and keep its files on that "
    "distribution's own disk, not below /mnt/c. `from arkcli.signing import sign, verify` works here"
)
#: The commands that `arkcli.cli.quick` knows.
_QUICK = ("sign", "verify")


def main() -> None:
    """Runs this process's command line. Exits with its status unless that is 0."""
    processes: list[Process] = []
    try:
        status = _run(sys.argv[1:], processes)
    except KeyboardInterrupt:
        # Ctrl-C during imports: nothing has been done yet. 130 is ExitCode.INTERRUPTED.
        status = 130
    except Exception as error:
        if not isinstance(error, RecursionError | MemoryError) and _has_room():
            raise
        why = "the input is nested too deeply" if isinstance(error, RecursionError) else "not enough memory"
        accepted = processes[-1].accepted if processes else None
        # Import nothing here: that needs memory, too. 75 is ExitCode.RETRYING, 1 is ExitCode.FAILED.
        os.write(2, f"error: {why}{f'; {accepted}' if accepted else ''}\n".encode())
        status = 75 if accepted else 1
    finally:
        for process in processes:
            process.ignore_signals()
        # The interpreter would search all modules for cycles once more before it ends: a tenth of a short command.
        gc.freeze()
    if status:
        sys.exit(status)


def _has_room() -> bool:
    """Whether 16 MiB can be allocated. When memory is short, most libraries raise some other error."""
    try:
        return bool(bytearray(16 * 1024 * 1024))
    except MemoryError:
        return False


def _run(args: list[str], processes: "list[Process]") -> int:
    if not hasattr(os, "geteuid"):
        # Every write needs the locks of a POSIX system. 2 is ExitCode.USAGE.
        os.write(2, f"error: {_ELSEWHERE}\n".encode())
        return 2
    if args == ["--version"] and "_ARK_COMPLETE" not in os.environ:
        # This needs no parser, so avoid the imports.
        from arkcli import __version__

        try:
            os.write(1, f"ark {__version__}\n".encode())
        except OSError:
            # The full command line will meet the same error and report it.
            pass
        else:
            return 0
    from arkcli.cli.session import Session

    session = Session.of_this_process()
    processes.append(session.process)
    try:
        if args and args[0] in _QUICK:
            from arkcli.cli import quick

            if quick.run(args, session):
                return 0
        from arkcli.cli.app import run

        return run(args, session)
    finally:
        # What is frozen at the end is not closed, and so not flushed, by the interpreter.
        session.stdout.flush()
        session.stderr.flush()


if __name__ == "__main__":
    main()
