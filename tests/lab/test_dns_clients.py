"""The resolvers that pods have, in a pod: C libraries, tools, languages; over UDP, and over TCP what is long.

They ask the cluster's DNS at its cluster IP, through the pod's own resolv.conf: three domains to search,
ndots:5.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import LabUnderTest

pytestmark = pytest.mark.lab

CLIENT = "clients/client"
WEB = "web.default.svc.cluster.local"
MANY = "many.default.svc.cluster.local"
ENDPOINTS = [f"10.199.{number // 100}.{number % 100 + 1}" for number in range(200)]
# Asks its C library, and prints each IPv4 address once.
LOOK_UP = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **words) {
    struct addrinfo *found, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    if (count != 2 || getaddrinfo(words[1], "80", &hints, &found)) return 2;
    for (; found; found = found->ai_next) {
        puts(inet_ntoa(((struct sockaddr_in *)found->ai_addr)->sin_addr));
    }
    return 0;
}
"""
PYTHON = (
    "import socket, sys; print(*{each[4][0] for each in socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)})"
)


@pytest.fixture(scope="module")
def lab(demo_lab: LabUnderTest) -> Iterator[LabUnderTest]:
    """Add a headless Service of 200 endpoints to the lab for a while."""
    metadata = {"name": "many", "namespace": "default"}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "many"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]} for address in ENDPOINTS],
            "ports": [{"name": "http", "port": 80}],
        },
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    demo_lab.kubectl("create", "-f", "-", stdin=text)
    try:
        yield demo_lab
    finally:
        demo_lab.kubectl("delete", "-f", "-", stdin=text)


@pytest.fixture(scope="module")
def web(lab: LabUnderTest) -> str:
    """Return the cluster IP of the Service `web`."""
    path = "jsonpath={.spec.clusterIP}"
    return lab.kubectl("-n", "default", "get", "service", "web", "-o", path)


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Build a program with musl's resolver in it, as in images of Alpine Linux."""
    folder: Path = tmp_path_factory.mktemp("musl")
    (folder / "look_up.c").write_text(LOOK_UP)
    program = folder / "look_up"
    command = ["musl-gcc", "-static", "-o", str(program), str(folder / "look_up.c")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return str(program)


def addresses(text: str) -> list[str]:
    """Return the IPv4 addresses in what a client printed, each once, in order."""
    return sorted(set(re.findall(r"(?<![\w.])\d+\.\d+\.\d+\.\d+(?![\w.#])", text)))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["dig", "+short", WEB], id="dig"),
        pytest.param(["dig", "+short", "+tcp", WEB], id="dig over TCP"),
        pytest.param(["dig", "+short", "+search", "web.default"], id="dig with the search path"),
        pytest.param(["kdig", "+short", WEB], id="kdig"),
        pytest.param(["kdig", "+short", "+tcp", WEB], id="kdig over TCP"),
        pytest.param(["drill", "-Q", WEB], id="drill"),
        pytest.param(["drill", "-Q", "-t", WEB], id="drill over TCP"),
        pytest.param(["getent", "ahostsv4", "web.default"], id="glibc"),
        pytest.param(["env", "RES_OPTIONS=use-vc", "getent", "ahostsv4", "web.default"], id="glibc over TCP"),
        pytest.param(["env", "RES_OPTIONS=edns0 trust-ad", "getent", "ahostsv4", WEB], id="glibc with EDNS"),
        pytest.param(
            ["env", "RES_OPTIONS=single-request-reopen", "getent", "ahostsv4", "web.default.svc"],
            id="glibc, one question after the other",
        ),
        pytest.param([sys.executable, "-c", PYTHON, "web.default"], id="Python"),
        pytest.param(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{remote_ip}", "http://web.default/"], id="curl"
        ),
    ],
)
def test_a_service(command: list[str], lab: LabUnderTest, web: str) -> None:
    assert addresses(lab.execute(CLIENT, *command).stdout) == [web]


def test_a_service_by_musl(lab: LabUnderTest, web: str, musl: str) -> None:
    """It asks all name servers at once, and walks the search path too."""
    for name in ("web.default", "web.default.svc", WEB, f"{WEB}."):
        assert addresses(lab.execute(CLIENT, musl, name).stdout) == [web]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param(["getent", "ahostsv4", "nope.default"], 2, id="glibc"),
        pytest.param(["curl", "-s", "http://nope.default/"], 6, id="curl"),
    ],
)
def test_a_name_that_is_not_there(command: list[str], code: int, lab: LabUnderTest) -> None:
    """After the whole search path, at once: nobody runs into a timeout."""
    assert lab.execute(CLIENT, "timeout", "60", *command, check=False).returncode == code


def test_a_name_that_is_not_there_by_musl(lab: LabUnderTest, musl: str) -> None:
    """With the final dot: a refusal, which the lab has for all other names, it would wait out."""
    name = "nope.default.svc.cluster.local."
    assert lab.execute(CLIENT, "timeout", "60", musl, name, check=False).returncode == 2


@pytest.mark.parametrize(
    ("options", "most"),
    [
        pytest.param(["+noedns"], 32, id="512 bytes"),
        pytest.param(["+bufsize=1232"], 76, id="1,232 bytes"),
        pytest.param(["+bufsize=4096"], 76, id="no more is sent in one datagram"),
    ],
)
def test_200_endpoints_over_udp(options: list[str], most: int, lab: LabUnderTest) -> None:
    """As many as fit, and TC."""
    output = lab.execute(CLIENT, "dig", "+ignore", *options, MANY).stdout
    found = addresses(output.partition("ANSWER SECTION")[2].partition(";;")[0])

    assert re.search(r"^;; flags: qr aa tc rd;", output, re.MULTILINE)
    assert most - 6 <= len(found) <= most
    assert set(found) <= set(ENDPOINTS)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["dig", "+short", MANY], id="dig"),
        pytest.param(["kdig", "+short", MANY], id="kdig"),
        pytest.param(["drill", "-a", MANY], id="drill"),
        pytest.param(["getent", "ahostsv4", "many.default"], id="glibc"),
        pytest.param([sys.executable, "-c", PYTHON, "many.default"], id="Python"),
    ],
)
def test_200_endpoints_by_tcp_in_the_end(command: list[str], lab: LabUnderTest) -> None:
    """Who gets TC asks again over TCP, and has all of them."""
    output = lab.execute(CLIENT, *command).stdout

    assert set(ENDPOINTS) <= set(addresses(output))


def test_200_endpoints_by_musl(lab: LabUnderTest, musl: str) -> None:
    """Without TCP (before 1.2.4) it takes what came in 512 bytes, which is enough to connect."""
    found = addresses(lab.execute(CLIENT, musl, "many.default").stdout)

    assert len(found) >= 20
    assert set(found) <= set(ENDPOINTS)
