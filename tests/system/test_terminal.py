"""A terminal is left as it was, however a process that reads its keys ends."""

import os
import pty
import signal
import sys
import termios

import pytest

from arkcli.system.terminal import Keyboard
from tests.keyboard import OnATerminal

#: Reads keys, and tells what was pressed. It goes on when it is told to stop.
READER = """
import os
from arkcli.system.process import Process, prepare
from arkcli.system.terminal import Keyboard
prepare()
process, keyboard = Process(), Keyboard(0)
# Not print: the signal may come while the other one is printing.
process.stop_on_signals(lambda: os.write(1, b"told to stop\\n"))
process.around_stops(keyboard.release, lambda: keyboard.take(again=True))
print("taken", keyboard.take(), flush=True)
while True:
    print("pressed", keyboard.read(), flush=True)
"""


@pytest.mark.parametrize(
    ("key", "status"), [("\x1c", -signal.SIGQUIT), ("\x03", 130)], ids=["Ctrl-backslash", "Ctrl-C twice"]
)
def test_it_is_left_as_it_was_by_a_process_that_is_ended_at_once(key: str, status: int) -> None:
    reader = OnATerminal([sys.executable, "-c", READER], {})
    try:
        reader.until("taken True")
        assert reader.modes() != reader.before
        reader.press("x")
        # It was read without Enter, and not echoed.
        assert reader.until("pressed .*'") == "\npressed b'x'"
        reader.press(key)
        if status > 0:
            reader.until("told to stop")
            reader.press(key)
        assert reader.wait() == status
        assert reader.modes() == reader.before
    finally:
        reader.close()


def test_it_is_not_touched_by_a_process_that_does_not_have_it() -> None:
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        keyboard = Keyboard(theirs)
        assert not keyboard.take()
        keyboard.release()
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)
