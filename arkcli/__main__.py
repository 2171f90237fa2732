"""`ark`, and `python -m arkcli`."""

import os
import sys


def main() -> None:
    """Runs the command line of this process, and exits with its status."""
    if sys.argv[1:] == ["--version"] and "_ARK_COMPLETE" not in os.environ:
        # Nothing needs to be parsed for this, so nothing is imported either.
        from arkcli import __version__

        print(f"ark {__version__}")
        return
    from arkcli.cli import quick
    from arkcli.environment import Environment

    environment = Environment.of_this_process()
    if quick.run(sys.argv[1:], environment):
        return
    from arkcli.cli.app import run

    sys.exit(run(sys.argv[1:], environment))


if __name__ == "__main__":
    main()
