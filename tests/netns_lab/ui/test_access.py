"""Who is let in to the page, and what a page from elsewhere can't do."""

import pytest

from netns_lab.ui.access import Access

ACCESS = Access("right", 8480)
COOKIE = {"cookie": "other=1; netns-lab-ui-8480=right"}
HOST = {"host": "127.0.0.1:8480"}
ORIGIN = {"origin": "http://127.0.0.1:8480", "sec-fetch-site": "same-origin"}

_ELSEWHERE = "this page is served on 127.0.0.1 and localhost alone"
_FOREIGN = "only the page itself may ask for this"
_UNKNOWN = "open the address that `netns-lab ui` has printed, with its token"


@pytest.mark.parametrize(
    ("method", "headers", "refusal"),
    [
        pytest.param("GET", HOST | COOKIE, "", id="the page"),
        pytest.param("GET", {"host": "localhost:8480"} | COOKIE, "", id="by the host's name"),
        pytest.param("POST", HOST | COOKIE | ORIGIN, "", id="the page's own request"),
        pytest.param("GET", HOST, _UNKNOWN, id="no cookie"),
        pytest.param("GET", HOST | {"cookie": "netns-lab-ui-8480=wrong"}, _UNKNOWN, id="a wrong token"),
        pytest.param("GET", HOST | {"cookie": "netns-lab-ui-8480=ä"}, _UNKNOWN, id="no ASCII"),
        pytest.param("GET", HOST | {"cookie": "netns-lab-ui-9=right"}, _UNKNOWN, id="another port's cookie"),
        pytest.param("GET", HOST | {"cookie": '"; =,;='}, _UNKNOWN, id="no cookie at all"),
        pytest.param("GET", {"host": "evil.example:8480"} | COOKIE, _ELSEWHERE, id="a name that leads here"),
        pytest.param("GET", {"host": "127.0.0.1"} | COOKIE, _ELSEWHERE, id="another port"),
        pytest.param("GET", COOKIE, _ELSEWHERE, id="no host"),
        pytest.param("POST", HOST | COOKIE, _FOREIGN, id="no origin"),
        pytest.param("POST", HOST | COOKIE | {"origin": "null"}, _FOREIGN, id="a sandboxed page"),
        pytest.param(
            "POST", HOST | COOKIE | {"origin": "https://127.0.0.1:8480"}, _FOREIGN, id="another scheme"
        ),
        pytest.param(
            "POST", HOST | COOKIE | {"origin": "http://evil.example"}, _FOREIGN, id="another page's form"
        ),
        pytest.param(
            "POST", HOST | COOKIE | ORIGIN | {"sec-fetch-site": "cross-site"}, _FOREIGN, id="cross-site"
        ),
        pytest.param("DELETE", HOST | COOKIE, _FOREIGN, id="any other method"),
    ],
)
def test_refusal(method: str, headers: dict[str, str], refusal: str) -> None:
    assert ACCESS.refusal(method, headers) == refusal


def test_the_cookie_is_for_this_page_alone() -> None:
    assert ACCESS.set_cookie == "netns-lab-ui-8480=right; Path=/; HttpOnly; SameSite=Strict"
    assert ACCESS.url == "http://127.0.0.1:8480/?token=right"
