"""The keys of `ark listen`: what a person at a terminal does with the requests that came."""

import codecs
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from arkcli.actions.requests import ANSWERS, REMEMBERED, REMEMBERED_BYTES, matches, summary, why_not_sent
from arkcli.cli.received import Listing
from arkcli.cli.session import Session
from arkcli.output import Output
from arkcli.receiver.plan import Answer
from arkcli.receiver.receiver import Orders, Receiver
from arkcli.receiver.record import Numbered, Received
from arkcli.receiver.resend import body_of, signed_again, text_of
from arkcli.system.editor import Editor, editor_of
from arkcli.system.streams import Unread
from arkcli.system.terminal import Keyboard
from arkcli.text import clean, counted, process_ending

#: How many notes are kept while a prompt or an editor is open.
_NOTES: Final = 100
#: The longest filter, in characters.
_LONGEST: Final = 100
_ARROWS: Final = {"\x1b[A": "k", "\x1bOA": "k", "\x1b[B": "j", "\x1bOB": "j"}
#: An escape sequence of a terminal (ECMA-48), or one character.
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)
_HELP: Final = (
    ("r", "send the selected request to the application again"),
    ("e", "edit its body in $VISUAL or $EDITOR, sign it again and send it"),
    ("d", "details: headers, body, and the application's answer"),
    ("c", "copy it as a curl command"),
    ("1", "answer 200 from the next request on"),
    ("2", "answer 503"),
    ("3", "timeout: do not answer"),
    ("4", "reset: drop the connection"),
    ("5", "answer by the plan, or by the application"),
    ("/", "filter by event, verdict or answer"),
    ("k j", "select an older or a newer request; the newest is selected"),
    ("q", "stop, as Ctrl-C does"),
)


def keys_in(text: str) -> list[str]:
    """The keys that a terminal sends as this text: arrows as k and j, other escape sequences left out."""
    found = (_ARROWS.get(key, key) for key in _KEY.findall(text))
    return [key for key in found if len(key) == 1]


