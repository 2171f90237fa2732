"""Who gets in: only the browser that was given this run's token, and only from a page of its own. docs/security.md."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from arkcli.errors import ArkError
from arkcli.httpd.messages import Header, Reply, Request, Stream
from arkcli.signing import Secret
from arkcli.system.refused import of_system
from arkcli.web.asked import Answer, Asked, Gone, fields
from arkcli.web.rendering import STATIC, Renderer, static

if TYPE_CHECKING:
    from arkcli.web.site import Site

_HTML: Final = b"text/html; charset=utf-8"
#: On every answer. A page loads nothing from elsewhere, is in no frame, runs no script but its own, and is not kept.
_ALWAYS: Final[tuple[Header, ...]] = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    # With no-referrer a browser sends `Origin: null` with a form, and then nothing tells which page sent it.
    (b"Referrer-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cache-Control", b"no-store"),
)
_FORM: Final = "application/x-www-form-urlencoded"
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")
#: Requests that may be under way at once; some wait for receivers.
_AT_ONCE: Final = 32
_STRANGER: Final = (
    b"<!doctype html><html lang=en><title>ark</title><h1>This page is not open here</h1>"
    b"<p>Open the address that ark printed in your terminal. If you have just done so, "
    b"<a href=''>try again</a>.</p></html>"
)


class Keys(NamedTuple):
    """What a run makes of randomness: the page's path, and the values by which it knows its browser and its forms.

    A cookie is sent to every port of its host. The path, which nobody else knows, keeps this one from other servers.
    """

    root: str
    token: str
    session: str
    field: str


def new_keys(randomness: Callable[[int], bytes]) -> Keys:
    """The keys of a run. `randomness` returns that number of random bytes."""
    root, token, session, field = (randomness(size).hex() for size in (8, 24, 24, 24))
    return Keys(f"/{root}/", token, session, field)


class Door:
    """Answers requests: refuses strangers, and has the site answer the others in threads."""

    def __init__(self, site: "Site", keys: Keys, hosts: frozenset[str], warn: Callable[[str], None]) -> None:
        """`hosts` are names of this machine; with `*`, it may also be reached by any of its addresses.

        `warn` gets a message when a page cannot be made.
        """
        self._site = site
        self._keys = keys
        self._hosts = hosts
        self._warn = warn
        self._tokens = {Secret(keys.token): True}
        self._renderer = Renderer(root=keys.root, field=keys.field, site=site)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="page")

    def allow_once(self, token: str) -> None:
        """Lets a token in once: others may see it in the list of processes when it opens a browser."""
        self._tokens[Secret(token)] = False

    def close(self) -> None:
        """Begins nothing new."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def take(self, request: Request) -> Reply | Stream:
        """The answer to a request. Raises nothing: what goes wrong on a page must not end a service."""
        try:
            return await self._answered(request)
        except ArkError as error:
            return _plain(400, str(error))
        except Exception as error:
            self._warn(f"the page {request.target[:200]} cannot be made: {type(error).__name__}: {error}")
            return _plain(500, "this page cannot be made; ark has logged why")

    async def _answered(self, request: Request) -> Reply | Stream:
        path, _, query = request.target.partition("?")
        if not self._is_ours(request.header("Host") or ""):
            return _plain(421, "this page has another address; open the one that ark printed")
        if path == "/":
            return self._exchanged(query)
        if not path.startswith(self._keys.root):
            return _plain(404, "there is nothing here")
        if not self._is_known(request):
            return _reply(403, _HTML, _STRANGER)
        return await self._inside(request, path.removeprefix(self._keys.root), query)

    async def _inside(self, request: Request, path: str, query: str) -> Reply | Stream:
        if request.method == "POST":
            refused = self._refused(request)
            if refused is not None:
                return refused
        elif request.method not in ("GET", "HEAD"):
            return _plain(405, "only GET and POST are possible here", (b"Allow", b"GET, HEAD, POST"))
        elif path in STATIC:
            return _reply(200, STATIC[path], static(path))
        elif path == "news" and self._site.news is not None and request.method == "GET":
            seen = fields(query).get("seen", "")
            news = self._site.news(int(seen) if seen.isdecimal() and len(seen) < 10 else 0)
            return Stream((*_ALWAYS, (b"Content-Type", b"text/event-stream")), _events(news))
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._made, request, path, query)

    def _made(self, request: Request, path: str, query: str) -> Reply:
        """Makes a page, in a thread."""
        form = fields((request.body or b"").decode("utf-8", "replace")) if request.method == "POST" else {}
        if request.method == "POST" and Secret(form.pop("field", "") or "-") != Secret(self._keys.field):
            return _plain(403, "this form is not from this page; reload the page and try again")
        answer = self._answer(request.method, Asked(path, fields(query), form))
        if isinstance(answer, Gone):
            where = f"{self._keys.root}{answer.path}"
            return _reply(303, _HTML, b"", (b"Location", where.encode("ascii", "replace")))
        return _reply(answer.status, _HTML, self._renderer.page(answer.template, answer.values))

    def _answer(self, method: str, asked: Asked) -> Answer:
        try:
            return self._site.answer(method, asked)
        except (ArkError, OSError) as error:
            told = error if isinstance(error, ArkError) else of_system(error)
            return self._site.problem(asked, str(told))

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this machine. A name that leads here by DNS rebinding does not."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower()
        if name in self._hosts:
            return True
        try:
            address = ip_address(name.strip("[]"))
        except ValueError:
            return False
        return address.is_loopback or "*" in self._hosts

    def _exchanged(self, query: str) -> Reply:
        """Exchanges the token in the address for a cookie, and drops it from the address."""
        given = fields(query[:1024]).get("token", "")
        known = next((one for one in self._tokens if given and one == Secret(given)), None)
        if known is None:
            return _reply(403, _HTML, _STRANGER)
        if not self._tokens[known]:
            del self._tokens[known]
        cookie = f"ark={self._keys.session}; Path={self._keys.root}; HttpOnly; SameSite=Strict"
        return _reply(303, _HTML, b"", (b"Location", self._keys.root.encode()), (b"Set-Cookie", cookie.encode()))

    def _is_known(self, request: Request) -> bool:
        """Whether the browser has the cookie, and no other site made it ask."""
        if request.header("Sec-Fetch-Site") not in (None, "same-origin", "none"):
            return False
        given = [pair.strip() for line in request.headers_named("Cookie") for pair in line.split(";")]
        wanted = Secret(f"ark={self._keys.session}")
        return any(Secret(pair) == wanted for pair in given if pair)

    def _refused(self, request: Request) -> Reply | None:
        """Why a form is not taken; None if it is."""
        if request.body is None:
            return _plain(413, "the form is too large")
        if request.header("Origin") != f"http://{request.header('Host')}":
            return _plain(403, "a form is taken from this page only")
        if (request.header("Content-Type") or "").partition(";")[0].strip().lower() != _FORM:
            return _plain(415, f"a form is {_FORM}")
        return None


async def _events(numbers: AsyncIterator[int | None]) -> AsyncIterator[bytes]:
    """Server-sent events: a number for each that came, and a comment now and then that keeps the connection."""
    async for number in numbers:
        yield b": still here\n\n" if number is None else b"data: %d\n\n" % number


def _plain(status: int, text: str, *headers: Header) -> Reply:
    return _reply(status, b"text/plain; charset=utf-8", f"{text}\n".encode(), *headers)


def _reply(status: int, kind: bytes, body: bytes, *headers: Header) -> Reply:
    return Reply(status, (*_ALWAYS, (b"Content-Type", kind), *headers), body)
