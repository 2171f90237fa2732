"""`ark`, and `python -m arkcli`."""

import os
import sys


def main() -> None:
    """Runs the command line of this process, and exits with its status unless that is 0."""
    try:
        status = _run(sys.argv[1:])
    except KeyboardInterrupt:
        # Ctrl-C while modules were still being imported: nothing has been done yet. 130 is ExitCode.INTERRUPTED.
        status = 130
    if status:
        sys.exit(status)


def _run(args: list[str]) -> int:
    if args == ["--version"] and "_ARK_COMPLETE" not in os.environ:
        # Nothing needs to be parsed for this, so nothing is imported either.
        from arkcli import __version__

        try:
            os.write(1, f"ark {__version__}\n".encode())
        except OSError:
            # The command line proper meets the same, and knows what to say of it.
            pass
        else:
            return 0
    from arkcli.cli import quick
    from arkcli.environment import Environment

    environment = Environment.of_this_process()
    if quick.run(args, environment):
        return 0
    from arkcli.cli.app import run

    return run(args, environment)


if __name__ == "__main__":
    main()
