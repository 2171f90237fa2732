"""A page that runs during a test, and a browser without script: it follows links and sends forms."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from html import unescape
from threading import Thread
from typing import Self

import httpx

from arkcli.httpd.server import listen_on
from arkcli.web.running import Page, Running, console_page
from tests.world import World

_FIELD = re.compile(r'name="field" value="([0-9a-f]+)"')


class Seen:
    """A page as somebody sees it."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.html = response.text
        self.path = response.url.path
        #: The text alone, with one space between words.
        self.text = " ".join(unescape(re.sub(r"<[^>]*>", " ", self.html)).split())

    @property
    def notice(self) -> str:
        """What the page says about the last change."""
        found = re.search(r'<p class="notice[^>]*>(.*?)</p>', self.html, re.DOTALL)
        return " ".join(unescape(re.sub(r"<[^>]*>", "", found[1])).split()) if found else ""

    @property
    def links(self) -> dict[str, str]:
        """The links by their texts."""
        found = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', self.html, re.DOTALL)
        return {re.sub(r"<[^>]*>", "", text).strip(): unescape(href) for href, text in found}

    @property
    def forms(self) -> list[tuple[str, str, dict[str, str]]]:
        """The forms that change something: their buttons, paths and hidden fields."""
        found = []
        for action, inside in re.findall(
            r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>', self.html, re.DOTALL
        ):
            hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', inside))
            label = re.search(r"<button[^>]*>(.*?)</button>", inside, re.DOTALL)
            fields = {name: unescape(value) for name, value in hidden.items()}
            found.append((unescape(label[1]).strip() if label else "", unescape(action), fields))
        return found


class Browser:
    """A browser that has opened the page."""

    def __init__(self, address: str, *, opened: bool = True) -> None:
        self.address = address
        self.origin = address.partition("/?")[0]
        self.client = httpx.Client(base_url=self.origin, timeout=30, trust_env=False, verify=False)
        self.seen = self._go("GET", address) if opened else None
        self.root = self.seen.path if self.seen else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def get(self, path: str = "") -> Seen:
        """Opens a path: below the root, or from it."""
        return self._go("GET", path if path.startswith("/") else f"{self.root}{path}")

    def click(self, seen: Seen, text: str) -> Seen:
        """Follows a link."""
        return self.get(seen.links[text])

    def press(self, seen: Seen, label: str, **fields: str) -> Seen:
        """Sends the first form with this button, with more fields filled in."""
        path, hidden = next((path, hidden) for found, path, hidden in seen.forms if found == label)
        return self.post(path, **(hidden | fields))

    def post(self, path: str, **fields: str) -> Seen:
        """Sends a form as a browser does, and goes where the answer leads."""
        return self._go("POST", path, data=fields, headers={"Origin": self.origin, "Sec-Fetch-Site": "same-origin"})

    @property
    def field(self) -> str:
        """The value that every form of this run has."""
        found = _FIELD.search(self.get("add").html)
        assert found
        return found[1]

    def _go(self, method: str, path: str, **options: object) -> Seen:
        response = self.client.request(method, path, **options)  # type: ignore[arg-type]
        while response.status_code == 303:
            response = self.client.get(response.headers["Location"])
        return Seen(response)


@contextmanager
def paged(page: Page, warn: Callable[[str], None]) -> Iterator[None]:
    """Serves a page during a block."""
    running = Running(page, warn)
    thread = Thread(target=running.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        running.stop()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def ui(world: World, warnings: list[str] | None = None, host: str = "127.0.0.1") -> Iterator[Page]:
    """The page of `ark ui` during a block. `warnings` gets what it warns about; there must be none without it."""
    said: list[str] = [] if warnings is None else warnings
    with ExitStack() as stack:
        listeners = [stack.enter_context(one) for one in listen_on(host, 0)]
        page = console_page(world.session().new_home, listeners, said.append, host)
        with paged(page, said.append):
            yield page
    if warnings is None:
        assert said == []
