"""The examples come up and show what their first lines say.

The others run elsewhere: two-nodes in the tour, blue-green and node-failure by their scenarios, and a lab
like hundred-nodes in bench/lab_up.py.
"""

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab.labs import LabUnderTest, lab_from
from tests.netns_fixture import eventually

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LabUnderTest]:
    """Yield the lab of the example that the test's parameter names."""
    with lab_from(EXAMPLES / f"{request.param}.yaml", tmp_path) as found:
        found.up()
        yield found


def answerers(lab: LabUnderTest, place: str, url: str, count: int = 6) -> set[str]:
    """Return the nodes of the pods that answer some requests."""
    command = ("curl", "-s", "--max-time", "20", *[url] * count)
    lines = lab.execute(place, *command).stdout.splitlines()
    assert len(lines) == count
    return {json.loads(line)["node"] for line in lines}


@pytest.mark.parametrize("lab", ["three-zones"], indirect=True)
def test_three_zones(lab: LabUnderTest) -> None:
    """A client is answered in its zone, one from outside by any."""
    zones = {"client-a": {"n1", "n2"}, "client-b": {"n3", "n4"}, "client-c": {"n5", "n6"}}

    seen = {client: answerers(lab, client, "http://web/") for client in zones}

    assert [client for client, nodes in seen.items() if not nodes <= zones[client]] == []
    assert answerers(lab, "outside", "http://172.30.1.3:30080/")


@pytest.mark.parametrize("lab", ["dual-stack"], indirect=True)
def test_dual_stack(lab: LabUnderTest) -> None:
    """The Service is reached by either family."""
    (service,) = json.loads(lab.kubectl("get", "service", "web", "-o", "json"))["spec"]["clusterIPs"][1:]

    assert ":" in service
    for family in ("-4", "-6"):
        done = lab.execute("client", "curl", "-s", "--max-time", "20", family, "http://web/")
        assert (":" in json.loads(done.stdout)["source"]) == (family == "-6")


@pytest.mark.parametrize("lab", ["bgp-racks"], indirect=True)
def test_bgp_racks(lab: LabUnderTest) -> None:
    """A leaf has two next hops for a block of another rack, and its pod is reached."""
    pod = next(row for row in lab.status()["pods"] if row["pod"] == "default/pod-4")

    ipv4 = pod["address"].partition(",")[0]

    def next_hops() -> list[int]:
        routes = json.loads(lab.execute("leaf1", "ip", "-j", "-4", "route").stdout)
        address = ip_address(ipv4)
        matching = (
            route for route in routes if route["dst"] != "default" and address in ip_network(route["dst"])
        )
        return [len(route.get("nexthops", [])) for route in matching]

    eventually(next_hops, lambda found: found == [2], within_s=120)
    assert answerers(lab, "pod-1", f"http://{ipv4}:8080/") == {"n4"}
