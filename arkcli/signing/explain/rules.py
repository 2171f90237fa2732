"""A rule: one common mistake, how to undo it, and what to tell the user."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

#: Maps the given bytes to what may have been signed: none, one or several values.
Variants = Callable[[bytes], Iterable[bytes]]
#: Whether the given bytes show the mistake.
Seen = Callable[[bytes], bool]


class Rule(NamedTuple):
    """One common mistake with a body, a secret or the text of a signature.

    `cause`: its name. `says`: what happened and what to do. `undo`: makes the possible originals. `cost`: work per byte
    to make one, relative to hashing.
    """

    cause: str
    says: str
    undo: Variants = lambda _: ()
    cost: int = 0


class Look(NamedTuple):
    """A mistake that can be seen but not undone, and so not proved. `weak`: shown only beside the general advice."""

    cause: str
    says: str
    seen: Seen
    weak: bool = False


class Try(NamedTuple):
    """A value that may have been signed or used as key, and the rules that lead to it, in order."""

    value: bytes
    why: tuple[Rule, ...] = ()


class Rules(list[Rule]):
    """The rules for one kind of value, in the order in which they are tried."""

    def rule(self, cause: str, says: str, cost: int = 0) -> Callable[[Variants], Variants]:
        """Decorator that makes a function a rule: `@RULES.rule("cause", "what to tell")`."""

        def add(undo: Variants) -> Variants:
            self.append(Rule(cause, says, undo, cost))
            return undo

        return add


class Looks(list[Look]):
    """The looks for one kind of value, in the order in which they are tried."""

    def look(self, cause: str, says: str, *, weak: bool = False) -> Callable[[Seen], Seen]:
        """Decorator that makes a function a look: `@LOOKS.look("cause", "what to tell")`."""

        def add(seen: Seen) -> Seen:
            self.append(Look(cause, says, seen, weak))
            return seen

        return add

    def that_see(self, value: bytes) -> Iterator[Look]:
        """The looks that see their mistake in `value`."""
        return (look for look in self if look.seen(value))


def undone(rules: Iterable[Rule], start: Iterable[Try]) -> Iterator[Try]:
    """Each of these with one more rule undone; no rule is applied twice to the same value."""
    for before in start:
        for rule in rules:
            if rule not in before.why:
                why = (*before.why, rule)
                yield from (Try(value, why) for value in rule.undo(before.value) if value != before.value)
