"""What the pages of a site have in common."""

from arkcli.web.asked import Answer, Asked, Shown
from arkcli.web.site import Route, Site


def test_what_comes_while_a_page_is_made_is_news_to_it() -> None:
    came = [1]

    def page(_: Asked) -> Answer:
        came.append(2)
        return Shown("requests.html", {})

    site = Site("ark listen", {}, [Route("GET", "", page)], lambda: 0, newest=lambda: came[-1])
    answer = site.answer("GET", Asked("", {}, {}))
    assert isinstance(answer, Shown)
    assert (answer.values["newest"], site.newest()) == (1, 2)