class Desk:
    """Shows requests, remembers the newest, and obeys the keys. While a prompt or an editor is open, nothing is shown
    that would garble it.
    """

    def __init__(self, session: Session, output: Output, listing: Listing, keyboard: Keyboard) -> None:
        self._session, self._output, self._listing, self._keyboard = session, output, listing, keyboard
        self._requests = Numbered(REMEMBERED, REMEMBERED_BYTES)
        self._shown = 0
        self._selected: int | None = None
        self._filter = ""
        self._typed: str | None = None
        self._edited: tuple[int, Received, Editor] | None = None
        self._was_away = False
        self._notes: deque[tuple[Callable[[str], None], str]] = deque(maxlen=_NOTES)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._actions: dict[str, Callable[[], None]] = {
            "r": self._resend,
            "e": self._edit,
            "d": self._details,
            "c": self._copy,
            **{str(key): partial(self._choose, answer) for key, answer in enumerate(ANSWERS.values(), 1)},
            "/": self._ask,
            "k": partial(self._move, -1),
            "j": partial(self._move, 1),
            "?": self._help,
            "q": self._stop,
        }

    def begin(self, receiver: Receiver, orders: Orders, plan: str, copy: Callable[[int, Received], str]) -> None:
        """Takes the keys. `plan` says how requests are answered; `copy` returns a request as a curl command, or raises
        ValueError.
        """
        self._receiver, self._orders, self._plan, self._curl = receiver, orders, plan, copy
        self._session.process.around_stops(self._keyboard.release, self._come_back)
        self._keyboard.take()

    def close(self) -> None:
        """Leaves the terminal as it was, and shows what was held back."""
        if self._edited is not None:
            self._edited[2].close()
        self._take_back()
        with suppress(Unread):
            self._close_prompt()

    # What the receiver reports.

    def show(self, received: Received) -> None:
        """Prints a request, or keeps it for later."""
        self._requests.add(received)
        if not self._is_open:
            self._show_held()

    def note(self, text: str) -> None:
        """Prints a note, or keeps it for later."""
        self._say_or_keep(self._output.note, text)

    def warn(self, text: str) -> None:
        """Prints a warning, or keeps it for later."""
        self._say_or_keep(self._output.warn, text)

    @property
    def _is_open(self) -> bool:
        return self._typed is not None or self._edited is not None

    def _say_or_keep(self, say: Callable[[str], None], text: str) -> None:
        if self._is_open:
            self._notes.append((say, text))
        else:
            say(text)

    def _show_held(self) -> None:
        for say, text in self._notes:
            say(text)
        self._notes.clear()
        held = [(number, received) for number, received in self._requests.items() if number > self._shown]
        if missing := self._requests.last - self._shown - len(held):
            self._say(f"{counted(missing, 'request')} came meanwhile; too many to show")
        self._shown = self._requests.last
        for number, received in held:
            if matches(received, self._filter):
                self._listing.add(number, received)

    def _say(self, text: str) -> None:
        self._output.line(self._output.screen.painted(clean(text), "cyan"))

    # Keys. The receiver calls these methods.

    def fileno(self) -> int:
        """The terminal's descriptor."""
        return self._keyboard.descriptor

    def are_wanted(self) -> bool:
        """Whether keys may be read now. Notices the end of the editor."""
        if self._edited is not None:
            number, received, editor = self._edited
            if editor.status is None:
                return False
            self._finish(number, received, editor, editor.status)
        if self._was_away and self._typed is not None:
            self._draw_prompt()
        self._was_away = False
        return self._keyboard.take()

    def pressed(self) -> None:
        """Reads what was pressed, and does it."""
        if not self.are_wanted():
            return
        for key in keys_in(self._decoder.decode(self._keyboard.read())):
            if self._typed is not None:
                self._type(key, self._typed)
            elif self._edited is None and key in self._actions:
                self._actions[key]()

    def _come_back(self) -> None:
        """Called from a signal handler, so it must not print."""
        self._was_away = True
        if self._edited is None:
            self._keyboard.take(again=True)

    # What the keys do.

    def _chosen(self) -> tuple[int, Received] | None:
        matching = self._matching()
        chosen = next((one for one in matching if one[0] == self._selected), matching[-1] if matching else None)
        if chosen is None:
            self._say("no request matches the filter" if self._requests.last else "no request has come yet")
        return chosen

    def _matching(self) -> list[tuple[int, Received]]:
        """The remembered requests that match the filter, oldest first."""
        return [one for one in self._requests.items() if matches(one[1], self._filter)]

    def _chosen_to_send(self, *, signed_again: bool) -> tuple[int, Received] | None:
        chosen = self._chosen()
        if chosen is not None and (why := why_not_sent(self._orders, *chosen, signed_again=signed_again)):
            self._say(why)
            return None
        return chosen

    def _resend(self) -> None:
        chosen = self._chosen_to_send(signed_again=False)
        if chosen is None:
            return
        number, received = chosen
        self._say(f"sending #{number} to the application again")
        request, now = received.request, self._session.home.clock.now()
        if received.verdict.valid and received.verdict.webhook is not None:
            # Five minutes later the application would refuse the old timestamp.
            request = signed_again(request, request.body or b"", self._orders.secrets()[0], now // 1000)
        self._receiver.resend(received, request, "resent")

    def _edit(self) -> None:
        chosen = self._chosen_to_send(signed_again=True)
        if chosen is None:
            return
        number, received = chosen
        process = self._session.process
        self._keyboard.release()
        process.lends_terminal = True
        try:
            command = editor_of(self._session.variables)
            editor = Editor(command, "body.json", text_of(received.request.body or b""))
        except (OSError, ValueError) as error:
            self._take_back()
            why = error.strerror if isinstance(error, OSError) else error
            self._say(f"the editor cannot be started: {why}; set VISUAL or EDITOR")
        else:
            self._edited = (number, received, editor)

    def _finish(self, number: int, received: Received, editor: Editor, status: int) -> None:
        """Sends what was edited, if the editor says that all is well and something was saved."""
        try:
            saved = editor.saved()
        except OSError:
            saved = None
        editor.close()
        self._take_back()
        self._show_held()
        self._keyboard.take()
        if status:
            self._say(f"the editor {process_ending(status)}; nothing is sent")
        elif saved is None:
            self._say("nothing was saved, so nothing is sent; an editor with its own window must wait: `code --wait`")
        else:
            body = body_of(saved, received.request.body or b"")
            at = self._session.home.clock.now() // 1000
            request = signed_again(received.request, body, self._orders.secrets()[0], at)
            self._say(f"sending #{number}, edited and signed again, to the application")
            self._receiver.resend(received, request, "edited")

    def _take_back(self) -> None:
        """The terminal is this process's again, with the modes that it had before anything."""
        self._edited = None
        self._session.process.lends_terminal = False
        self._keyboard.release()

    def _details(self) -> None:
        if chosen := self._chosen():
            self._listing.details(*chosen)

    def _copy(self) -> None:
        if chosen := self._chosen():
            try:
                command = self._curl(*chosen)
            except ValueError as error:
                self._say(f"#{chosen[0]} cannot be copied: {error}")
                return
            self._output.line(command)
            self._output.copy(command)
            self._say("this command is in the clipboard, too, if your terminal allows it; it signs with ARK_SECRET")

    def _choose(self, answer: Answer | None) -> None:
        self._receiver.choice = answer
        self._say(f"from the next request on: {self._plan if answer is None else answer}")

    def _move(self, step: int) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        matching = self._matching()
        place = min(max(matching.index(chosen) + step, 0), len(matching) - 1)
        number, received = matching[place]
        is_newest = place == len(matching) - 1
        # The newest stays selected when another one comes.
        self._selected = None if is_newest else number
        self._say(f"selected #{number}{', the newest' if is_newest else ''}: {summary(received)}")

    def _stop(self) -> None:
        self._receiver.stop()

    def _help(self) -> None:
        for keys, purpose in _HELP:
            self._output.line(f"  {self._output.screen.painted(keys.ljust(3), 'bold')}  {purpose}")

    # The filter's prompt.

    def _ask(self) -> None:
        self._typed = ""
        self._draw_prompt()

    def _type(self, key: str, typed: str) -> None:
        if key in "\r\n\x1b":
            self._filter = "" if key == "\x1b" else typed.strip()
            self._close_prompt()
            many = f"{len(self._matching())} of {counted(len(self._requests.items()), 'request')} so far"
            self._say(f"filter {self._filter}: {many}" if self._filter else "no filter: every request is shown")
        elif key in "\x7f\b":
            self._typed = typed[:-1]
            self._draw_prompt()
        elif key.isprintable():
            self._typed = (typed + key)[:_LONGEST]
            self._draw_prompt()

    def _draw_prompt(self) -> None:
        self._output.screen.write(f"{self._start_of_line}filter: {self._typed}")

    def _close_prompt(self) -> None:
        if self._typed is not None:
            self._output.screen.write(self._start_of_line)
            self._typed = None
        self._show_held()

    @property
    def _start_of_line(self) -> str:
        """Empties the prompt's line; on a terminal that cannot do so, begins the next one."""
        return "\r\x1b[K" if self._output.screen.can_redraw else "\n"
