"""The web page of a lab, in a real browser; and what its server refuses.

With NETNS_LAB_SCREENSHOTS set to a folder, the pictures of docs/ are made anew there.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser import Browser, browsing
from tests.lab.labs import COMMAND, TWO_NODES, LabUnderTest, lab_from
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

_WITHIN_S = 120


class Page:
    """The page in a browser."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def text(self, identifier: str) -> str:
        return self.browser.texts(f"#{identifier}")[0]

    def eventually(self, script: str) -> Any:
        """Wait until a JavaScript expression is true: the page replaces its parts as it likes."""
        return eventually(lambda: self.browser.run(f"return {script}"), bool, _WITHIN_S)

    def picture(self, name: str, section: str) -> None:
        folder = os.environ.get("NETNS_LAB_SCREENSHOTS")
        if folder:
            # Under a name that does not change from run to run.
            self.browser.run("document.getElementById('lab').textContent = 'netns-lab twonodes'")
            self.browser.run(f"document.getElementById('{section}').scrollIntoView({{block: 'center'}})")
            (Path(folder) / name).write_bytes(self.browser.screenshot())


@pytest.fixture(scope="module")
def shown_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    with lab_from(TWO_NODES, tmp_path_factory.mktemp("ui")) as lab:
        lab.up()
        yield lab


@contextmanager
def _serving(lab: LabUnderTest, stderr: int | None = None) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    with subprocess.Popen(
        [COMMAND, "ui", lab.name, "--port", "0"], stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip(), server
        finally:
            server.kill()


@pytest.fixture(scope="module")
def url(shown_lab: LabUnderTest) -> Iterator[str]:
    with _serving(shown_lab) as (address, _):
        yield address


@pytest.fixture(scope="module")
def page(url: str) -> Iterator[Page]:
    """Yield the page, open; at the end the browser has had nothing to complain of."""
    with browsing() as browser:
        browser.open(url)
        page = Page(browser)
        page.eventually("document.querySelector('[data-pod]') !== null")
        yield page
        complaints = browser.complaints()
        loaded = browser.run("return performance.getEntries().map((entry) => entry.name)")
    assert complaints == []
    outside = [name for name in loaded if "://" in name and urlsplit(name).hostname != "127.0.0.1"]
    assert outside == []


def test_the_lab_is_shown(page: Page, shown_lab: LabUnderTest) -> None:
    status = shown_lab.status()
    texts = page.text("picture")

    assert page.text("lab") == f"netns-lab {shown_lab.name}"
    page.eventually("document.getElementById('state').textContent === 'up'")
    for row in (*status["nodes"], *status["pods"]):
        assert row.get("pod", row["node"]) in texts
        assert row["address"] in texts
    for row in status["services"]:
        assert row["service"] in texts
        assert row["cluster_ip"] in texts
    # The token has left the address.
    assert "token" not in page.browser.url


def test_a_click_on_a_pod_and_a_service_traces(page: Page) -> None:
    page.browser.click('[data-pod="default/client"]')
    page.eventually("document.querySelector('.chosen') !== null")
    page.browser.click('[data-service="default/web"]')
    page.eventually("document.getElementById('verdict').textContent === 'answered'")

    assert "HTTP/1.1 200 OK" in page.text("reason")
    steps = page.browser.texts("#steps tr")
    assert any("destination" in step or "becomes" in step for step in steps)
    assert any(step.split()[1:4] == ["pod", "default/client", "send"] for step in steps)
    page.picture("ui-trace.png", "state")


def test_a_click_on_two_pods_traces(page: Page) -> None:
    if not page.browser.texts(".chosen"):
        page.browser.click('[data-pod="default/client"]')
    page.browser.click('[data-pod="default/web-2"]')
    page.eventually("document.getElementById('reason').textContent.startsWith('pod default/web-2 ')")

    assert page.text("verdict") == "answered"


def test_what_can_not_be_traced_is_said(page: Page) -> None:
    for text, said in (("web", "expected a URL"), ("http://nope/", "no address for nope")):
        page.browser.enter("#target", text)
        page.eventually(f"document.getElementById('reason').textContent.includes({said!r})")


def test_a_click_on_a_link_captures(page: Page, shown_lab: LabUnderTest) -> None:
    page.browser.click('[data-link="n1 eth0"]')
    page.eventually("document.getElementById('packets').textContent.includes('listening on eth0')")
    web = next(row["address"] for row in shown_lab.status()["pods"] if row["pod"] == "default/web-2")
    shown_lab.execute("client", "bash", "-c", f"exec 3<>/dev/tcp/{web}/8080")
    page.eventually(f"document.getElementById('packets').textContent.includes('> {web}.8080: Flags [S]')")
    # The rates stand beside the links.
    page.eventually(
        "[...document.querySelectorAll('[data-rate]')].some((part) => part.textContent.includes('/s'))"
    )
    page.picture("ui-capture.png", "capture")
    page.browser.click("#stop")
    eventually(lambda: _sniffers(shown_lab.name), lambda found: found == [])


def test_a_node_whose_program_has_ended_is_marked(page: Page, shown_lab: LabUnderTest) -> None:
    for pid in _programs(f"{shown_lab.name}/nodes/n2/kubeproxy"):
        os.kill(pid, signal.SIGKILL)
    page.eventually("document.querySelector('.sick[data-place=\"n2\"]') !== null")
    page.eventually("document.getElementById('state').textContent === 'incomplete'")
    assert "kubeproxy" in page.text("missing")
    shown_lab.up()
    page.eventually("document.getElementById('state').textContent === 'up'")

    assert page.browser.texts(".sick") == []


def test_the_page_has_no_script_of_others(page: Page) -> None:
    """A pod's name that is markup would be text; the policy forbids what is inline all the same."""
    page.browser.run(
        "const made = document.createElement('img'); made.setAttribute('onerror', 'window.bad = 1');"
        "made.src = 'data:x'; document.body.append(made)"
    )
    page.eventually("document.images.length > 0")
    assert page.browser.run("return window.bad === undefined")
    assert page.browser.complaints() != []


def _ask(
    url: str, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=60)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _cookie(url: str) -> str:
    status, headers, _ = _ask(url, "GET", "/?" + urlsplit(url).query)
    assert (status, headers["location"]) == (303, "/")
    return headers["set-cookie"].partition(";")[0]


def test_the_door(url: str, shown_lab: LabUnderTest) -> None:
    """Without the cookie nothing is told; with it, a POST that is not the page's own does nothing."""
    origin, cookie = f"http://127.0.0.1:{urlsplit(url).port}", _cookie(url)
    body = json.dumps({"source": "default/client", "target": "http://web/"})

    for path in ("/", "/ui.js", "/api/events", "/?token=wrong", "/?token="):
        assert _ask(url, "GET", path)[0] == 403
    assert _ask(url, "GET", "/", Host="evil.example", Cookie=cookie)[0] == 403
    token = parse_qs(urlsplit(url).query)["token"][0]
    assert _ask(url, "GET", f"/?token={token}", Host="evil.example")[0] == 403
    assert _ask(url, "POST", "/api/trace", body, Cookie=cookie)[0] == 403
    assert _ask(url, "POST", "/api/trace", body, Cookie=cookie, Origin="http://evil.example")[0] == 403
    assert _ask(url, "POST", "/api/trace", body, Origin=origin)[0] == 403
    status, headers, answer = _ask(url, "POST", "/api/trace", body, Cookie=cookie, Origin=origin)
    assert (status, json.loads(answer)["verdict"]) == (200, "answered")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        pytest.param("/api/trace", "{", "request: ", id="no JSON"),
        pytest.param("/api/trace", '{"source": 1, "target": ""}', "request: Expected `str`", id="a type"),
        pytest.param("/api/trace", "x" * 5000, "expected at most 4096 bytes", id="too long"),
        pytest.param(
            "/api/captures",
            '{"place": "n1", "link": "/etc/passwd"}',
            "expected one of its links",
            id="no link",
        ),
        pytest.param("/api/captures", '{"place": "x", "link": "eth0"}', "expected the name", id="no place"),
    ],
)
def test_bad_requests(path: str, body: str, error: str, url: str) -> None:
    origin = f"http://127.0.0.1:{urlsplit(url).port}"
    status, _, answer = _ask(url, "POST", path, body, Cookie=_cookie(url), Origin=origin)

    assert status == 400
    assert error in json.loads(answer)["error"]


