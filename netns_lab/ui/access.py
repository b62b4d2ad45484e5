"""Who may use the page: a browser that was given the token, for a page that came from here. Pure.

Traces and captures run as root, so a web page from elsewhere must not start them through the browser, nor
read what they show. The token comes with the first address and is kept in a cookie that is sent with our own
page's requests alone (SameSite=Strict). The Host header is checked against DNS rebinding, a name of
somebody's that leads to 127.0.0.1. What changes something must come from our own origin.
"""

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

SAFE_METHODS = ("GET", "HEAD")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer. The drawing has a style sheet inside it, hence `unsafe-inline` for styles alone."""


class Access(msgspec.Struct, frozen=True):
    """The one that is let in: its token, and the port it talks to."""

    token: str
    port: int

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers keep one set of cookies for all ports of a host."""
        return f"netns-lab-ui-{self.port}"

    @property
    def url(self) -> str:
        """The address to open."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def set_cookie(self) -> str:
        """What has the browser keep the token."""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def is_token(self, token: str) -> bool:
        """Compare a token, in a time that says nothing about it."""
        return hmac.compare_digest(token.encode(), self.token.encode())

    def refusal(self, method: str, headers: Mapping[str, str]) -> str:
        """Say why a request is refused, nothing if it is not; header names in lower case."""
        host = headers.get("host", "")
        if not self.is_ours(headers):
            return "this page is served on 127.0.0.1 and localhost alone"
        site = headers.get("sec-fetch-site", "same-origin")
        if method not in SAFE_METHODS and (
            headers.get("origin") != f"http://{host}" or site != "same-origin"
        ):
            return "only the page itself may ask for this"
        if not self.is_token(self._token(headers.get("cookie", ""))):
            return "open the address that `netns-lab ui` has printed, with its token"
        return ""

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Say whether a request has a Host of ours."""
        return headers.get("host", "") in {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    def _token(self, text: str) -> str:
        try:
            found = SimpleCookie(text).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""
