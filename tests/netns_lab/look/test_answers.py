"""What the verbs make of what they are told: names to try, curl's words, latencies, log files, manifests."""

import json
from pathlib import Path
from typing import Any

import pytest

from netns_lab.cluster import marks
from netns_lab.execute import Place
from netns_lab.look.bench import first_service, summarize
from netns_lab.look.curl import build_report
from netns_lab.look.dns import candidates
from netns_lab.look.exporting import clean, render_manifests
from netns_lab.look.logs import last_lines
from netns_lab.look.place import choose_place, place_name, prompt_command
from netns_lab.scenarios.request import Outcome
from netns_lab.topology import NodeSpec, PodSpec, Topology
from nodeplane.errors import ConfigError

NODE, POD = NodeSpec("n1"), PodSpec("p", "n1", "shop")
TOPOLOGY = Topology("lab", (NODE,), (POD,))


@pytest.mark.parametrize(
    ("place", "name", "names"),
    [
        pytest.param(
            POD,
            "web",
            ["web.shop.svc.cluster.local", "web.svc.cluster.local", "web.cluster.local", "web"],
            id="a pod's search list",
        ),
        pytest.param(
            NODE,
            "web.shop",
            [
                "web.shop.default.svc.cluster.local",
                "web.shop.svc.cluster.local",
                "web.shop.cluster.local",
                "web.shop",
            ],
            id="a node has the default namespace's",
        ),
        pytest.param(POD, "web.", ["web"], id="an absolute name"),
        pytest.param(
            POD,
            "a.b.c.d.e.f",
            [
                "a.b.c.d.e.f",
                "a.b.c.d.e.f.shop.svc.cluster.local",
                "a.b.c.d.e.f.svc.cluster.local",
                "a.b.c.d.e.f.cluster.local",
            ],
            id="with many dots it is tried first as it is",
        ),
    ],
)
def test_candidates(place: Place, name: str, names: list[str]) -> None:
    assert candidates(TOPOLOGY, place, name) == names


@pytest.mark.parametrize(
    ("told", "errors", "expected"),
    [
        pytest.param(
            {"http_code": 200, "remote_ip": "fd00::1", "remote_port": 80, "time_total": 0.0015},
            "",
            {"status": 200, "remote": "[fd00::1]:80", "milliseconds": {"whole": 1.5}, "error": ""},
            id="answered",
        ),
        pytest.param({"http_code": 503}, "", {"status": 503, "error": "status 503"}, id="refused"),
        pytest.param(
            {"http_code": 0, "remote_ip": ""},
            "curl: (6) Could not resolve host: x\n",
            {"status": 0, "remote": "", "error": "curl: (6) Could not resolve host: x"},
            id="not answered",
        ),
        pytest.param(None, "curl: died\n", {"status": 0, "error": "curl: died"}, id="curl said nothing"),
    ],
)
def test_curl(told: dict[str, Any] | None, errors: str, expected: dict[str, Any]) -> None:
    report = build_report("n1", "http://x/", "body", json.dumps(told) if told else "", errors)

    assert {name: report[name] for name in expected} == expected


def test_latencies() -> None:
    outcomes = [Outcome(10 + number / 10, (number + 1) / 1000, "default/web") for number in range(100)]
    outcomes.append(Outcome(10.0, 5.0, error="timed out"))

    assert summarize(outcomes) == {
        "requests": 101,
        "failed": 1,
        "first_error": "timed out",
        "per_second": 10.1,
        "milliseconds": [
            {"share": "50%", "at_most": 50.0},
            {"share": "90%", "at_most": 90.0},
            {"share": "99%", "at_most": 99.0},
            {"share": "100%", "at_most": 100.0},
        ],
        "answered_by": [{"pod": "default/web", "requests": 100}],
    }


HEADLESS = {
    "kind": "Service",
    "metadata": {"name": "all"},
    "spec": {"clusterIP": "None", "ports": [{"port": 1}]},
}
DNS_SERVICE = {
    "kind": "Service",
    "metadata": {"name": "dns"},
    "spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 54}]},
}
SHOP = {
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"ports": [{"port": 80}]},
}


@pytest.mark.parametrize(
    ("objects", "target"),
    [
        pytest.param([{"kind": "Namespace"}, HEADLESS, SHOP], "tcp://web.shop:80", id="has an address"),
        pytest.param([DNS_SERVICE, SHOP], "tcp://dns.default:54", id="speaks TCP"),
    ],
)
def test_first_service(objects: list[dict[str, Any]], target: str) -> None:
    assert first_service(objects) == target


def test_no_service() -> None:
    with pytest.raises(ConfigError, match="no Service of its own"):
        first_service([HEADLESS])


def test_latencies_of_nothing() -> None:
    assert summarize([])["milliseconds"] == []


@pytest.mark.parametrize("count", [0, 1, 3, 50, 5000])
@pytest.mark.parametrize("width", [1, 5000])
def test_last_lines(count: int, width: int, tmp_path: Path) -> None:
    """Whatever the lines' lengths; a file that is shorter is told whole."""
    lines = [f"{number} {'x' * width}" for number in range(100)]
    file = tmp_path / "a.log"
    file.write_text("".join(f"{line}\n" for line in lines))

    assert last_lines(file, count) == lines[len(lines) - min(count, 100) :]


def test_manifest_without_the_servers_words() -> None:
    value = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "uid": "1",
            "resourceVersion": "7",
            "managedFields": [{}],
            "labels": {"app": "web", **marks("lab")},
            "annotations": {"netns-lab/owner": "x", "netns-lab/digest": "y"},
        },
        "spec": {"ports": [{"port": 80}]},
        "status": {"loadBalancer": {}},
    }
    cleaned = clean("lab", value)

    assert cleaned == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"ports": [{"port": 80}]},
    }
    assert json.loads(render_manifests([cleaned], "json"))["items"] == [cleaned]


def test_places() -> None:
    assert choose_place(TOPOLOGY, None) == POD
    assert choose_place(Topology("lab", (NODE,)), None) == NODE
    assert [place_name(place) for place in (NODE, POD)] == ["n1", "shop/p"]
    assert prompt_command("lab", "n1")[-1] == "lab/n1"