def test_what_is_no_request_of_a_page(shown_lab: LabUnderTest) -> None:
    """A WebSocket and a body that ends half-way are nothing to the log; the page is served on."""
    with _serving(shown_lab, stderr=subprocess.PIPE) as (address, server):
        cookie, place = _cookie(address), urlsplit(address).netloc
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
        assert _ask(address, "GET", "/api/events", Sec_WebSocket_Key="eA==", **upgrade)[0] == 403
        with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0), 60) as opened:
            head = f"POST /api/trace HTTP/1.1\r\nHost: {place}\r\nOrigin: http://{place}\r\nCookie: {cookie}"
            opened.sendall(f"{head}\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert _ask(address, "GET", "/ui.css", Cookie=cookie)[0] == 200
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=60) == ("", "")


def test_it_ends_with_its_captures(shown_lab: LabUnderTest) -> None:
    """SIGTERM, with a page that listens: exit code 0, and no tcpdump is left."""
    with _serving(shown_lab) as (address, server):
        origin, cookie = f"http://127.0.0.1:{urlsplit(address).port}", _cookie(address)
        body = '{"place": "n1", "link": "eth0"}'
        _, _, answer = _ask(address, "POST", "/api/captures", body, Cookie=cookie, Origin=origin)
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=60)
        try:
            number = json.loads(answer)["id"]
            connection.request("GET", f"/api/captures/{number}", headers={"Cookie": cookie})
            assert b"packet" in connection.getresponse().readline()
            assert _sniffers(shown_lab.name) != []
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            connection.close()

    assert _sniffers(shown_lab.name) == []


def _programs(mark: str) -> list[int]:
    """Return the processes whose environment names them so."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"NETNS_LAB={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _sniffers(lab: str) -> list[int]:
    return _programs(f"{lab}/capture/")
