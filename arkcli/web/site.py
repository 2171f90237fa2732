"""A site: which function answers which path, and what the next page says about the last change."""

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from arkcli.web.asked import Answer, Asked, Gone, Handler, Shown

#: How many messages wait for the page that shows them.
_NOTICES: Final = 100


class Route(NamedTuple):
    """A method, a pattern of paths, and the function that answers them; it gets the pattern's groups, too."""

    method: str
    pattern: str
    handler: Handler


class Notice(NamedTuple):
    """What a page says about the last change."""

    said: str
    failed: bool


class Site:
    """Finds what answers a path."""

    def __init__(
        self,
        title: str,
        links: Mapping[str, str],
        routes: Sequence[Route],
        now: Callable[[], int],
        news: "Callable[[int], AsyncIterator[int | None]] | None" = None,
        newest: Callable[[], int] = lambda: 0,
    ) -> None:
        """`links` are the paths of the navigation, with their names. `now` is the wall clock (milliseconds, UTC).

        `newest` is the number of what came last; `news` yields the numbers of what comes after a number, and None now
        and then.
        """
        self.title = title
        self.links = links
        self.news = news
        self.newest = newest
        self._routes = [(one.method, re.compile(one.pattern), one.handler) for one in routes]
        self._now = now
        self._notices: OrderedDict[str, Notice] = OrderedDict()
        self._count = 0

    def answer(self, method: str, asked: Asked) -> Answer:
        """The answer to a request. Raises what the function raises that answers it."""
        # Before the page is made: what comes meanwhile is news to it.
        newest = self.newest()
        wanted = "POST" if method == "POST" else "GET"
        for known, pattern, handler in self._routes:
            found = pattern.fullmatch(asked.path) if known == wanted else None
            if found is not None:
                answer = handler(asked, *found.groups())
                return self._noted(answer) if isinstance(answer, Gone) else self._complete(asked, answer, newest)
        return self.problem(asked, "there is no such page", 404)

    def problem(self, asked: Asked, said: str, status: int = 400) -> Shown:
        """A page that says what is wrong, and leads back."""
        back = asked.path.rpartition("/")[0] if asked.form else ""
        return self._complete(asked, Shown("problem.html", {"said": said, "back": back}, status), self.newest())

    def _noted(self, gone: Gone) -> Gone:
        if not gone.said:
            return gone
        self._count += 1
        self._notices[str(self._count)] = Notice(gone.said, gone.failed)
        if len(self._notices) > _NOTICES:
            self._notices.popitem(last=False)
        sign = "&" if "?" in gone.path else "?"
        return gone._replace(path=f"{gone.path}{sign}told={self._count}")

    def _complete(self, asked: Asked, shown: Shown, newest: int) -> Shown:
        values: dict[str, Any] = {
            "now": self._now(),
            "asked": asked,
            "newest": newest,
            "notice": self._notices.get(asked.query.get("told", "")),
        }
        return shown._replace(values={**values, **shown.values})
