"""Headless Chromium for tests, by WebDriver's own HTTP (w3.org/TR/webdriver2) to Debian's chromedriver.

No client library: the usual one brings an event loop along, which other programs load where they find it.
"""

import base64
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LIMIT_S = 120
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's number (WebDriver, 12.1)."""

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1000,760",
)
_CAPABILITIES = {
    "browserName": "chrome",
    "goog:chromeOptions": {"args": _ARGUMENTS},
    "goog:loggingPrefs": {"browser": "ALL"},
}


class BrowserError(Exception):
    """The browser could not do it; carries its words."""


class Browser:
    """A window; selectors are those of CSS."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""
        capabilities = {"capabilities": {"alwaysMatch": _CAPABILITIES}}
        self._session = f"/session/{self._ask('POST', '/session', capabilities)['sessionId']}"

    def close(self) -> None:
        """End the browser."""
        self._ask("DELETE", "")

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self._ask("GET", "/url"))

    def run(self, script: str) -> Any:
        """Run JavaScript and return what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def click(self, selector: str) -> None:
        """Move the mouse to the middle of an element and press its button there."""
        middle = {"type": "pointerMove", "x": 0, "y": 0, "origin": self._find(selector)}
        press = [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")]
        mouse = {"type": "pointer", "id": "mouse", "actions": [middle, *press]}
        self._ask("POST", "/actions", {"actions": [mouse]})

    def enter(self, selector: str, text: str) -> None:
        """Put a text in the place of a field's, and press Enter."""
        element = f"/element/{self._find(selector)[_ELEMENT]}"
        self._ask("POST", f"{element}/clear", {})
        # WebDriver, 17.4.2: Enter is this code point.
        self._ask("POST", f"{element}/value", {"text": text + "\ue007"})

    def texts(self, selector: str) -> list[str]:
        """Return what elements show."""
        found = self._ask("POST", "/elements", {"using": "css selector", "value": selector})
        return [str(self._ask("GET", f"/element/{each[_ELEMENT]}/text")) for each in found]

    def screenshot(self) -> bytes:
        """Return the window as a PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def complaints(self) -> list[str]:
        """Return what the browser has written to its console since the last call."""
        return [str(entry["message"]) for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def _find(self, selector: str) -> dict[str, str]:
        found: dict[str, str] = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        return found

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_LIMIT_S)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, self._session + path, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise BrowserError(f"{method} {path}: {value['error']}: {value['message'].splitlines()[0]}")
        return value


@contextmanager
def browsing() -> Iterator[Browser]:
    """Yield a browser of one's own; it ends with its driver."""
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            started = next((line for line in driver.stdout if "started successfully on port" in line), "")
            browser = Browser(int(started.rstrip(".\n").rpartition(" ")[2]))
            try:
                yield browser
            finally:
                browser.close()
        finally:
            driver.terminate()
