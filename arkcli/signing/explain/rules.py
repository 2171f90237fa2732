"""What a rule is: one thing that usually goes wrong, how it is undone, and what to tell whom it happened to."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

#: From what was given to what may have been signed: none, one or several.
Variants = Callable[[bytes], Iterable[bytes]]
#: Whether it can be seen in what was given.
Seen = Callable[[bytes], bool]


class Rule(NamedTuple):
    """One thing that usually goes wrong with a body, a secret or a signature's text.

    `cause` is its name, `says` tells what happened and what to do, `undo` gives what it may have been before; `dear` is
    how much dearer than hashing a byte it is to make one.
    """

    cause: str
    says: str
    undo: Variants
    dear: int = 0


class Look(NamedTuple):
    """One thing that can be seen but not undone, so that nothing proves it. A `faint` one may well be innocent."""

    cause: str
    says: str
    seen: Seen
    faint: bool = False


class Try(NamedTuple):
    """What may have been used for signing, and the rules that lead there, in the order of undoing."""

    value: bytes
    why: tuple[Rule, ...] = ()


class Rules(list[Rule]):
    """The rules for one kind of thing, in the order in which they are tried."""

    def rule(self, cause: str, says: str, dear: int = 0) -> Callable[[Variants], Variants]:
        """Makes the function below it a rule: `@RULES.rule("cause", "what to tell")`."""

        def add(undo: Variants) -> Variants:
            self.append(Rule(cause, says, undo, dear))
            return undo

        return add


class Looks(list[Look]):
    """What can only be seen of one kind of thing, in the order in which it is looked for."""

    def look(self, cause: str, says: str, *, faint: bool = False) -> Callable[[Seen], Seen]:
        """Makes the function below it a look: `@LOOKS.look("cause", "what to tell")`."""

        def add(seen: Seen) -> Seen:
            self.append(Look(cause, says, seen, faint))
            return seen

        return add

    def that_see(self, value: bytes) -> Iterator[Look]:
        """Those that see what they look for."""
        return (look for look in self if look.seen(value))


def undone(rules: Iterable[Rule], start: Iterable[Try]) -> Iterator[Try]:
    """Each of these with one more thing undone, none twice in a row of undoing."""
    for before in start:
        for rule in rules:
            if rule not in before.why:
                why = (*before.why, rule)
                yield from (Try(value, why) for value in rule.undo(before.value) if value != before.value)
